//! Lag of an Integration whose worker reads some partitions and leaves others alone: because one has halted, because a key of one is
//! blocked, or all of them because the circuit is open.

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use reqwest::StatusCode;
use sluice_crds::{
    Integration,
    wire::{Circuit, WorkerStatus},
};
use sluice_suite::{catcher::Catcher, planes::Plane, until};

use crate::{INTEGRATION, PATIENCE, Stand};

/// The Integration with a worker that delivers to an API.
struct Flow {
    stand: Stand,
    api: Catcher,
    worker: Plane,
}

impl Flow {
    /// Has it made with these fields of `spec.delivery`.
    async fn open(name: &str, delivery: &str) -> Self {
        let (stand, api) = (Stand::open(name).await, Catcher::start().await.unwrap());
        let integration = INTEGRATION
            .replace("http://api.example/", &format!("http://{}/", api.address))
            .replace("replicas: 0", &format!("delivery: {{{delivery}}}"));
        stand.world.apply::<Integration>(&integration).await.unwrap();
        let worker = Plane::worker(&stand.world, "to-api", &[]).await.unwrap();
        Self { stand, api, worker }
    }

    /// So many records with this key, which their values tell too.
    fn write(&self, partition: i32, key: &str, count: usize) {
        let producer: BaseProducer = self.stand.config().create().unwrap();
        let value = format!(r#"{{"key": "{key}"}}"#);
        for _ in 0..count {
            let record = BaseRecord::<str, str>::to(&self.stand.topic).partition(partition).key(key).payload(&value);
            producer.send(record).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Waits until the worker tells of itself what `judge` wants.
    async fn worker_says(&self, what: &str, judge: impl Fn(&WorkerStatus) -> bool) -> WorkerStatus {
        let url = format!("http://{}/status", self.worker.status);
        until(what, PATIENCE, || async {
            let answer = reqwest::get(&url).await.map_err(|error| error.to_string())?;
            let status: WorkerStatus = answer.json().await.map_err(|error| error.to_string())?;
            if judge(&status) { Ok(status) } else { Err(format!("{status:?}")) }
        })
        .await
        .unwrap()
    }

    /// Waits until the metric says that so many records wait, and the status the same in its words: in all, and in the partition where
    /// most of them do.
    async fn wait(&self, records: u32, in_all: &str, (partition, there): (i32, &str)) {
        let worst = format!("{}-{partition}: {there}", self.stand.topic);
        let namespace = &self.stand.world.namespace;
        let metric = format!("sluice_integration_lag_records{{namespace=\"{namespace}\",integration=\"to-api\"}}");
        until(&format!("{records} records wait"), PATIENCE, || async {
            let now = self.stand.world.operator.metric(&metric).await.map_err(|error| error.to_string())?;
            if (now - f64::from(records)).abs() < 0.1 { Ok(()) } else { Err(now.to_string()) }
        })
        .await
        .unwrap();
        let status = self
            .stand
            .shows(&format!("{in_all} wait, {worst}"), |status| {
                status.lag.as_deref() == Some(in_all) && status.worst_partition.as_ref() == Some(&worst)
            })
            .await;
        assert!(status.oldest_waiting.is_some(), "{status:?}");
    }
}

#[tokio::test]
async fn where_a_partition_has_halted_only_that_one_waits_and_all_do_while_the_circuit_is_open() {
    // Each second in which the circuit is open takes an attempt of the first record that waits: it must not halt too.
    let retry = "retry: {maxAttempts: 1000, backoff: {initial: 50ms, max: 100ms}}";
    let delivery = format!("onDeliveryError: Halt, circuitBreaker: {{failures: 3, openFor: 1s}}, {retry}");
    let flow = Flow::open("halted", &delivery).await;
    flow.api.refuse("stop", StatusCode::UNPROCESSABLE_ENTITY);
    flow.write(0, "go", 2);
    flow.write(0, "stop", 3);
    flow.write(1, "go", 10);
    let told = flow.worker_says("it has halted", |status| !status.halted.is_empty()).await;
    let halted: Vec<_> = told.halted.iter().map(|halted| (halted.partition, halted.offset)).collect();
    assert_eq!(halted, [(0, 2)]);
    flow.wait(3, "3", (0, "3")).await;

    flow.api.refuse("", StatusCode::SERVICE_UNAVAILABLE);
    flow.write(1, "go", 6);
    flow.worker_says("its circuit is open", |status| status.circuit != Circuit::Closed).await;
    flow.wait(9, "9", (1, "6")).await;

    flow.api.refuse_none();
    flow.wait(3, "3", (0, "3")).await;
    let told = flow.worker_says("its circuit is closed", |status| status.circuit == Circuit::Closed).await;
    assert_eq!((told.delivered, told.halted.len()), (18, 1), "{told:?}");
}

#[tokio::test]
async fn where_a_key_is_blocked_its_partition_waits_also_what_no_worker_has_read_until_it_drains() {
    // More than a worker reads of a partition in which a thousand wait.
    const BLOCKED: usize = 8_000;
    // So slow that it takes some looks until all are delivered.
    let delivery = "retry: {maxAttempts: 1000, backoff: {initial: 50ms, max: 1s}}, rateLimit: {perSecond: 1000}";
    let flow = Flow::open("blocked", delivery).await;
    flow.api.refuse("blocked", StatusCode::SERVICE_UNAVAILABLE);
    flow.write(0, "blocked", BLOCKED);
    flow.worker_says("a thousand wait in it", |status| status.unsettled >= 1_000).await;
    flow.write(1, "go", 20);
    let told = flow.worker_says("the others are delivered", |status| status.delivered == 20).await;
    assert!(told.unsettled < 8_000, "the rest stays in Kafka: {told:?}");
    // Not what was measured before the others came.
    flow.write(0, "blocked", 1);
    flow.wait(8_001, "8k", (0, "8k")).await;

    flow.api.refuse_none();
    flow.stand.shows("it will soon be drained", |status| status.drained_in.as_deref() == Some("<1m")).await;
    let status = flow.stand.lag_is("0").await;
    assert_eq!((status.worst_partition, status.oldest_waiting, status.drained_in), (None, None, None));
}
