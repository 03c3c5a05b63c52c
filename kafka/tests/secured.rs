//! A broker that asks who somebody is and what he may do: every way in, and what is said to those who may not.
#![allow(clippy::unwrap_used, reason = "test code, also outside the functions that clippy knows as tests")]

mod broker;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use broker::{created, described, fresh, plain_topic, until};
use sluice_cluster::{Acl, Operation, Resource, SecuredKafka, testing};
use sluice_crds::{SaslMechanism, SecurityProtocol};
use sluice_kafka::{
    Admin, ConfigChange, Error, ErrorCode, KafkaConnection, KafkaError, OutgoingRecord, PerPartition, PerTopic,
    Producer, ProducerSettings,
    consumer::{BaseConsumer, Consumer, ConsumerSettings, Message, Offset, TopicPartitionList, consumer_config},
};

const PATIENCE: Duration = Duration::from_mins(1);

const MECHANISMS: [SaslMechanism; 3] = [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512];

/// The broker, for tests that are asynchronous otherwise.
async fn secured() -> SecuredKafka {
    tokio::task::spawn_blocking(testing::shared_secured_kafka).await.unwrap()
}

fn login(kafka: &SecuredKafka, mechanism: SaslMechanism, credentials: PathBuf) -> KafkaConnection {
    KafkaConnection {
        bootstrap_servers: vec![kafka.login_bootstrap()],
        security_protocol: SecurityProtocol::SaslSsl,
        sasl_mechanism: Some(mechanism),
        credentials: Some(credentials),
        ca: Some(kafka.authority()),
    }
}

fn certificate(kafka: &SecuredKafka, credentials: Option<PathBuf>) -> KafkaConnection {
    KafkaConnection {
        bootstrap_servers: vec![kafka.certificate_bootstrap()],
        security_protocol: SecurityProtocol::Ssl,
        credentials,
        ca: Some(kafka.authority()),
        ..KafkaConnection::default()
    }
}

/// Every way in for a user.
fn ways_in(kafka: &SecuredKafka, user: &str) -> Vec<KafkaConnection> {
    let credentials = kafka.credentials(user).unwrap();
    let logins = MECHANISMS.map(|mechanism| login(kafka, mechanism, credentials.clone()));
    logins.into_iter().chain([certificate(kafka, Some(credentials))]).collect()
}

fn admin(connection: &KafkaConnection) -> Admin {
    Admin::connect(connection).unwrap().with_timeout(PATIENCE)
}

fn allow_all(kafka: &SecuredKafka, prefix: &str) {
    for resource in [Resource::Topics(prefix), Resource::Groups(prefix)] {
        kafka.allow("alice", Acl { operation: Operation::All, resource }).unwrap();
    }
}

#[tokio::test]
async fn every_way_in_serves_admin_calls_producer_and_consumer() {
    let kafka = secured().await;
    let prefix = fresh("ways-in");
    allow_all(&kafka, &prefix);
    for (number, connection) in ways_in(&kafka, "alice").into_iter().enumerate() {
        let topic = created_once_allowed(&admin(&connection), format!("{prefix}.{number}")).await;
        let settings = ProducerSettings { patience: PATIENCE, ..ProducerSettings::default() };
        let producer = Producer::connect(&connection, &settings).unwrap();
        producer.send(OutgoingRecord::new(topic.as_str(), "value")).await.unwrap();
        let group = format!("{prefix}.group-{number}");
        let value = tokio::task::spawn_blocking(move || first_value(&connection, &group, &topic)).await.unwrap();
        assert_eq!(value, b"value");
    }
}

fn first_value(connection: &KafkaConnection, group: &str, topic: &str) -> Vec<u8> {
    let consumer: BaseConsumer =
        consumer_config(connection, group, &ConsumerSettings::default()).unwrap().create().unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let record = consumer.poll(PATIENCE).expect("a record in time").unwrap();
    record.payload().unwrap().to_owned()
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_tried_for_ever() {
    let kafka = secured().await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("username"), "alice").unwrap();
    fs::write(folder.path().join("password"), "wrong").unwrap();
    for mechanism in MECHANISMS {
        let error = refused(&login(&kafka, mechanism, folder.path().into())).await;
        assert!(matches!(error, Error::Unauthenticated { .. }) && !error.is_retriable(), "{error:?}");
        says(&error, &["Kafka does not accept the login", "`username` and `password`"]);
    }
}

#[tokio::test]
async fn an_authority_that_did_not_sign_the_broker_is_said() {
    let kafka = secured().await;
    let folder = tempfile::tempdir().unwrap();
    let stranger = rcgen::generate_simple_self_signed(["stranger".to_owned()]).unwrap().cert.pem();
    fs::write(folder.path().join("ca.crt"), stranger).unwrap();
    for connection in ways_in(&kafka, "alice") {
        let connection = KafkaConnection { ca: Some(folder.path().join("ca.crt")), ..connection };
        let error = refused(&connection).await;
        assert!(matches!(error, Error::Unauthenticated { .. }), "{error:?}");
        says(&error, &["TLS with Kafka fails", "`ca`", "certificate verify failed"]);
    }
}

#[tokio::test]
async fn a_client_without_the_certificate_that_is_asked_for_is_told() {
    let kafka = secured().await;
    let error = refused(&certificate(&kafka, None)).await;
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error:?}");
    says(&error, &["TLS with Kafka fails", "`tls.crt` and `tls.key`"]);
}

