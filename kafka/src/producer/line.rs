//! A place where there is always an engine: the one, or the next when it has failed for good; and the records that wait for others before
//! they go to it.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
    time::Duration,
};

use rdkafka::ClientConfig;
use tokio::{sync::oneshot, task, time::Instant};
use tracing::warn;

use super::{
    OutgoingRecord, Position, SendError,
    engine::{Engine, NotQueued},
    group::Group,
};
use crate::{Error, ErrorCode, KafkaError};

/// What became of a record.
pub(super) type Outcome = Result<Position, SendError>;

/// A record that goes its way.
pub(super) struct Queued {
    /// What comes of it. It ends without a value when its engine was closed.
    pub(super) delivered: oneshot::Receiver<Outcome>,
    /// Whether it waits for others first.
    pub(super) waits: bool,
}

/// Where a record's outcome goes. Who waits for this record goes when it is told, or dropped.
pub(super) struct Report {
    outcome: oneshot::Sender<Outcome>,
    passage: Passage,
}

/// A record that is on its way.
struct Passage(Weak<Line>);

pub(super) struct Line {
    config: ClientConfig,
    engine: RwLock<Arc<Engine>>,
    group: Mutex<Group<Waiting>>,
}

/// A record that waits for others.
struct Waiting {
    record: Arc<OutgoingRecord>,
    report: Report,
}

impl Line {
    pub(super) fn open(config: ClientConfig) -> Result<Arc<Self>, Error> {
        let engine = RwLock::new(Arc::new(Engine::start(&config)?));
        Ok(Arc::new(Self { config, engine, group: Mutex::default() }))
    }

    /// Another one, which sends each record in a batch of its own, and none before that is answered.
    pub(super) fn with_single_records(&self) -> Result<Arc<Self>, Error> {
        let mut config = self.config.clone();
        config.set("batch.num.messages", "1").set("max.in.flight.requests.per.connection", "1");
        Self::open(config)
    }

    pub(super) fn queue(self: &Arc<Self>, record: &Arc<OutgoingRecord>) -> Result<Queued, SendError> {
        let (outcome, delivered) = oneshot::channel();
        let report = Report { outcome, passage: Passage(Arc::downgrade(self)) };
        let mut group = self.group();
        let waiting = Waiting { record: Arc::clone(record), report };
        let Some(first) = group.enter(waiting, Instant::now().into_std()) else {
            return Ok(Queued { delivered, waits: true });
        };
        let sent = self.send(first);
        // A report that is given back may let others go.
        drop(group);
        sent.map(|()| Queued { delivered, waits: false }).map_err(|(error, _report)| error)
    }

    /// Those that have waited long enough for others go.
    pub(super) fn release_overdue(&self) {
        let now = Instant::now().into_std();
        self.release(|group| group.overdue(now));
    }

    /// What to say of a record whose report did not come in time.
    pub(super) fn out_of_patience(&self, patience: Duration) -> SendError {
        self.engine().out_of_patience(patience)
    }

    /// Says whether everything was reported by then.
    pub(super) async fn flush(&self, deadline: Instant) -> bool {
        self.release(Group::go);
        let engine = self.engine();
        let flush = move || engine.flush(deadline.saturating_duration_since(Instant::now()));
        task::spawn_blocking(flush).await.unwrap_or(false)
    }

    pub(super) fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends those that `go` gives. Nothing comes between them, and nothing overtakes them.
    fn release(&self, go: impl FnOnce(&mut Group<Waiting>) -> Vec<Waiting>) {
        let mut group = self.group();
        let sent: Vec<_> = go(&mut group).into_iter().map(|waiting| self.send(waiting)).collect();
        // A report that is told may let others go.
        drop(group);
        for (error, report) in sent.into_iter().filter_map(Result::err) {
            report.tell(Err(error));
        }
    }

    fn send(&self, Waiting { record, report }: Waiting) -> Result<(), (SendError, Report)> {
        let engine = self.engine();
        let report = match engine.queue(&record, report) {
            Ok(()) => return Ok(()),
            Err(NotQueued::Refused(error, report)) => return Err((error, report)),
            Err(NotQueued::Dead(report)) => report,
        };
        let next = match self.replace(&engine) {
            Ok(next) => next,
            Err(error) => return Err((error, report)),
        };
        next.queue(&record, report).map_err(|not_queued| match not_queued {
            NotQueued::Refused(error, report) => (error, report),
            NotQueued::Dead(report) => {
                let error = KafkaError::local(ErrorCode::FATAL, "a new producer failed at once");
                (SendError::NotWritten(error), report)
            }
        })
    }

    /// Puts a new engine in the place of a dead one, unless another thread has done so already.
    fn replace(&self, dead: &Arc<Engine>) -> Result<Arc<Engine>, SendError> {
        let mut place = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&place, dead) {
            warn!("Kafka producer failed for good; continuing with a new one");
            let engine = Engine::start(&self.config).map_err(|error| {
                SendError::NotWritten(KafkaError::local(ErrorCode::FATAL, format!("no new producer: {error}")))
            })?;
            drop(mem::replace(&mut *place, Arc::new(engine)));
        }
        Ok(Arc::clone(&place))
    }

    fn group(&self) -> MutexGuard<'_, Group<Waiting>> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report {
    pub(super) fn tell(self, outcome: Outcome) {
        // Nobody waits any longer where the future was dropped.
        drop(self.outcome.send(outcome));
        drop(self.passage);
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if let Some(line) = self.0.upgrade() {
            line.release(Group::reported);
        }
    }
}
