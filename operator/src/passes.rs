//! The one loop: passes over whatever waits in a queue, so many at a time, each of them traced, counted by how it ended, and repeated
//! where it failed. One that panics fails alone.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use futures::FutureExt;
use sluice_crds::NamespacedName;
use tokio::{
    sync::watch as channel,
    task::{Id, JoinError, JoinSet},
    time::{Instant, timeout, timeout_at},
};
use tracing::{Instrument, debug, error, info_span, warn};

use crate::{
    backoff::Backoff,
    error::{Error, Retry},
    metrics::{Metrics, Outcome},
    queue::{Queue, Then},
};

/// No pass may hold its object longer.
pub const PASS_LIMIT: Duration = Duration::from_secs(30);
/// Time that passes have to end when the operator stops.
const GRACE: Duration = Duration::from_secs(1);

/// Passes over objects of one kind: resources, or what several of them have in common.
pub trait Passes: Send + Sync + 'static {
    /// What they are over, in logs and metrics.
    const KIND: &'static str;

    /// So many at the same time, in each lane.
    const AT_ONCE: usize;

    /// Who waits for one.
    fn queue(&self) -> &Queue;

    /// What one may wait for together with others, such as a Kafka cluster: whatever becomes of it, passes in other lanes go on.
    fn lane(&self, _: &NamespacedName) -> String {
        String::new()
    }

    /// Whose failed.
    fn backoff(&self) -> &Backoff;

    /// Where they are counted.
    fn metrics(&self) -> &Metrics;

    /// Whether there is still something of that name to look at.
    fn is_there(&self, name: &NamespacedName) -> bool;

    /// One pass; gives what comes after it. `None` where there was nothing that it could look at.
    fn pass(&self, name: &NamespacedName) -> impl Future<Output = Option<Result<Then, Error>>> + Send;
}

/// Runs them until `stop` is true. Those that have begun are finished, but for those that take too long: so many are given up.
pub async fn run<P: Passes>(passes: Arc<P>, mut stop: channel::Receiver<bool>) -> usize {
    let queue = passes.queue();
    let mut underway = Underway::default();
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(ended) = underway.tasks.join_next_with_id() => underway.end(&*passes, ended),
            name = queue.next(P::AT_ONCE, |name| passes.lane(name)) => underway.begin(&passes, name),
        }
    }
    let deadline = Instant::now() + GRACE;
    while let Ok(Some(ended)) = timeout_at(deadline, underway.tasks.join_next_with_id()).await {
        underway.end(&*passes, ended);
    }
    underway.tasks.len()
}

/// What work comes to that takes no longer than this from now on. An async function would have room for the work twice, as its argument and as what it waits
/// for.
pub fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> impl Future<Output = Result<T, Error>> {
    timeout(limit, work).map(move |done| done.unwrap_or(Err(Error::TimedOut(limit))))
}

/// The passes under way, by task.
#[derive(Debug, Default)]
struct Underway {
    tasks: JoinSet<Then>,
    names: HashMap<Id, NamespacedName>,
}

impl Underway {
    fn begin<P: Passes>(&mut self, passes: &Arc<P>, name: NamespacedName) {
        let span = info_span!("reconcile", kind = P::KIND, namespace = name.namespace, name = name.name);
        let task = self.tasks.spawn(pass(Arc::clone(passes), name.clone()).instrument(span));
        self.names.insert(task.id(), name);
    }

    fn end<P: Passes>(&mut self, passes: &P, ended: Result<(Id, Then), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let Some(name) = self.names.remove(&id) else { return };
        let then = match ended {
            Ok((_, then)) => then,
            Err(error) => {
                error!(kind = P::KIND, %name, %error, "A pass panicked: please report it; the others go on");
                passes.metrics().pass(P::KIND, Outcome::Panicked, Duration::ZERO);
                Then::At(Instant::now() + passes.backoff().failed(&name))
            }
        };
        passes.queue().finished(&name, then);
        if !passes.is_there(&name) {
            // It went during its pass, and nobody else will forget that it failed.
            passes.backoff().succeeded(&name);
        }
    }
}

async fn pass<P: Passes>(passes: Arc<P>, name: NamespacedName) -> Then {
    let started = Instant::now();
    let Some(result) = passes.pass(&name).await else { return Then::WhenWoken };
    passes.metrics().pass(P::KIND, Outcome::of(&result), started.elapsed());
    debug!(succeeded = result.is_ok(), "Pass finished");
    match result {
        Ok(then) => {
            passes.backoff().succeeded(&name);
            then
        }
        Err(error) => {
            if !error.is_outdated() {
                warn!(%error, "The pass failed and will be tried again");
            }
            let next = Instant::now() + passes.backoff().failed(&name);
            match error.retry() {
                Retry::Newer => Then::AfterNewer { patience: next },
                Retry::Later => Then::At(next),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes that come to what their objects are called.
    #[derive(Default)]
    struct Scripted {
        queue: Queue,
        backoff: Backoff,
        metrics: Metrics,
    }

    impl Passes for Scripted {
        const KIND: &'static str = "Topic";

        const AT_ONCE: usize = 2;

        fn queue(&self) -> &Queue {
            &self.queue
        }

        fn backoff(&self) -> &Backoff {
            &self.backoff
        }

        fn metrics(&self) -> &Metrics {
            &self.metrics
        }

        fn is_there(&self, name: &NamespacedName) -> bool {
            name.name != "going"
        }

        async fn pass(&self, name: &NamespacedName) -> Option<Result<Then, Error>> {
            match name.name.as_str() {
                "good" => Some(Ok(Then::WhenWoken)),
                "stale" => Some(Err(Error::Stale)),
                "failing" => Some(Err(Error::TimedOut(PASS_LIMIT))),
                "going" => Some(Err(Error::Rejected(Vec::new()))),
                "panicking" => panic!("on purpose"),
                _ => None,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_is_counted_by_how_it_ends_and_one_that_fails_or_panics_is_repeated_ever_later() {
        let passes = Arc::new(Scripted::default());
        for name in ["good", "stale", "failing", "going", "panicking", "gone"] {
            passes.queue.wake(&NamespacedName { namespace: "shop".to_owned(), name: name.to_owned() });
        }
        let (_stop, stopped) = channel::channel(false);
        // A first failure is repeated after 0.5 s, a second one after 1 s.
        let time = Duration::from_millis(1250);
        assert!(timeout(time, run(Arc::clone(&passes), stopped)).await.is_err(), "nobody stops it");
        let text = passes.metrics.text();
        let mut counts: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("sluice_operator_reconciles_total")).collect();
        counts.sort_unstable();
        // Of what is going nobody remembers that it failed.
        let expected = [("Invalid", 3), ("Ok", 1), ("Panicked", 2), ("Stale", 2), ("TimedOut", 2)];
        let expected = expected.map(|(outcome, count)| format!("{{kind=\"Topic\",outcome=\"{outcome}\"}} {count}"));
        assert_eq!(counts, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn passes_that_have_begun_are_finished_when_it_stops() {
        let passes = Arc::new(Scripted::default());
        passes.queue.wake(&NamespacedName { namespace: "shop".to_owned(), name: "good".to_owned() });
        let (stop, stopped) = channel::channel(false);
        // It begins, and is asked to stop before anything else happens.
        let (unfinished, _) = futures::join!(run(Arc::clone(&passes), stopped), async { stop.send_replace(true) });
        assert_eq!(unfinished, 0);
        let counted = "sluice_operator_reconciles_total{kind=\"Topic\",outcome=\"Ok\"} 1";
        assert!(passes.metrics.text().contains(counted), "{}", passes.metrics.text());
    }
}
