//! Work that is done to its end, whether anybody waits for it or not.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// Work that goes on as a task of its own where this is dropped before its end. Until then it is part of the task that waits for it, so
/// that work that is waited for costs no task, and no way from one to the other.
pub(super) struct Finish<T: Send + 'static> {
    work: Option<Work<T>>,
    later: Later,
}

/// Where that work is known which goes on by itself. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Later {
    /// To the endpoint whose it is.
    pub(super) endpoint: TaskTracker,
    /// To the process, which does not end before it.
    pub(super) process: TaskTracker,
}

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<T: Send + 'static> Finish<T> {
    /// What goes on by itself is known to `later`.
    pub(super) fn new(later: &Later, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { work: Some(Box::pin(work)), later: later.clone() }
    }
}

impl<T: Send + 'static> Future for Finish<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Where it panics it is gone, and does not go on.
        let mut work = self.work.take().expect("nobody polls what has ended");
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Finish<T> {
    fn drop(&mut self) {
        // Without a runtime the process ends, and the work with it.
        if let Some(work) = self.work.take()
            && let Ok(runtime) = Handle::try_current()
        {
            let Later { endpoint, process } = &self.later;
            process.spawn_on(endpoint.track_future(work), &runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;
    use tokio::sync::oneshot;

    use super::*;

    fn later() -> Later {
        Later { endpoint: TaskTracker::new(), process: TaskTracker::new() }
    }

    /// Work that waits for the first and tells the second.
    fn relay(later: &Later, begin: oneshot::Receiver<u32>, end: oneshot::Sender<u32>) -> Finish<()> {
        Finish::new(later, async move { end.send(begin.await.unwrap()).unwrap() })
    }

    #[tokio::test]
    async fn who_waits_gets_what_comes_of_the_work() {
        let later = later();
        assert_eq!(Finish::new(&later, async { 1 }).await, 1);
        assert!(later.endpoint.is_empty() && later.process.is_empty());
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_longer_goes_on() {
        for is_begun in [true, false] {
            let ((trigger, triggered), (end, ended)) = (oneshot::channel(), oneshot::channel());
            let later = later();
            let mut work = relay(&later, triggered, end);
            assert!(!is_begun || poll!(&mut work).is_pending());
            drop(work);
            later.process.close();
            assert!(poll!(pin!(later.process.wait())).is_pending());
            assert!(!later.endpoint.is_empty());
            trigger.send(7).unwrap();
            later.process.wait().await;
            assert!(later.endpoint.is_empty());
            assert_eq!(ended.await, Ok(7));
        }
    }
}
