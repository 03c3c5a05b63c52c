//! Reads a body into bounded memory, in bounded time.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use sluice_crds::wire::{DeferredBecause, ending::BODY};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{MEMORY, answer::Refused};

/// A body, and the memory that it takes until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    taken: Taken,
    /// What its events take.
    events: OnceLock<Taken>,
}

/// What bodies may take, in bytes. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    own: Arc<Semaphore>,
    /// What all endpoints of the process have together, where there are several.
    all: Option<Arc<Semaphore>>,
}

/// What is taken of a memory.
#[derive(Debug)]
struct Taken {
    own: OwnedSemaphorePermit,
    all: Option<OwnedSemaphorePermit>,
}

impl Memory {
    /// Of one endpoint, as part of what all have where there are several.
    pub(crate) fn new(bytes: usize, all: Option<Arc<Semaphore>>) -> Self {
        Self { own: Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))), all }
    }

    fn take(&self, bytes: u32) -> Result<Taken, Refused> {
        let take = |of: &Arc<Semaphore>| {
            let taken = Arc::clone(of).try_acquire_many_owned(bytes);
            taken.map_err(|_| Refused::Deferred(DeferredBecause::Busy))
        };
        Ok(Taken { own: take(&self.own)?, all: self.all.as_ref().map(take).transpose()? })
    }
}

impl Taken {
    fn merge(&mut self, more: Self) {
        self.own.merge(more.own);
        if let (Some(all), Some(more)) = (&mut self.all, more.all) {
            all.merge(more);
        }
    }
}

impl Held {
    /// Takes what the events of the body need beside it, in bytes, once. `Size`: it is more than there is for a request.
    pub(super) fn take_for_events(&self, bytes: usize, memory: &Memory) -> Result<(), Refused> {
        if bytes == 0 {
            return Ok(());
        }
        if bytes > LARGEST {
            return Err(Refused::Size);
        }
        let taken = memory.take(u32::try_from(bytes).map_err(|_| Refused::Size)?)?;
        self.events.set(taken).expect("the events of a request are counted once");
        Ok(())
    }
}

/// What an event takes in bytes, here and in the producer, besides body and attributes.
pub(super) const EACH: usize = 4096;
/// What a request takes besides its body.
const OVERHEAD: u32 = 4096;
/// What the events of a request may take besides its body: 1,000 have 4 KiB each for their headers. It fits beside any body.
const LARGEST: usize = MEMORY / 2;

/// Reads a body of at most `limit` bytes. What it takes of `memory` it takes as it comes in: a length that is only announced
/// takes nothing.
pub(super) async fn read(
    body: impl Body<Data = Bytes> + Unpin,
    limit: usize,
    memory: &Memory,
) -> Result<Held, Refused> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(Refused::Size);
    }
    timeout(BODY, collect(body, limit, memory)).await.unwrap_or(Err(Refused::BodyLate))
}

async fn collect(mut body: impl Body<Data = Bytes> + Unpin, limit: usize, memory: &Memory) -> Result<Held, Refused> {
    let mut held = Held { bytes: Bytes::new(), taken: memory.take(OVERHEAD)?, events: OnceLock::new() };
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers are no part of the body.
        let Ok(chunk) = frame.map_err(|_| Refused::BodyBroken)?.into_data() else { continue };
        let so_far = held.bytes.len() + more.len();
        if chunk.len() > limit.saturating_sub(so_far) {
            return Err(Refused::Size);
        }
        held.taken.merge(memory.take(u32::try_from(chunk.len()).map_err(|_| Refused::Size)?)?);
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

#[cfg(test)]
mod tests {
    use std::io;

    use axum::body::Body;
    use futures::stream;

    use super::*;

    const LIMIT: usize = 10;

    fn memory() -> Memory {
        Memory::new(100_000, None)
    }

    async fn chunked(chunks: &[&'static [u8]], memory: &Memory) -> Result<Held, Refused> {
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
        assert_eq!(memory.own.available_permits(), 100_000 - 4096 - 10);
        drop(held);
        assert!(chunked(&[b"01234", b"56789a"], &memory).await.is_err());
        assert_eq!(memory.own.available_permits(), 100_000);
    }

    #[tokio::test]
    async fn a_body_for_which_there_is_no_memory_is_deferred() {
        let memory = Memory::new(4096 + 5, None);
        let refused = chunked(&[b"01234", b"5"], &memory).await.unwrap_err();
        assert!(matches!(refused, Refused::Deferred(DeferredBecause::Busy)));
        assert_eq!(memory.own.available_permits(), 4096 + 5);
    }

    #[tokio::test]
    async fn events_take_memory_as_long_as_their_body_does() {
        let memory = memory();
        let held = chunked(&[b"01234"], &memory).await.unwrap();
        let busy = held.take_for_events(100_000, &memory).unwrap_err();
        assert!(matches!(busy, Refused::Deferred(DeferredBecause::Busy)));
        held.take_for_events(50_000, &memory).unwrap();
        assert_eq!(memory.own.available_permits(), 100_000 - 4096 - 5 - 50_000);
        drop(held);
        assert_eq!(memory.own.available_permits(), 100_000);
        // There would never be as much.
        let held = chunked(&[b"01234"], &memory).await.unwrap();
        assert!(matches!(held.take_for_events(LARGEST + 1, &memory).unwrap_err(), Refused::Size));
    }

    #[tokio::test]
    async fn what_all_endpoints_have_together_bounds_each_of_them() {
        let all = Arc::new(Semaphore::new(4096 * 2 + 5));
        let [one, other] = [(); 2].map(|()| Memory::new(100_000, Some(Arc::clone(&all))));
        let held = chunked(&[b"01234"], &one).await.unwrap();
        let refused = chunked(&[b"0"], &other).await.unwrap_err();
        assert!(matches!(refused, Refused::Deferred(DeferredBecause::Busy)));
        assert_eq!((all.available_permits(), other.own.available_permits()), (4096, 100_000));
        drop(held);
        assert!(chunked(&[b"0"], &other).await.is_ok());
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
