//! Reads a body into bounded memory, in bounded time.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body;
use http_body_util::BodyExt;
use sluice_crds::wire::{DeferredBecause, ending::BODY};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::task::TaskTracker;

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
    bytes: usize,
    own: Arc<Semaphore>,
    /// What all endpoints of the process have together, where there are several.
    all: Option<Arc<Semaphore>>,
    /// The endpoint's events that are still written though nobody waits for them.
    late: TaskTracker,
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
        let bytes = bytes.min(Semaphore::MAX_PERMITS);
        Self { bytes, own: Arc::new(Semaphore::new(bytes)), all, late: TaskTracker::new() }
    }

    /// The endpoint's writes that nobody waits for: while there are any, it leaves more to the others.
    pub(super) fn late(&self) -> &TaskTracker {
        &self.late
    }

    fn take(&self, bytes: usize) -> Result<Taken, Refused> {
        let bytes = u32::try_from(bytes).map_err(|_| Refused::Size)?;
        let take = |of: &Arc<Semaphore>| {
            let taken = Arc::clone(of).try_acquire_many_owned(bytes);
            taken.map_err(|_| Refused::Deferred(DeferredBecause::Busy))
        };
        let taken = Taken { own: take(&self.own)?, all: self.all.as_ref().map(take).transpose()? };
        match &self.all {
            // What was taken is given back.
            Some(all) if !self.leaves_enough(all.available_permits()) => Err(Refused::Deferred(DeferredBecause::Busy)),
            _ => Ok(taken),
        }
    }

    /// Whether the others have enough where so much is left to them. So there is always something left, however many endpoints hold what
    /// they cannot write: of `n` that do, and are late, each has one part of `n + 4`.
    fn leaves_enough(&self, left: usize) -> bool {
        let has = self.bytes - self.own.available_permits();
        let times = if self.late.is_empty() { LEAVES } else { LEAVES_WHILE_LATE };
        has.saturating_mul(times) <= left
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
        let taken = memory.take(bytes)?;
        self.events.set(taken).expect("the events of a request are counted once");
        Ok(())
    }
}

/// What an event takes in bytes, here and in the producer, besides body and attributes.
pub(super) const EACH: usize = 4096;
/// An endpoint leaves so many times what it has to the others together.
const LEAVES: usize = 1;
/// While Kafka has not taken events for longer than their senders wait. It may not for a minute, and what comes in meanwhile mostly has the
/// same fate.
const LEAVES_WHILE_LATE: usize = 4;
/// What a request takes besides its body and its head.
const OVERHEAD: usize = 4096;
/// What a header takes, beside its text.
const HEADER: usize = 64;
/// What the events of a request may take besides its body: 1,000 have 4 KiB each for their headers. It fits beside any body.
const LARGEST: usize = MEMORY / 2;

/// What a request takes besides its body, in bytes. Its head stays until its events are written.
pub(super) fn overhead(headers: &HeaderMap) -> usize {
    let each = headers.iter().map(|(name, value)| HEADER + name.as_str().len() + value.len());
    OVERHEAD + each.sum::<usize>()
}

/// Reads a body of at most `limit` bytes. What it takes of `memory` it takes as it comes in, before there is room for it: a length that is
/// only announced takes nothing. `overhead` is taken in any case.
pub(super) async fn read(
    body: impl Body<Data = Bytes> + Unpin,
    limit: usize,
    overhead: usize,
    memory: &Memory,
) -> Result<Held, Refused> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(Refused::Size);
    }
    timeout(BODY, collect(body, limit, overhead, memory)).await.unwrap_or(Err(Refused::BodyLate))
}

