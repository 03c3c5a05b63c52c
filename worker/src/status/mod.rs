//! What the worker tells about itself: counts that add up, what keeps it from working, and signs of life.

mod metrics;
mod server;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::Utc;
use prometheus_client::metrics::histogram::exponential_buckets;
use sluice_crds::wire::{
    Circuit, HaltedPartition, SinkConfig, SinkFailure, SourceConfig, TlsConfig, WorkerConfig, WorkerStatus,
};
use sluice_telemetry::{
    Certificates, DurationHistogram, Durations,
    traces::{Exemplar, Tracer},
};
use tracing::{info, warn};

pub(crate) use server::serve;

use crate::{config::Job, sink::DeliveryError};

/// What the worker tells about itself. Every change is one short lock, so that the counts add up whenever they are read.
#[derive(Debug)]
pub(crate) struct Status {
    generation: i64,
    /// Tells this process from the one before.
    instance: String,
    integration: [(&'static str, String); 2],
    certificates: Certificates,
    counts: Mutex<Counts>,
    troubles: Mutex<BTreeMap<Area, Trouble>>,
    halted: Mutex<Vec<HaltedPartition>>,
    /// Seconds that attempts took.
    attempts: DurationHistogram,
    /// The same for the operator.
    durations: Durations,
    failed: AtomicU64,
    /// In seconds since 1970; 0 before the first.
    last_delivery: AtomicI64,
    sink_fails: AtomicBool,
    sink_failure: Mutex<Option<SinkFailure>>,
    ready: AtomicBool,
    started: Instant,
    /// Milliseconds from the start to the source's last sign of life.
    heartbeat: AtomicU64,
    /// How long it may give none.
    silence: Duration,
}

/// Counts since the start. What was received is delivered, skipped, dead-lettered, returned, or not settled yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) received: u64,
    pub(crate) delivered: u64,
    pub(crate) skipped: u64,
    pub(crate) dead_lettered: u64,
    /// Not settled when their partition was taken away; whoever has it now receives them.
    pub(crate) returned: u64,
    pub(crate) retries: u64,
    /// Deleted by Kafka before they were read.
    pub(crate) gone: u64,
    pub(crate) partitions: u64,
    /// Those that stopped at a record.
    pub(crate) halted: u64,
    /// Attempts under way.
    pub(crate) in_flight: u64,
    pub(crate) circuit: Circuit,
}

impl Counts {
    /// Records that came to their end here.
    pub(crate) fn settled(&self) -> u64 {
        self.delivered + self.skipped + self.dead_lettered
    }
}

/// Where something can keep the worker from working.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Area {
    Source,
    /// Credentials for Kafka and its authorities: what is missing before the start, and new ones beside those that are used.
    Credentials,
    /// Secrets of the sink.
    SinkSecrets,
    Sink,
    /// A topic that batches are written to.
    Writing,
    DeadLetters,
    Halted,
}

/// What keeps a part from working.
#[derive(Debug)]
struct Trouble {
    message: String,
    /// Milliseconds from the start to when it began, with whatever message.
    since: u64,
}

/// Where Secrets are used.
const SECRETS: [Area; 2] = [Area::Credentials, Area::SinkSecrets];
/// A worker whose source is in trouble for this long is not ready: longer than a broker takes to be restarted.
const UNREADY: Duration = Duration::from_mins(1);
/// A source that gave no sign of life for this long hangs. Longer than a revocation, which waits for deliveries.
pub(crate) const SILENCE: Duration = Duration::from_mins(1);

impl Status {
    pub(crate) fn new(job: &Job) -> Self {
        let name = &job.config.integration;
        Self {
            generation: job.generation,
            instance: format!("{:016x}", fastrand::u64(..)),
            integration: [("namespace", name.namespace.clone()), ("integration", name.name.clone())],
            certificates: certificates(&job.config),
            counts: Mutex::default(),
            troubles: Mutex::default(),
            halted: Mutex::default(),
            attempts: attempts(&Tracer::default()),
            durations: Durations::default(),
            failed: AtomicU64::new(0),
            last_delivery: AtomicI64::new(0),
            sink_fails: AtomicBool::new(false),
            sink_failure: Mutex::default(),
            ready: AtomicBool::new(false),
            started: Instant::now(),
            heartbeat: AtomicU64::new(0),
            silence: SILENCE,
        }
    }

    /// A source hangs that gave no sign of life for so long.
    pub(crate) fn hanging_after(self, silence: Duration) -> Self {
        Self { silence, ..self }
    }

    /// With times that name the traces of this tracer, before any attempt, and with its certificates.
    pub(crate) fn traced_by(self, tracer: &Tracer) -> Self {
        Self { attempts: attempts(tracer), certificates: tracer.with_certificates(self.certificates), ..self }
    }

