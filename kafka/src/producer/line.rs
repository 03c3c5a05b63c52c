//! A place where there is always an engine: the one, or the next when it has failed for good.

use std::{
    mem,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rdkafka::ClientConfig;
use tokio::{sync::oneshot, task, time::Instant};
use tracing::warn;

use super::{
    OutgoingRecord, Position, SendError,
    engine::{Engine, NotQueued, Report},
};
use crate::{Error, ErrorCode, KafkaError};

/// What comes of a queued record. It ends without a value when its engine was closed.
pub(super) type Delivered = oneshot::Receiver<Result<Position, SendError>>;

pub(super) struct Line {
    config: ClientConfig,
    engine: RwLock<Arc<Engine>>,
}

impl Line {
    pub(super) fn open(config: ClientConfig) -> Result<Self, Error> {
        let engine = RwLock::new(Arc::new(Engine::start(&config)?));
        Ok(Self { config, engine })
    }

    /// Another one, which sends each record in a batch of its own, and none before that is answered.
    pub(super) fn with_single_records(&self) -> Result<Self, Error> {
        let mut config = self.config.clone();
        config.set("batch.num.messages", "1").set("max.in.flight.requests.per.connection", "1");
        Self::open(config)
    }

    pub(super) fn queue(&self, record: &OutgoingRecord) -> Result<Delivered, SendError> {
        let (report, delivered): (Report, _) = oneshot::channel();
        let engine = self.engine();
        match engine.queue(record, report) {
            Ok(()) => Ok(()),
            Err(NotQueued::Refused(error)) => Err(error),
            Err(NotQueued::Dead(report)) => self.replace(&engine)?.queue(record, report).map_err(SendError::from),
        }?;
        Ok(delivered)
    }

    /// What to say of a record whose report did not come in time.
    pub(super) fn out_of_patience(&self, patience: Duration) -> SendError {
        self.engine().out_of_patience(patience)
    }

    /// Says whether everything was reported by then.
    pub(super) async fn flush(&self, deadline: Instant) -> bool {
        let engine = self.engine();
        let flush = move || engine.flush(deadline.saturating_duration_since(Instant::now()));
        task::spawn_blocking(flush).await.unwrap_or(false)
    }

    pub(super) fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.engine.read().unwrap_or_else(PoisonError::into_inner))
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
}
