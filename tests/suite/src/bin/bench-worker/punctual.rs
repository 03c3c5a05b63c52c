//! Waits that end when they should. Those of tokio go by whole milliseconds, which makes nearly three of one.

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

/// Whoever waits does so for the same while: who came first goes first. Clones are the same.
#[derive(Clone)]
pub(crate) struct Punctual {
    after: Duration,
    waiting: mpsc::Sender<(Instant, oneshot::Sender<()>)>,
}

impl Punctual {
    pub(crate) fn new(after: Duration) -> Self {
        let (waiting, all) = mpsc::channel::<(Instant, oneshot::Sender<()>)>();
        thread::spawn(move || {
            for (due, waiter) in all {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                // Nobody waits any more where the connection was lost.
                let _ = waiter.send(());
            }
        });
        Self { after, waiting }
    }

    pub(crate) async fn wait(&self) {
        let (waiter, over) = oneshot::channel();
        self.waiting.send((Instant::now() + self.after, waiter)).expect("the thread waits for more");
        over.await.expect("each is told in its turn");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_is_told_before_the_time() {
        let (punctual, begin) = (Punctual::new(Duration::from_millis(3)), Instant::now());
        futures::join!(punctual.wait(), punctual.wait());
        assert!(begin.elapsed() >= Duration::from_millis(3));
    }
}
