//! Waiting for a condition, with a deadline and what was last seen.

use std::{future::Future, time::Duration};

use anyhow::bail;
use tokio::time::{Instant, sleep};

const PAUSE: Duration = Duration::from_millis(50);

/// Waits until `look` gives a value. It says `Err` with what it sees instead; the last one is part of the failure.
pub async fn until<T, F, L>(what: &str, patience: Duration, mut look: L) -> anyhow::Result<T>
where
    L: FnMut() -> F,
    F: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + patience;
    loop {
        let seen = match look().await {
            Ok(value) => return Ok(value),
            Err(seen) => seen,
        };
        if Instant::now() >= deadline {
            bail!("waited {patience:?} for: {what}; last seen: {seen}");
        }
        #[allow(clippy::disallowed_methods, reason = "the pause between two looks at a condition")]
        sleep(PAUSE).await;
    }
}
