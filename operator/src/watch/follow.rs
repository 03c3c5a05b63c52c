//! Follows one kind for as long as the process lives: lists it, watches it, and begins anew after whatever happens.

use std::{fmt::Debug, pin::pin, time::Duration};

use futures::StreamExt;
use kube::{
    Api, Resource,
    runtime::watcher::{self, Config, Event, watcher},
};
use serde::de::DeserializeOwned;
use tracing::{info, warn};

/// A kind that the API server does not know is looked for so often.
const LOOK_FOR_KIND: Duration = Duration::from_secs(30);
/// Waits after failures in a row.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What there is to tell.
#[derive(Debug)]
pub enum Told<T> {
    /// What the watch tells. A kind that the API server does not know has no objects.
    Event(Event<T>),
    /// The API server knows the kind, and did not before.
    KindAppeared,
    /// The API server does not let this operator list the kind.
    Refused,
}

/// Tells everything about the objects that `api` has, for ever. `kind` is for the log.
pub async fn follow<T>(api: Api<T>, config: Config, kind: &str, mut tell: impl FnMut(Told<T>))
where
    T: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = pin!(watcher(api, config));
    let mut failures = 0;
    let mut unknown = false;
    while let Some(event) = events.next().await {
        match event {
            // Comes before the first request, so it says nothing about success.
            Ok(event @ Event::Init) => tell(Told::Event(event)),
            Ok(event) => {
                failures = 0;
                if std::mem::take(&mut unknown) {
                    info!(kind, "The API server knows the kind now");
                    tell(Told::KindAppeared);
                }
                tell(Told::Event(event));
            }
            Err(error) if is_unknown_kind(&error) => {
                if !std::mem::replace(&mut unknown, true) {
                    warn!(kind, every = ?LOOK_FOR_KIND, "The API server does not know the kind; it is looked for again");
                }
                tell(Told::Event(Event::Init));
                tell(Told::Event(Event::InitDone));
                pause(LOOK_FOR_KIND).await;
            }
            Err(error) => {
                let wait = wait(failures);
                failures += 1;
                if is_refused(&error) {
                    tell(Told::Refused);
                }
                // One that broke off is as common as a restart of the API server.
                if failures > 1 {
                    warn!(kind, failures, %error, "The watch fails and will be tried again");
                }
                pause(wait.mul_f64(0.5 + fastrand::f64())).await;
            }
        }
    }
}

/// An unknown kind is answered by the server's router: 404 for a whole list.
fn is_unknown_kind(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    }
}

fn is_refused(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.is_forbidden())
}

fn wait(failures: u32) -> Duration {
    FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failures.min(16))).min(LONGEST_WAIT)
}

#[allow(clippy::disallowed_methods, reason = "the wait before a failed watch, or an unknown kind, is tried again")]
async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_wait_longer() {
        let waits: Vec<_> = [0, 1, 2, 9, u32::MAX].map(wait).iter().map(Duration::as_millis).collect();
        assert_eq!(waits, [500, 1000, 2000, 10_000, 10_000]);
    }
}
