//! A worker's hold on a partition: what may still be done for its records while the partition goes.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use tokio_util::sync::CancellationToken;

/// A hold on a partition, shared by all of its records that are under way.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    draining: CancellationToken,
    dropped: CancellationToken,
    /// The highest offset whose delivery has begun.
    begun: Arc<AtomicI64>,
}

impl Lease {
    pub(crate) fn new() -> Self {
        Self {
            draining: CancellationToken::new(),
            dropped: CancellationToken::new(),
            begun: Arc::new(AtomicI64::new(i64::MIN)),
        }
    }

    /// The partition is about to go: nothing new begins.
    pub(crate) fn drain(&self) {
        self.draining.cancel();
    }

    /// The partition is gone: everything stops.
    pub(crate) fn end(&self) {
        self.draining.cancel();
        self.dropped.cancel();
    }

    /// Ends when the partition is about to go.
    pub(crate) async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Does the work unless the partition is gone before it is done.
    pub(crate) async fn unless_ended<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.dropped.run_until_cancelled(work).await
    }

    /// Whether this record may be delivered although the partition is about to go. Records below one whose delivery has begun
    /// may: left behind, they would be the wall, and what is delivered above it would be delivered again.
    pub(crate) fn may_still_begin(&self, offset: i64) -> bool {
        offset < self.begun.load(Ordering::Relaxed)
    }

    /// Waits for room to deliver this record; `None` where the partition goes before there is any, and without this record.
    pub(crate) async fn begin<T>(&self, offset: i64, room: impl Future<Output = T>) -> Option<T> {
        let mut room = std::pin::pin!(room);
        let given = tokio::select! {
            biased;
            () = self.draining() => None,
            given = &mut room => Some(given),
        };
        let given = match given {
            Some(given) => given,
            None if self.may_still_begin(offset) => room.await,
            None => return None,
        };
        self.begun.fetch_max(offset, Ordering::Relaxed);
        Some(given)
    }
}