    /// All counts, at one moment, and what the sink last failed with.
    pub(crate) fn publish(&self, counts: Counts, failure: &str) {
        let before = std::mem::replace(&mut *self.counts(), counts).circuit;
        match (before, counts.circuit) {
            (Circuit::Closed | Circuit::HalfOpen, Circuit::Open) => {
                self.trouble(
                    Area::Sink,
                    format!("the sink is left alone and records wait, as it failed again and again: {failure}"),
                );
            }
            (Circuit::Open | Circuit::HalfOpen, Circuit::Closed) => self.well(Area::Sink),
            _ => {}
        }
    }

    /// These partitions stopped at a record, and no others.
    pub(crate) fn halted(&self, halted: Vec<HaltedPartition>) {
        let each = halted.iter().map(|HaltedPartition { topic, partition, offset, reason }| {
            format!("{topic}[{partition}] stopped at offset {offset} until the Integration changes: {reason}")
        });
        match each.collect::<Vec<_>>().join("; ") {
            none if none.is_empty() => self.well(Area::Halted),
            message => self.trouble(Area::Halted, message),
        }
        *lock(&self.halted) = halted;
    }

    /// An attempt for the record of this span ended. Only the first failure after a success is logged, and the first success after
    /// a failure.
    pub(crate) fn attempted(&self, took: Duration, span: Option<Exemplar>, error: Option<&DeliveryError>) {
        self.attempts.observe(took, span);
        self.durations.observe(took);
        match error {
            Some(error) => self.attempt_failed(error),
            None => self.attempt_succeeded(),
        }
    }

    /// Attempts for the records of these spans ended together, and well.
    pub(crate) fn succeeded(&self, took: Duration, spans: impl Iterator<Item = Option<Exemplar>>) {
        let mut attempts = 0_u64;
        for span in spans {
            self.attempts.observe(took, span);
            attempts += 1;
        }
        if attempts > 0 {
            self.durations.observe_all(took, attempts);
            self.attempt_succeeded();
        }
    }

