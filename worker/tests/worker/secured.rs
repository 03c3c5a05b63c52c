//! A broker that asks who a worker is and what it may do: the least rights with which it works, and credentials that are rotated.

use std::{fs, path::PathBuf};

use rcgen::CertificateParams;
use sluice_cluster::{Acl, Operation, Resource, SecuredKafka, testing};
use sluice_crds::{
    KafkaConnection, SaslMechanism, SecurityProtocol,
    metrics::process::CERTIFICATE_EXPIRY,
    wire::{self, KafkaSinkConfig, SinkConfig, SourceConfig, StepConfig, WorkerConfig, WorkerStatus},
};
use sluice_kafka::OutgoingRecord;

use crate::{
    api::Api,
    exactly_once::exactly_once,
    into_kafka::into,
    kafka::Place,
    mounted::Mounted,
    running::{Worker, config, numbered},
};

/// Who may do what he is allowed.
pub(crate) const USER: &str = "alice";

pub(crate) async fn secured() -> SecuredKafka {
    tokio::task::spawn_blocking(testing::shared_secured_kafka).await.unwrap()
}

fn login(kafka: &SecuredKafka, credentials: PathBuf) -> KafkaConnection {
    KafkaConnection {
        bootstrap_servers: vec![kafka.login_bootstrap()],
        security_protocol: SecurityProtocol::SaslSsl,
        sasl_mechanism: Some(SaslMechanism::ScramSha512),
        credentials: Some(credentials),
        ca: Some(kafka.authority()),
    }
}

/// The connection of who may do everything.
pub(crate) fn administrator(kafka: &SecuredKafka) -> KafkaConnection {
    login(kafka, kafka.credentials("admin").unwrap())
}

/// A place that the administrator looks after.
async fn place(kafka: &SecuredKafka, purpose: &str) -> Place {
    Place::at(administrator(kafka), purpose, 2).await
}

/// The same work, done by who logs in with these credentials.
pub(crate) fn worker_of(kafka: &SecuredKafka, credentials: PathBuf, mut config: WorkerConfig) -> WorkerConfig {
    let login = login(kafka, credentials);
    let SourceConfig::Kafka { connection, .. } = &mut config.source;
    connection.clone_from(&login);
    if let SinkConfig::Kafka(KafkaSinkConfig { connection, .. }) = &mut config.sink {
        *connection = login;
    }
    config
}

