//! Work that is done to its end, whether anybody waits for it or not.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

/// Work that goes on as a task of its own where this is dropped before its end. Until then it is part of the task that waits for it, so
/// that work that is waited for costs no task, and no way from one to the other.
pub(super) struct Finish<T: Send + 'static>(Option<Work<T>>);

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<T: Send + 'static> Finish<T> {
    pub(super) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Some(Box::pin(work)))
    }
}

impl<T: Send + 'static> Future for Finish<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Where it panics it is gone, and does not go on.
        let mut work = self.0.take().expect("nobody polls what has ended");
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.0 = Some(work);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Finish<T> {
    fn drop(&mut self) {
        // Without a runtime the process ends, and the work with it.
        if let Some(work) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;
    use tokio::sync::oneshot;

    use super::*;

    /// Work that waits for the first and tells the second.
    fn relay(begin: oneshot::Receiver<u32>, end: oneshot::Sender<u32>) -> Finish<()> {
        Finish::new(async move { end.send(begin.await.unwrap()).unwrap() })
    }

    #[tokio::test]
    async fn who_waits_gets_what_comes_of_the_work() {
        assert_eq!(Finish::new(async { 1 }).await, 1);
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_longer_goes_on() {
        for is_begun in [true, false] {
            let ((trigger, triggered), (end, ended)) = (oneshot::channel(), oneshot::channel());
            let mut work = relay(triggered, end);
            assert!(!is_begun || poll!(&mut work).is_pending());
            drop(work);
            trigger.send(7).unwrap();
            assert_eq!(ended.await, Ok(7));
        }
    }
}
