//! Waiting for a condition, with a deadline and what was last seen.

use std::{fmt::Debug, future::Future, time::Duration};

use anyhow::{Error, bail};
use tokio::time::{Instant, sleep};

const PAUSE: Duration = Duration::from_millis(50);
/// Between two looks at what is to come to rest.
const REST: Duration = Duration::from_secs(1);
/// So many looks after one another see the same where all is at rest: what came last may still stir others.
const EQUAL: usize = 4;
/// What a small request takes at most on a machine that loses no time.
const ORDINARY: Duration = Duration::from_millis(30);

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

/// Waits until `look` gives the same value several times in a row. It says `Err` with what is still under way.
///
/// Each pause begins when the look before it has ended: a machine that stalls does not make several looks at once afterwards.
pub async fn settled<T, F, L>(what: &str, patience: Duration, mut look: L) -> anyhow::Result<T>
where
    T: PartialEq + Debug,
    L: FnMut() -> F,
    F: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + patience;
    let (mut seen, mut equal) = (look().await, 1);
    while seen.is_err() || equal < EQUAL {
        if Instant::now() >= deadline {
            bail!("waited {patience:?} for rest: {what}; last seen: {seen:?}");
        }
        #[allow(clippy::disallowed_methods, reason = "the pause between two looks at what may change")]
        sleep(REST).await;
        let now = look().await;
        equal = if now == seen { equal + 1 } else { 1 };
        seen = now;
    }
    seen.map_err(Error::msg)
}

/// Does some work, and gives with what it comes to how much time the machine lost meanwhile: so much longer than it should did a small request
/// take that was made over and over. A promise of some seconds is one about machines that stand still for none of them.
pub async fn losing<T>(request: impl AsyncFn(), work: impl Future<Output = T>) -> (T, Duration) {
    let mut lost = Duration::ZERO;
    let requests = Box::pin(async {
        loop {
            let begin = Instant::now();
            #[allow(
                clippy::disallowed_methods,
                reason = "the pause between two requests; that it is longer is part of what is lost"
            )]
            sleep(PAUSE).await;
            request().await;
            lost += begin.elapsed().saturating_sub(PAUSE + ORDINARY);
        }
    });
    let done = tokio::select! {
        // What is lost is counted before it is judged.
        biased;
        () = requests => unreachable!("there is always another one"),
        done = Box::pin(work) => done,
    };
    (done, lost)
}