    fn attempt_failed(&self, DeliveryError { code, message, .. }: &DeliveryError) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.sink_fails.store(true, Ordering::Relaxed);
        let mut failure = lock(&self.sink_failure);
        if failure.is_none() {
            warn!(code, "Delivery failed: {message}");
        }
        failure.get_or_insert_with(|| SinkFailure { attempts: 0, message: message.clone() }).attempts += 1;
    }

    /// Read before written: most attempts find nothing to change, and the lines stay in every core's cache.
    fn attempt_succeeded(&self) {
        let now = Utc::now().timestamp();
        if self.last_delivery.load(Ordering::Relaxed) != now {
            self.last_delivery.store(now, Ordering::Relaxed);
        }
        if self.sink_fails.load(Ordering::Relaxed) && self.sink_fails.swap(false, Ordering::Relaxed) {
            *lock(&self.sink_failure) = None;
            info!("Delivery works again");
        }
    }

    /// Something keeps the worker from working. It is logged when it is news.
    pub(crate) fn trouble(&self, area: Area, message: String) {
        let mut troubles = lock(&self.troubles);
        let before = troubles.get(&area);
        if before.is_none_or(|before| before.message != message) {
            warn!("Waiting: {message}");
            let since = before.map_or_else(|| self.age(), |before| before.since);
            troubles.insert(area, Trouble { message, since });
        }
    }

    /// Nothing (any more) keeps this part from working.
    pub(crate) fn well(&self, area: Area) {
        if let Some(Trouble { message, .. }) = lock(&self.troubles).remove(&area) {
            info!("No longer: {message}");
        }
    }

    /// Whether something keeps this part from working.
    pub(crate) fn is_troubled(&self, area: Area) -> bool {
        lock(&self.troubles).contains_key(&area)
    }

    /// How many of those areas are in trouble that are about Secrets.
    fn secrets_unusable(&self) -> u64 {
        let troubles = lock(&self.troubles);
        SECRETS.iter().map(|area| u64::from(troubles.contains_key(area))).sum()
    }

    /// The source is a member of its group.
    pub(crate) fn ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }

    /// The source gives a sign of life.
    pub(crate) fn beat(&self) {
        self.heartbeat.store(self.age(), Ordering::Relaxed);
    }

    fn is_alive(&self) -> bool {
        self.is_alive_at(self.age())
    }

    fn is_alive_at(&self, age: u64) -> bool {
        let silence = age.saturating_sub(self.heartbeat.load(Ordering::Relaxed));
        Duration::from_millis(silence) < self.silence
    }

    fn is_ready(&self) -> bool {
        self.is_ready_at(self.age())
    }

    /// It has been a member of its group, and its source is not in trouble for long. What the sink does not take makes nobody unready.
    fn is_ready_at(&self, age: u64) -> bool {
        let is_long = |trouble: &Trouble| Duration::from_millis(age.saturating_sub(trouble.since)) >= UNREADY;
        self.ready.load(Ordering::Relaxed) && !lock(&self.troubles).get(&Area::Source).is_some_and(is_long)
    }

    /// What the operator reads.
    pub(crate) fn report(&self) -> WorkerStatus {
        let counts = *self.counts();
        let troubles = lock(&self.troubles);
        let told = |areas: &[Area]| {
            let told = troubles.iter().filter(|(area, _)| areas.contains(area));
            let told: Vec<&str> = told.map(|(_, trouble)| trouble.message.as_str()).collect();
            (!told.is_empty()).then(|| told.join("; "))
        };
        WorkerStatus {
            generation: self.generation,
            instance: self.instance.clone(),
            uptime: sluice_crds::Duration::from_millis(self.age()),
            received: counts.received - counts.returned,
            delivered: counts.delivered,
            skipped: counts.skipped,
            dead_lettered: counts.dead_lettered,
            unsettled: counts.unsettled(),
            retries: counts.retries,
            attempts: self.durations.counts(),
            failed: self.failed.load(Ordering::Relaxed),
            in_flight: counts.in_flight,
            last_delivery: Some(self.last_delivery.load(Ordering::Relaxed)).filter(|second| *second > 0),
            gone: counts.gone,
            partitions: counts.partitions,
            circuit: counts.circuit,
            sink_failure: lock(&self.sink_failure).clone(),
            sink_trouble: told(&[Area::Sink]).or_else(|| told(&[Area::SinkSecrets])),
            secrets_trouble: told(&SECRETS),
            halted: lock(&self.halted).clone(),
            trouble: (!troubles.is_empty())
                .then(|| troubles.values().map(|trouble| trouble.message.as_str()).collect::<Vec<_>>().join("; ")),
        }
    }

    pub(crate) fn counts(&self) -> MutexGuard<'_, Counts> {
        lock(&self.counts)
    }

    fn age(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// From 1 ms to 33 s.
fn attempts(tracer: &Tracer) -> DurationHistogram {
    DurationHistogram::new(exponential_buckets(0.001, 2.0, 16), tracer)
}

/// Those of the Kafka cluster and of the sink.
fn certificates(config: &WorkerConfig) -> Certificates {
    let SourceConfig::Kafka { connection, .. } = &config.source;
    let certificates = Certificates::default().of_kafka(connection);
    match &config.sink {
        SinkConfig::Http(http) => {
            let TlsConfig { ca, certificate, .. } = http.tls.clone();
            certificates.own(certificate).authorities(ca)
        }
        SinkConfig::Kafka(_) => certificates,
    }
}

impl Counts {
    /// Records that were received and have not met their end.
    pub(crate) fn unsettled(&self) -> u64 {
        self.received - self.delivered - self.skipped - self.dead_lettered - self.returned
    }
}

/// Nothing panics while it holds one of these locks; if it did, the counts would still be whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use sluice_crds::Delivery;

    use super::*;
    use crate::engine::tests::job;

    #[test]
    fn a_worker_whose_source_is_in_trouble_for_a_minute_is_not_ready_until_it_is_well() {
        let status = Status::new(&job(Delivery::default()));
        assert!(!status.is_ready_at(0), "it was no member yet");
        status.ready();
        status.trouble(Area::Sink, "the API is away".into());
        status.trouble(Area::Source, "Kafka does not answer".into());
        let since = lock(&status.troubles)[&Area::Source].since;
        assert!(status.is_ready_at(since + 59_999));
        assert!(!status.is_ready_at(since + 60_000));
        status.trouble(Area::Source, "Kafka refuses".into());
        assert!(!status.is_ready_at(since + 60_000), "another message is no better");
        status.well(Area::Source);
        assert!(status.is_ready_at(since + 60_000));
    }

    #[test]
    fn secrets_that_cannot_be_used_are_counted_and_no_other_trouble() {
        let status = Status::new(&job(Delivery::default()));
        assert_eq!(status.secrets_unusable(), 0);
        for (area, unusable) in [(Area::Source, 0), (Area::Credentials, 1), (Area::SinkSecrets, 2), (Area::Sink, 2)] {
            status.trouble(area, "it does not work".into());
            assert_eq!(status.secrets_unusable(), unusable, "{area:?}");
        }
        status.well(Area::Credentials);
        assert_eq!(status.secrets_unusable(), 1);
    }

    #[test]
    fn a_source_without_a_sign_of_life_for_a_minute_hangs() {
        let status = Status::new(&job(Delivery::default()));
        assert!(status.is_alive_at(59_999));
        assert!(!status.is_alive_at(60_000));
        status.heartbeat.store(30_000, Ordering::Relaxed);
        assert!(status.is_alive_at(89_999));
        assert!(!status.is_alive_at(90_000));
    }
}
