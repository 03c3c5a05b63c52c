//! Reads a body into bounded memory, in bounded time.

use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use sluice_crds::wire::{DeferredBecause, ending::BODY};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::answer::Refused;

/// A body, and the memory that it takes until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    memory: OwnedSemaphorePermit,
}

/// What a request takes besides its body.
const OVERHEAD: u32 = 4096;

/// Reads a body of at most `limit` bytes. What it takes of `memory` it takes as it comes in: a length that is only announced
/// takes nothing.
pub(super) async fn read(body: Body, limit: usize, memory: &Arc<Semaphore>) -> Result<Held, Refused> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(Refused::Size);
    }
    timeout(BODY, collect(body, limit, memory)).await.unwrap_or(Err(Refused::BodyLate))
}

async fn collect(mut body: Body, limit: usize, memory: &Arc<Semaphore>) -> Result<Held, Refused> {
    let mut held = Held { bytes: Bytes::new(), memory: take(memory, OVERHEAD)? };
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers are no part of the body.
        let Ok(chunk) = frame.map_err(|_| Refused::BodyBroken)?.into_data() else { continue };
        let so_far = held.bytes.len() + more.len();
        if chunk.len() > limit.saturating_sub(so_far) {
            return Err(Refused::Size);
        }
        held.memory.merge(take(memory, u32::try_from(chunk.len()).map_err(|_| Refused::Size)?)?);
        if so_far == 0 {
            // Most bodies come in one piece, which is then not copied.
            held.bytes = chunk;
        } else {
            more.extend_from_slice(&std::mem::take(&mut held.bytes));
            more.extend_from_slice(&chunk);
        }
    }
    if !more.is_empty() {
        held.bytes = more.freeze();
    }
    Ok(held)
}

fn take(memory: &Arc<Semaphore>, bytes: u32) -> Result<OwnedSemaphorePermit, Refused> {
    let taken = Arc::clone(memory).try_acquire_many_owned(bytes);
    taken.map_err(|_| Refused::Deferred(DeferredBecause::Busy))
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures::stream;

    use super::*;

    const LIMIT: usize = 10;

    fn memory() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(100_000))
    }

    async fn chunked(chunks: &[&'static [u8]], memory: &Arc<Semaphore>) -> Result<Held, Refused> {
        let chunks: Vec<io::Result<Bytes>> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk))).collect();
        read(Body::from_stream(stream::iter(chunks)), LIMIT, memory).await
    }

    #[tokio::test]
    async fn a_body_is_the_same_in_one_piece_and_in_many() {
        for chunks in [vec![&b"0123456789"[..]], vec![b"01", b"", b"234567", b"89"], vec![b"", b"0123456789"]] {
            assert_eq!(chunked(&chunks, &memory()).await.unwrap().bytes, "0123456789");
        }
        assert_eq!(chunked(&[], &memory()).await.unwrap().bytes, "");
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_refused_announced_or_not() {
        assert!(matches!(read(Body::from("0123456789a"), LIMIT, &memory()).await, Err(Refused::Size)));
        assert!(matches!(chunked(&[b"0123456789", b"a"], &memory()).await, Err(Refused::Size)));
    }

    #[tokio::test]
    async fn memory_is_given_back_with_the_body() {
        let memory = memory();
        let held = chunked(&[b"01234", b"56789"], &memory).await.unwrap();
        assert_eq!(memory.available_permits(), 100_000 - 4096 - 10);
        drop(held);
        assert!(chunked(&[b"01234", b"56789a"], &memory).await.is_err());
        assert_eq!(memory.available_permits(), 100_000);
    }

    #[tokio::test]
    async fn a_body_for_which_there_is_no_memory_is_deferred() {
        let memory = Arc::new(Semaphore::new(4096 + 5));
        let refused = chunked(&[b"01234", b"5"], &memory).await.unwrap_err();
        assert!(matches!(refused, Refused::Deferred(DeferredBecause::Busy)));
        assert_eq!(memory.available_permits(), 4096 + 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let never = Body::from_stream(stream::pending::<io::Result<Bytes>>());
        assert!(matches!(read(never, LIMIT, &memory()).await, Err(Refused::BodyLate)));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_refused() {
        let broken = stream::iter([Ok(Bytes::from_static(b"01")), Err(io::Error::other("reset"))]);
        assert!(matches!(read(Body::from_stream(broken), LIMIT, &memory()).await, Err(Refused::BodyBroken)));
    }
}