/// Gives the user rights.
pub(crate) fn allow(kafka: &SecuredKafka, rights: &[(Operation, Resource<'_>)]) {
    for (operation, resource) in rights {
        kafka.allow(USER, Acl { operation: *operation, resource: *resource }).unwrap();
    }
}

/// One that is a dead letter at once.
fn malformed(place: &Place) -> OutgoingRecord {
    OutgoingRecord { key: Some("x".into()), ..OutgoingRecord::new(place.topic.as_str(), "no json") }
}

#[tokio::test]
async fn a_worker_says_what_it_may_not_and_works_with_the_least_rights() {
    let kafka = secured().await;
    let (place, api) = (place(&kafka, "rights").await, Api::willing().await);
    let config = worker_of(&kafka, kafka.credentials(USER).unwrap(), config(&place, &api.url));
    place.write(numbered(0..20)).await;
    place.write_records([malformed(&place)]).await;
    let worker = Worker::start(&config);
    let says = async |words: &'static str| {
        let told = |trouble: &String| trouble.contains(words);
        worker.until_status(words, |status| status.trouble.as_ref().is_some_and(told)).await
    };
    says("may not read topic").await;
    allow(&kafka, &[(Operation::Read, Resource::Topics(&place.topic))]);
    says("Group authorization failed").await;
    allow(&kafka, &[(Operation::Read, Resource::Groups(&place.group))]);
    says("dead letters cannot be written").await;
    allow(&kafka, &[(Operation::Write, Resource::Topics(&place.dead_letters))]);
    assert_eq!(place.dead_letters(1).await[0].value.as_deref(), Some(&b"no json"[..]));
    place.until_no_lag().await;
    assert_eq!(api.numbers(), (0..20).map(|n| (n, 1)).collect());
    worker.until_status("all is well", |status| status.trouble.is_none()).await;

    // The broker's authority is valid for as long as rcgen has it by default.
    let expires = CertificateParams::default().not_after.unix_timestamp();
    let sample = format!("{}{{file=\"{}\"}} {expires}", CERTIFICATE_EXPIRY.name, kafka.authority().display());
    let metrics = worker.get("/metrics").await.1;
    assert!(metrics.lines().any(|line| line == sample), "{sample} is missing: {metrics}");
}

#[tokio::test]
async fn records_are_written_exactly_once_with_the_least_rights() {
    let kafka = secured().await;
    let place = place(&kafka, "once-rights").await;
    let target = place.another("entries", 1, &[]).await;
    let mut config = worker_of(&kafka, kafka.credentials(USER).unwrap(), exactly_once(&place, &target));
    config.steps = vec![StepConfig { name: "numbers".into(), operation: wire::Operation::Filter("exists(.n)".into()) }];
    let id = "shop.payments-to-ledger.with-rights";
    allow(
        &kafka,
        &[
            (Operation::Read, Resource::Topics(&place.topic)),
            (Operation::Read, Resource::Groups(&place.group)),
            (Operation::Write, Resource::Topics(&place.dead_letters)),
            (Operation::Write, Resource::Topics(&target)),
            (Operation::Write, Resource::TransactionalIds(id)),
        ],
    );
    place.write(numbered(0..20)).await;
    place.write_records([malformed(&place)]).await;
    let _worker = Worker::start_as("with-rights", &config);
    assert_eq!(place.read(&target, 20).await.len(), 20);
    assert_eq!(place.dead_letters(1).await.len(), 1);
    place.until_no_lag().await;
}

#[tokio::test]
async fn rotated_credentials_are_used_without_a_restart_and_nothing_comes_twice() {
    let kafka = secured().await;
    let (place, api, mounted) = (place(&kafka, "rotated").await, Api::willing().await, Mounted::new());
    mount(&kafka, &mounted, USER);
    let credentials = mounted.file("kafka", "username").parent().unwrap().to_owned();
    let config = worker_of(&kafka, credentials, config(&place, &api.url));
    // The dead letter has to wait for somebody who may write it.
    allow(
        &kafka,
        &[(Operation::Read, Resource::Topics(&place.topic)), (Operation::Read, Resource::Groups(&place.group))],
    );
    place.write_records([malformed(&place)]).await;
    place.write(numbered(0..50)).await;
    let worker = Worker::start(&config);
    api.until_numbers(50).await;
    worker.until_status("the dead letter waits", |status| status.trouble.is_some()).await;

    mounted.write("kafka", &[("username", USER), ("password", "none")]);
    let says_so = |told: &str| told.contains("have changed and cannot be used, so the former ones are");
    let of_no_use = |status: &WorkerStatus| status.trouble.as_deref().is_some_and(says_so);
    worker.until_status("the new credentials are of no use", of_no_use).await;
    place.write(numbered(50..60)).await;
    api.until_numbers(60).await;

    mount(&kafka, &mounted, "admin");
    let left = async || worker.logged("leaving the group to join it with the new ones");
    crate::until("the consumer is made anew", left, |left| *left).await;
    assert_eq!(place.dead_letters(1).await.len(), 1);
    place.write(numbered(60..100)).await;
    place.until_no_lag().await;
    assert_eq!(api.numbers(), (0..100).map(|n| (n, 1)).collect());
    worker.until_status("all is well", |status| status.trouble.is_none()).await;
}

#[tokio::test]
async fn a_worker_says_which_credentials_are_missing_and_works_once_they_are_there() {
    let kafka = secured().await;
    let (place, api, mounted) = (place(&kafka, "missing").await, Api::willing().await, Mounted::new());
    mounted.write("kafka", &[("username", "admin")]);
    let credentials = mounted.file("kafka", "username").parent().unwrap().to_owned();
    place.write(numbered(0..20)).await;
    let worker = Worker::start(&worker_of(&kafka, credentials, config(&place, &api.url)));
    let named = |trouble: &String| trouble.contains("the SASL password");
    let is_told = |status: &WorkerStatus| status.secrets_trouble.as_ref().is_some_and(named);
    worker.until_status("what is missing is told", is_told).await;
    mount(&kafka, &mounted, "admin");
    api.until_numbers(20).await;
    worker.until_status("all is well", |status| status.secrets_trouble.is_none() && status.trouble.is_none()).await;
}

#[tokio::test]
async fn a_kafka_sink_goes_on_with_rotated_credentials() {
    let kafka = secured().await;
    let (place, mounted) = (place(&kafka, "rotated-sink").await, Mounted::new());
    let target = place.another("entries", 1, &[]).await;
    mount(&kafka, &mounted, USER);
    let credentials = mounted.file("kafka", "username").parent().unwrap().to_owned();
    allow(
        &kafka,
        &[(Operation::Read, Resource::Topics(&place.topic)), (Operation::Read, Resource::Groups(&place.group))],
    );
    place.write(numbered(0..20)).await;
    let worker = Worker::start(&worker_of(&kafka, credentials, into(&place, &target).1));
    worker.until_status("the sink refuses it", |status| status.trouble.is_some()).await;
    mount(&kafka, &mounted, "admin");
    assert_eq!(place.read(&target, 20).await.len(), 20);
    place.until_no_lag().await;
}

/// Has the worker's Secret hold what this user logs in with.
fn mount(kafka: &SecuredKafka, mounted: &Mounted, user: &str) {
    let folder = kafka.credentials(user).unwrap();
    let [username, password] = ["username", "password"].map(|key| fs::read_to_string(folder.join(key)).unwrap());
    mounted.write("kafka", &[("username", username.as_str()), ("password", password.as_str())]);
}