async fn collect(
    mut body: impl Body<Data = Bytes> + Unpin,
    limit: usize,
    overhead: usize,
    memory: &Memory,
) -> Result<Held, Refused> {
    let mut held = Held { bytes: Bytes::new(), taken: memory.take(overhead)?, events: OnceLock::new() };
    // A body that is not announced may have all that is allowed.
    let whole = body.size_hint().upper().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(limit);
    let (mut joined, mut room) = (BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        // Trailers are no part of the body.
        let Ok(chunk) = frame.map_err(|_| Refused::BodyBroken)?.into_data() else { continue };
        let length = held.bytes.len() + joined.len() + chunk.len();
        if length > limit {
            return Err(Refused::Size);
        }
        if length > room {
            // Twice as much each time, so that many small pieces are not copied again and again.
            let larger = (room * 2).min(whole).clamp(length, limit);
            held.taken.merge(memory.take(larger - room)?);
            room = larger;
        }
        if length == chunk.len() {
            // Most bodies come in one piece, which is then not copied.
            held.bytes = chunk;
            continue;
        }
        if joined.capacity() < length {
            let mut larger = BytesMut::with_capacity(room);
            larger.extend_from_slice(&std::mem::take(&mut held.bytes));
            larger.extend_from_slice(&joined);
            joined = larger;
        }
        joined.extend_from_slice(&chunk);
    }
    if !joined.is_empty() {
        held.bytes = joined.freeze();
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
        read(Body::from_stream(stream::iter(chunks)), LIMIT, OVERHEAD, memory).await
    }

    #[tokio::test]
    async fn as_much_is_taken_as_there_is_room_for_however_a_body_comes() {
        const LIMIT: usize = 1500;
        for (pieces, expected) in [
            (vec![], 0),
            (vec![1000], 1000),
            (vec![100, 1], 200),
            (vec![100; 5], 800),
            (vec![100; 10], LIMIT),
            (vec![1; LIMIT], LIMIT),
        ] {
            let memory = memory();
            let chunks: Vec<io::Result<Bytes>> = pieces.iter().map(|size| Ok(Bytes::from(vec![b'x'; *size]))).collect();
            let held = read(Body::from_stream(stream::iter(chunks)), LIMIT, 0, &memory).await.unwrap();
            assert_eq!(held.bytes.len(), pieces.iter().sum::<usize>());
            assert_eq!(100_000 - memory.own.available_permits(), expected, "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn a_head_takes_its_part() {
        let headers = HeaderMap::from_iter([("x-id".parse().unwrap(), http::HeaderValue::from_static("e-1"))]);
        assert_eq!(overhead(&headers), OVERHEAD + HEADER + 7);
        let memory = Memory::new(OVERHEAD + HEADER + 6, None);
        let refused = read(Body::empty(), LIMIT, overhead(&headers), &memory).await.unwrap_err();
        assert!(matches!(refused, Refused::Deferred(DeferredBecause::Busy)));
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
        assert!(matches!(read(Body::from("0123456789a"), LIMIT, OVERHEAD, &memory()).await, Err(Refused::Size)));
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
        let all = Arc::new(Semaphore::new(4096 * 3));
        let [one, other] = [(); 2].map(|()| Memory::new(100_000, Some(Arc::clone(&all))));
        let held = chunked(&[b"01234"], &one).await.unwrap();
        let refused = chunked(&[b"0"], &other).await.unwrap_err();
        assert!(matches!(refused, Refused::Deferred(DeferredBecause::Busy)));
        assert_eq!((all.available_permits(), other.own.available_permits()), (4096 * 2 - 5, 100_000));
        drop(held);
        assert!(chunked(&[b"0"], &other).await.is_ok());
    }

    #[test]
    fn an_endpoint_leaves_as_much_as_it_has_to_the_others_and_more_while_its_events_are_late() {
        let all = Arc::new(Semaphore::new(1000));
        let memory = Memory::new(900, Some(Arc::clone(&all)));
        let is_busy = |bytes| matches!(memory.take(bytes), Err(Refused::Deferred(DeferredBecause::Busy)));
        let half = memory.take(500).unwrap();
        assert!(is_busy(1));
        assert_eq!((all.available_permits(), memory.own.available_permits()), (500, 400));
        drop(half);
        let late = memory.late.token();
        let fifth = memory.take(200).unwrap();
        assert!(is_busy(1));
        drop(late);
        let _more = memory.take(300).unwrap();
        drop(fifth);
        assert_eq!(all.available_permits(), 700);
    }

    #[test]
    fn however_many_endpoints_take_what_they_can_there_is_room_for_another_one() {
        const ALL: usize = 1_000_000;
        for broken in [1, 3, 4, 10, 100] {
            for (is_late, expected) in [(false, ALL / (broken + 1) / 3), (true, ALL / (broken + 4))] {
                let all = Arc::new(Semaphore::new(ALL));
                let endpoint = || Memory::new(ALL / 4, Some(Arc::clone(&all)));
                let endpoints: Vec<Memory> = (0..broken).map(|_| endpoint()).collect();
                let late: Vec<_> = endpoints.iter().filter(|_| is_late).map(|endpoint| endpoint.late.token()).collect();
                let mut held = Vec::new();
                loop {
                    let taken: Vec<Taken> = endpoints.iter().filter_map(|endpoint| endpoint.take(10).ok()).collect();
                    if taken.is_empty() {
                        break;
                    }
                    held.extend(taken);
                }
                assert!(endpoint().take(expected).is_ok(), "{broken} of which late are {}", late.len());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let never = Body::from_stream(stream::pending::<io::Result<Bytes>>());
        assert!(matches!(read(never, LIMIT, OVERHEAD, &memory()).await, Err(Refused::BodyLate)));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_refused() {
        let broken = stream::iter([Ok(Bytes::from_static(b"01")), Err(io::Error::other("reset"))]);
        assert!(matches!(read(Body::from_stream(broken), LIMIT, OVERHEAD, &memory()).await, Err(Refused::BodyBroken)));
    }
}