#[tokio::test]
async fn a_right_that_is_missing_is_each_topics_own_error_with_the_command_that_gives_it() {
    let kafka = secured().await;
    let (allowed, seen, hidden) = (fresh("allowed"), fresh("seen"), fresh("hidden"));
    allow_all(&kafka, &allowed);
    for operation in [Operation::Describe, Operation::DescribeConfigs] {
        kafka.allow("alice", Acl { operation, resource: Resource::Topics(&seen) }).unwrap();
    }
    let superuser = admin(&login(&kafka, SaslMechanism::Plain, kafka.credentials("admin").unwrap()));
    for name in [&seen, &hidden] {
        created(&superuser, new(name)).await;
    }
    let alice = admin(&login(&kafka, SaslMechanism::ScramSha512, kafka.credentials("alice").unwrap()));
    created_once_allowed(&alice, allowed.clone()).await;

    let described = until(
        async || alice.describe_topics(&[&allowed, &seen, &hidden]).await.unwrap(),
        |described| [&allowed, &seen].iter().all(|topic| matches!(described[*topic], Ok(Some(_)))),
    )
    .await;
    lacks(&described, &hidden, "Describe");
    let asked = [(seen.as_str(), vec![]), (hidden.as_str(), vec![])];
    let configs = async || alice.describe_own_configs(&asked).await.unwrap();
    let configs = until(configs, |configs| configs[&seen].is_ok()).await;
    lacks(&configs, &hidden, "DescribeConfigs");

    let (another, forbidden) = (format!("{allowed}.another"), format!("{seen}.forbidden"));
    let made = alice.create_topics(&[new(&another), new(&forbidden)]).await.unwrap();
    assert_eq!(made[&another], Ok(()));
    lacks(&made, &forbidden, "Create");
    let grown = alice.create_partitions(&[(&allowed, 2), (&seen, 2)]).await.unwrap();
    assert_eq!(grown[&allowed], Ok(()));
    lacks(&grown, &seen, "Alter");
    let change = || vec![ConfigChange::Set { key: "retention.ms".into(), value: "1000".into() }];
    let altered = alice.alter_configs_incrementally(&[(&allowed, change()), (&seen, change())]).await.unwrap();
    assert_eq!(altered[&allowed], Ok(()));
    lacks(&altered, &seen, "AlterConfigs");
    let deleted = alice.delete_topics(&[&allowed, &seen]).await.unwrap();
    assert_eq!(deleted[&allowed], Ok(()));
    lacks(&deleted, &seen, "Delete");
}

#[tokio::test]
async fn a_right_that_is_missing_for_a_group_is_said_with_the_command_that_gives_it() {
    let kafka = secured().await;
    let group = fresh("hidden-group");
    let alice = admin(&login(&kafka, SaslMechanism::ScramSha512, kafka.credentials("alice").unwrap()));
    let error = alice.group_offsets(&group).await.unwrap_err();
    let is_refusal =
        matches!(&error, Error::Refused { error, .. } if error.code == ErrorCode::GROUP_AUTHORIZATION_FAILED);
    assert!(is_refusal, "{error:?}");
    says(&error, &[&format!("--allow-principal User:alice --operation Read --group {group}")]);

    let right = Acl { operation: Operation::Read, resource: Resource::Groups(&group) };
    kafka.allow("alice", right).unwrap();
    until(async || alice.group_offsets(&group).await, |offsets| offsets.as_ref().is_ok_and(PerPartition::is_empty))
        .await
        .unwrap();
}

#[tokio::test]
async fn rotated_credentials_are_another_fingerprint_and_a_new_client_uses_them() {
    let kafka = secured().await;
    let folder = tempfile::tempdir().unwrap();
    copy(&kafka.credentials("alice").unwrap(), folder.path());
    fs::write(folder.path().join("password"), "expired").unwrap();
    let connection = login(&kafka, SaslMechanism::ScramSha256, folder.path().into());
    let before = sluice_kafka::credentials_fingerprint(&connection);
    refused(&connection).await;
    copy(&kafka.credentials("alice").unwrap(), folder.path());
    assert_ne!(sluice_kafka::credentials_fingerprint(&connection), before);
    until(async || admin(&connection).describe_cluster().await, Result::is_ok).await.unwrap();
}

fn copy(from: &Path, to: &Path) {
    for file in ["username", "password"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

fn new(name: &str) -> sluice_kafka::NewTopic {
    sluice_kafka::NewTopic { name: name.to_owned(), ..plain_topic("") }
}

/// Makes a topic once the broker knows of the right to.
async fn created_once_allowed(admin: &Admin, topic: String) -> String {
    let create = async || admin.create_topics(&[new(&topic)]).await.unwrap().remove(&topic).unwrap();
    until(create, Result::is_ok).await.unwrap();
    until(async || described(admin, &topic).await, Option::is_some).await;
    topic
}

/// What a short call comes to for somebody who is not let in. Where the broker is slow, it may end before anybody says so.
async fn refused(connection: &KafkaConnection) -> Error {
    let ask = async || {
        let admin = Admin::connect(connection).unwrap().with_timeout(Duration::from_secs(3));
        admin.describe_cluster().await.unwrap_err()
    };
    until(ask, |error| !matches!(error, Error::Unreachable { .. })).await
}

fn says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} should be in: {text}");
}

fn lacks<T: std::fmt::Debug>(answers: &PerTopic<T>, topic: &str, operation: &str) {
    let Err(KafkaError { code, message }) = &answers[topic] else { panic!("{topic} should be refused: {answers:?}") };
    assert_eq!(*code, ErrorCode::TOPIC_AUTHORIZATION_FAILED, "{message}");
    let command = format!("--allow-principal User:alice --operation {operation} --topic {topic}");
    assert!(message.contains(&command), "{message}");
}
