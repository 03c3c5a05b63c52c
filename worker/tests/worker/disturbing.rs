//! Workers that are disturbed again and again: members come, go and are killed, and so are brokers.

use std::{
    collections::BTreeMap,
    env,
    time::{Duration, Instant},
};

use sluice_cluster::ComponentHandle;
use sluice_crds::wire::WorkerConfig;

use crate::{kafka::Place, repeats::Taken, running::Worker};

/// With how many records: what `SLUICE_RECORDS` says, or so many.
pub(crate) fn records(usual: usize) -> usize {
    env::var("SLUICE_RECORDS").map_or(usual, |number| number.parse().expect("SLUICE_RECORDS is a number"))
}

/// The workers of one Integration.
pub(crate) struct Crowd<'a> {
    place: &'a Place,
    /// Each has what the others have.
    brokers: Vec<ComponentHandle>,
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
    /// When a broker was killed.
    outages: Vec<Outage>,
}

/// A worker that was killed.
#[derive(Debug)]
pub(crate) struct Death {
    pub(crate) worker: usize,
    pub(crate) at: Instant,
    /// How far each partition was committed a moment before.
    pub(crate) committed: BTreeMap<i32, i64>,
}

/// A broker was away.
#[derive(Debug)]
struct Outage {
    begin: Instant,
    /// More was committed of each partition.
    end: Instant,
    /// How far each partition was committed a moment before.
    committed: BTreeMap<i32, i64>,
}

impl<'a> Crowd<'a> {
    /// Starts two of them.
    pub(crate) fn start(
        place: &'a Place,
        brokers: impl Into<Vec<ComponentHandle>>,
        config: impl Fn(usize) -> WorkerConfig + 'static,
    ) -> Self {
        let (brokers, history) = (brokers.into(), History::default());
        let mut crowd = Self { place, brokers, config: Box::new(config), members: vec![], started: 0, history };
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
        let worker = Worker::start_quietly(&name, &(self.config)(number));
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

    /// SIGKILL to the next broker, which comes back: where no other one takes its place, once that was noticed.
    async fn interrupt(&mut self) {
        self.place.until_in_sync().await;
        let (committed, begin) = (self.place.committed().await, Instant::now());
        let broker = &self.brokers[self.history.outages.len() % self.brokers.len()];
        broker.kill().unwrap();
        if self.brokers.len() == 1 {
            self.members[0].worker.until_status("trouble", |status| status.trouble.is_some()).await;
        }
        broker.start().unwrap();
        self.place.until_committed_since(&committed).await;
        self.history.outages.push(Outage { begin, end: Instant::now(), committed });
    }
}

impl History {
    pub(crate) fn deaths(&self) -> &[Death] {
        &self.deaths
    }

    /// Whether a record may have been delivered again, as its first delivery was not committed when its worker or the broker was killed.
    pub(crate) fn explains(&self, (partition, offset): (i32, i64), before: Taken, now: Taken) -> bool {
        let is_beyond =
            |committed: &BTreeMap<i32, i64>| offset >= committed.get(&partition).copied().unwrap_or_default();
        let by_death =
            |death: &Death| death.worker == before.worker && death.at <= now.at && is_beyond(&death.committed);
        let by_outage =
            |outage: &Outage| before.at <= outage.end && outage.begin <= now.at && is_beyond(&outage.committed);
        self.deaths.iter().any(by_death) || self.outages.iter().any(by_outage)
    }
}

#[test]
fn only_what_was_not_committed_may_come_again() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let history = History {
        changes: 2,
        deaths: vec![Death { worker: 1, at: at(10), committed: [(0, 5)].into() }],
        outages: vec![Outage { begin: at(20), end: at(30), committed: [(0, 50)].into() }],
    };
    let (killed, alive) = (1, 2);
    for (what, place, (worker, before), now, expected) in [
        ("its worker was killed", (0, 5), (killed, 9), 15, true),
        ("it was committed before", (0, 4), (killed, 9), 15, false),
        ("nothing of its partition was", (1, 0), (killed, 9), 15, true),
        ("its worker was killed later", (0, 5), (killed, 8), 9, false),
        ("its worker lives", (0, 5), (alive, 9), 15, false),
        ("the broker was killed", (0, 50), (alive, 15), 31, true),
        ("the broker was away", (0, 50), (alive, 25), 31, true),
        ("it was committed before the broker was killed", (0, 49), (alive, 15), 31, false),
        ("the broker was back", (0, 50), (alive, 31), 35, false),
    ] {
        let (before, now) = (Taken { worker, at: at(before) }, Taken { worker: 3, at: at(now) });
        assert_eq!(history.explains(place, before, now), expected, "{what}");
    }
}
