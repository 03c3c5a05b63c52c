//! Workers that are disturbed again and again: members come, go and are killed, and so is their broker.

use std::{
    collections::BTreeMap,
    env,
    time::{Duration, Instant},
};

use sluice_cluster::ComponentHandle;
use sluice_crds::wire::WorkerConfig;

use crate::{kafka::Place, running::Worker};

/// How often a worker commits, at least.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);
/// How long Kafka may take none: from when another member comes or goes until all have heard of it, which they do with their heartbeats, each
/// second, and while what is under way in partitions that go is waited for; as much once more on a machine that is busy.
const SLACK: Duration = Duration::from_secs(2);
/// What is settled is committed within this time.
const COMMITTED_WITHIN: Duration = COMMIT_INTERVAL.saturating_add(SLACK);

/// With how many records: what `SLUICE_RECORDS` says, or so many.
pub(crate) fn records(usual: usize) -> usize {
    env::var("SLUICE_RECORDS").map_or(usual, |number| number.parse().expect("SLUICE_RECORDS is a number"))
}

/// The workers of one Integration.
pub(crate) struct Crowd<'a> {
    place: &'a Place,
    broker: ComponentHandle,
    /// The configuration of the worker with this number.
    config: Box<dyn Fn(usize) -> WorkerConfig>,
    members: Vec<Member>,
    /// Workers that there were, each of which has another number.
    started: usize,
    history: History,
}

struct Member {
    number: usize,
    /// The name of its pod, which a container that is started again keeps.
    name: String,
    worker: Worker,
}

/// What was done to them.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// How often partitions may have changed hands.
    pub(crate) changes: usize,
    /// Workers that were killed.
    deaths: Vec<Death>,
    /// From when until when the broker was away, and nothing was committed.
    outages: Vec<(Instant, Instant)>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Death {
    pub(crate) worker: usize,
    pub(crate) at: Instant,
    /// How far each partition was committed a moment before.
    pub(crate) committed: BTreeMap<i32, i64>,
}

impl<'a> Crowd<'a> {
    /// Starts two of them.
    pub(crate) fn start(
        place: &'a Place,
        broker: ComponentHandle,
        config: impl Fn(usize) -> WorkerConfig + 'static,
    ) -> Self {
        let history = History::default();
        let mut crowd = Self { place, broker, config: Box::new(config), members: vec![], started: 0, history };
        crowd.join();
        crowd.join();
        crowd
    }

    /// Does one thing after the other to them, so that there are as many after four as before.
    pub(crate) async fn disturb(&mut self, step: usize) {
        self.history.changes += 1;
        match step % 4 {
            1 => self.join(),
            2 => self.kill().await,
            3 => self.interrupt().await,
            _ => self.leave().await,
        }
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    fn join(&mut self) {
        self.run(format!("worker-{}", self.started));
    }

    fn run(&mut self, name: String) {
        let number = self.started;
        self.started += 1;
        let worker = Worker::start_as(&name, &(self.config)(number));
        self.members.push(Member { number, name, worker });
    }

    /// SIGKILL to the oldest one, which is started again.
    async fn kill(&mut self) {
        let Member { number, name, worker } = self.members.remove(0);
        let committed = self.place.committed().await;
        worker.kill();
        self.history.deaths.push(Death { worker: number, at: Instant::now(), committed });
        self.run(name);
    }

    /// The oldest one leaves in order.
    async fn leave(&mut self) {
        let Member { worker, .. } = self.members.remove(0);
        worker.terminate();
        assert!(worker.ended().await.success());
    }

    /// SIGKILL to the broker, which comes back once that was noticed.
    async fn interrupt(&mut self) {
        let (committed, begin) = (self.place.committed().await, Instant::now());
        self.broker.kill().unwrap();
        self.members[0].worker.until_status("trouble", |status| status.trouble.is_some()).await;
        self.broker.start().unwrap();
        self.place.until_committed_since(&committed).await;
        self.history.outages.push((begin, Instant::now()));
    }
}

impl History {
    /// Workers that were killed, each with the time after which it may have delivered what was not committed yet.
    pub(crate) fn uncommitted_since(&self) -> impl Iterator<Item = (usize, Instant)> {
        let since = |at: Instant| at.checked_sub(COMMITTED_WITHIN).expect("it lived for so long");
        self.deaths.iter().map(move |death| (death.worker, since(death.at)))
    }

    pub(crate) fn deaths(&self) -> &[Death] {
        &self.deaths
    }

    /// Whether this worker was killed.
    pub(crate) fn is_dead(&self, worker: usize) -> bool {
        self.deaths.iter().any(|death| death.worker == worker)
    }

    /// Whether the broker was away before what was delivered then was committed.
    pub(crate) fn was_away(&self, delivered: Instant) -> bool {
        self.outages.iter().any(|(begin, end)| *begin <= delivered + COMMITTED_WITHIN && delivered <= *end)
    }
}
