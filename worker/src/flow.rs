//! The way of one record: pipeline, then sink, with retries; dead letters for what fails.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use sluice_crds::{Delivery, OnDataError, OnDeliveryError};
use sluice_pipeline::{Pipeline, Record, Rejection, Verdict};
use tokio::{sync::Semaphore, time::timeout};
use tracing::debug;

use crate::{
    config::Job,
    dead_letters::{DeadLetters, ErrorClass, Failed},
    lease::Lease,
    retry::{Attempts, Decision, GiveUp, decide},
    sink::{DeliveryError, Outgoing, Sink},
    status::{Area, Status},
};

/// What all records of a worker have in common.
pub(crate) struct Flow {
    pub(crate) pipeline: Pipeline,
    pub(crate) sink: Sink,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) delivery: Delivery,
    pub(crate) status: Arc<Status>,
    integration: String,
    /// Attempts that may run at the same time. A record that waits for its next attempt holds none.
    permits: Semaphore,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The sink has it.
    Delivered,
    /// A filter held it back, or it was dropped because the Integration says so.
    Skipped,
    /// The dead-letter topic has it.
    DeadLettered,
    /// Its partition was taken away first; whoever has the partition reads it again.
    Abandoned,
}

/// The failures of one record so far.
#[derive(Default)]
struct Failures {
    count: u32,
    first: Option<(Instant, DateTime<Utc>)>,
}

impl Flow {
    pub(crate) fn new(
        job: &Job,
        pipeline: Pipeline,
        sink: Sink,
        dead_letters: DeadLetters,
        status: Arc<Status>,
    ) -> Self {
        let delivery = job.config.delivery.clone();
        let permits = usize::try_from(delivery.max_in_flight).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            pipeline,
            sink,
            dead_letters,
            status,
            integration: job.config.integration.to_string(),
            permits: Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS)),
            delivery,
        }
    }

    /// Brings a record to its end, or to the end of the lease.
    pub(crate) async fn process(&self, record: &Record, lease: &Lease) -> Outcome {
        lease.unless_ended(self.settle(record, lease)).await.unwrap_or(Outcome::Abandoned)
    }

    async fn settle(&self, record: &Record, lease: &Lease) -> Outcome {
        match self.pipeline.apply(record) {
            Verdict::Deliver(body) => self.deliver(record, body, lease).await,
            Verdict::Skip { .. } => Outcome::Skipped,
            Verdict::Reject(rejection) => match self.delivery.on_data_error {
                OnDataError::DeadLetter => self.bury(record, &data_error(rejection), lease).await,
                OnDataError::Drop => {
                    debug!(offset = record.offset, stage = rejection.stage, "Record dropped: {}", rejection.message);
                    Outcome::Skipped
                }
            },
        }
    }

    async fn deliver(&self, record: &Record, body: Bytes, lease: &Lease) -> Outcome {
        let idempotency_key = self.idempotency_key(record);
        let outgoing = Outgoing { record, body, idempotency_key: &idempotency_key };
        let mut failures = Failures::default();
        loop {
            let Some(attempt) = self.attempt(&outgoing, lease).await else { return Outcome::Abandoned };
            let Err(error) = attempt else { return Outcome::Delivered };
            failures.add();
            match decide(&self.delivery.retry, failures.attempts(), error.failure, fastrand::f64()) {
                Decision::Retry { after } => {
                    self.status.retried();
                    if timeout(after, lease.draining()).await.is_ok() {
                        return Outcome::Abandoned;
                    }
                }
                Decision::GiveUp(reason) => match self.delivery.on_delivery_error {
                    OnDeliveryError::DeadLetter => {
                        return self
                            .bury(record, &failures.delivery_error(self.sink.name(), error, reason), lease)
                            .await;
                    }
                },
            }
        }
    }

    /// One attempt, as soon as there is room for it; `None` where the partition is about to go.
    async fn attempt(&self, outgoing: &Outgoing<'_>, lease: &Lease) -> Option<Result<(), DeliveryError>> {
        let permit = lease.begin(outgoing.record.offset, self.permits.acquire()).await?;
        let begin = Instant::now();
        let result = self.sink.deliver(outgoing).await;
        drop(permit);
        self.status.attempted(begin.elapsed(), result.as_ref().err());
        Some(result)
    }

    /// Tries for as long as it takes: a record that is neither delivered nor a confirmed dead letter is not settled.
    async fn bury(&self, record: &Record, failed: &Failed, lease: &Lease) -> Outcome {
        let mut failures = Failures::default();
        loop {
            let Err(error) = self.dead_letters.write(record, failed).await else {
                self.status.well(Area::DeadLetters);
                return Outcome::DeadLettered;
            };
            let topic = self.dead_letters.topic();
            let message = format!("dead letters cannot be written to topic {topic:?}, so their records wait: {error}");
            self.status.trouble(Area::DeadLetters, message);
            failures.add();
            let wait = failures.patience(&self.delivery);
            if timeout(wait, lease.draining()).await.is_ok() {
                return Outcome::Abandoned;
            }
        }
    }

    /// The timestamp is part of it because a topic that is deleted and made again counts its offsets anew.
    fn idempotency_key(&self, record: &Record) -> String {
        let Record { topic, partition, offset, .. } = record;
        format!("{}/{topic}/{partition}/{offset}/{}", self.integration, record.timestamp.unwrap_or_default())
    }
}

impl Failures {
    fn add(&mut self) {
        self.count = self.count.saturating_add(1);
        self.first.get_or_insert_with(|| (Instant::now(), Utc::now()));
    }

    fn attempts(&self) -> Attempts {
        let elapsed = self.first.map(|(first, _)| first.elapsed()).unwrap_or_default();
        Attempts { made: self.count, elapsed }
    }

    /// The wait before a dead letter is written again: as the policy says, but without an end.
    fn patience(&self, delivery: &Delivery) -> std::time::Duration {
        let backoff = &delivery.retry.backoff;
        let bound = backoff.initial.get().saturating_mul(1 << self.count.min(16)).min(backoff.max.get());
        bound.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    fn delivery_error(&self, stage: &str, error: DeliveryError, reason: GiveUp) -> Failed {
        let message = match reason {
            GiveUp::Refused => error.message,
            GiveUp::Attempts => format!("{} (all {} attempts used)", error.message, self.count),
            GiveUp::Elapsed => format!("{} (no time left for another attempt)", error.message),
        };
        Failed {
            class: ErrorClass::Delivery,
            stage: stage.to_owned(),
            code: error.code,
            message,
            attempts: self.count,
            first_failed_at: self.first.map_or_else(Utc::now, |(_, at)| at),
        }
    }
}

fn data_error(rejection: Rejection) -> Failed {
    Failed {
        class: ErrorClass::Data,
        stage: rejection.stage,
        code: rejection.code.as_str().to_owned(),
        message: rejection.message,
        attempts: 1,
        first_failed_at: Utc::now(),
    }
}
