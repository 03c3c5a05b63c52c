//! Tasks that run for as long as the operator works.

use tokio::task::{JoinError, JoinSet};

/// Waits until one of them panics, and tells with what. Those that have nothing to do may end.
pub async fn panicked(tasks: &mut JoinSet<()>) -> JoinError {
    loop {
        match tasks.join_next().await {
            Some(Ok(())) => {}
            Some(Err(panic)) => return panic,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_told_and_an_end_is_not() {
        let mut tasks = JoinSet::new();
        tasks.spawn(async {});
        tokio::task::yield_now().await;
        assert!(panicked(&mut tasks).now_or_never().is_none());
        tasks.spawn(async { panic!("on purpose") });
        assert!(panicked(&mut tasks).await.is_panic());
    }
}
