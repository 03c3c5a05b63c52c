//! What Kafka does not let Sluice do, each with its own reason: rights that are missing, and a cluster that deletes no topics.
//! Each test has an operator of its own, because its Kafka cluster is another one.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use kube::api::DeleteParams;
use rcgen::CertificateParams;
use sluice_cluster::{Acl, Component, Operation, Part, Resource, SecuredKafka, testing, testing::OwnCluster};
use sluice_crds::{
    Integration, Topic,
    metrics::{operator::KAFKA_REQUESTS, process::CERTIFICATE_EXPIRY},
};
use sluice_suite::{
    Stage,
    operator::{Launch, Operator},
    until,
    world::{PATIENCE, condition, judge_topic},
};
use tokio::task;

/// The one who may do what he is allowed.
const USER: &str = "alice";

async fn apply(stage: &Stage, spec: &str) {
    stage.apply_topic("orders", spec).await.unwrap();
}

/// Waits until the condition `Ready` of the newest spec begins with `what`, and gives it.
async fn says(stage: &Stage, operator: &Operator, what: &str) -> String {
    let judge = |topic: &Topic| judge_topic(topic, what).map(|(_, ready)| ready);
    let said = stage.until("orders", what, judge).await;
    said.unwrap_or_else(|error| panic!("{error:#}\n{}", operator.log()))
}

/// Waits until the Topic says that this right is missing, then gives it.
async fn lacks(stage: &Stage, operator: &Operator, kafka: &SecuredKafka, operation: Operation) {
    let topic = format!("{}.orders", stage.namespace);
    let ready = stalled(stage, operator, &format!("--operation {operation:?} --topic {topic}")).await;
    assert!(ready.starts_with("False NotAuthorized"), "{ready}");
    let (kafka, resource) = (kafka.clone(), topic);
    let allow = move || kafka.allow(USER, Acl { operation, resource: Resource::Topics(&resource) }).unwrap();
    task::spawn_blocking(allow).await.unwrap();
}

/// Waits until the Topic waits for a person and says that; a pass is made meanwhile, so that nothing waits for a backoff.
async fn stalled(stage: &Stage, operator: &Operator, words: &str) -> String {
    let look = || async {
        let topic: Topic = stage.touch("orders").await.map_err(|error| error.to_string())?;
        let status = topic.status.clone().unwrap_or_default();
        let ready = condition(&status.conditions, "Ready");
        let is_stalled = condition(&status.conditions, "Stalled") != "none";
        if is_stalled && ready.contains(words) { Ok(ready) } else { Err(ready) }
    };
    let said = until(words, PATIENCE, look).await;
    said.unwrap_or_else(|error| panic!("{error:#}\n{}", operator.log()))
}

/// An operator that is that user on the secured broker.
async fn operator(stage: &Stage, kafka: &SecuredKafka) -> Operator {
    let launch = stage.launch_apart("rights").await.unwrap();
    let clusters = format!(
        "{}, secured: {{bootstrapServers: ['{}'], securityProtocol: SASL_SSL, saslMechanism: SCRAM-SHA-512, credentials: '{}', ca: \
         '{}'}}",
        launch.clusters,
        kafka.login_bootstrap(),
        kafka.credentials(USER).unwrap().display(),
        kafka.authority().display()
    );
    stage.start(&Launch { clusters, ..launch }).await.unwrap()
}

#[tokio::test]
async fn each_right_that_is_missing_is_named_until_it_is_given() {
    let stage = Stage::begin("rights").await.unwrap();
    let kafka = task::spawn_blocking(testing::shared_secured_kafka).await.unwrap();
    let operator = operator(&stage, &kafka).await;
    let spec = |rest: &str| format!("cluster: secured, deletionPolicy: Delete{rest}");

    // Without a setting in the spec those of the topic are not looked at.
    let config = ", config: {retention.ms: '3600000'}";
    apply(&stage, &spec(config)).await;
    for operation in [Operation::Describe, Operation::Create, Operation::DescribeConfigs] {
        lacks(&stage, &operator, &kafka, operation).await;
    }
    ready(&stage, &operator, 1).await;
    apply(&stage, &spec(&format!(", partitions: 2{config}"))).await;
    lacks(&stage, &operator, &kafka, Operation::Alter).await;
    ready(&stage, &operator, 2).await;
    apply(&stage, &spec(", partitions: 2, config: {retention.ms: '7200000'}")).await;
    lacks(&stage, &operator, &kafka, Operation::AlterConfigs).await;
    ready(&stage, &operator, 2).await;
    tells_when_the_authority_expires(&operator, &kafka).await;

    stage.api::<Topic>().delete("orders", &DeleteParams::default()).await.unwrap();
    lacks(&stage, &operator, &kafka, Operation::Delete).await;
    gone(&stage, &operator).await;
}

#[tokio::test]
async fn a_new_topic_is_made_before_anybody_looks_for_it() {
    let stage = Stage::begin("unseen").await.unwrap();
    let kafka = task::spawn_blocking(testing::shared_secured_kafka).await.unwrap();
    let operator = operator(&stage, &kafka).await;
    apply(&stage, "cluster: secured").await;
    lacks(&stage, &operator, &kafka, Operation::Describe).await;
    let asked =
        operator.metric(&format!("{}{{cluster=\"secured\",request=\"create topics\"", KAFKA_REQUESTS.name)).await;
    assert!(asked.unwrap() >= 1.0, "{}", operator.log());
    lacks(&stage, &operator, &kafka, Operation::Create).await;
    ready(&stage, &operator, 1).await;
}

/// Fails where Prometheus is not told until when the authority of the broker is valid: for as long as rcgen has it by default.
async fn tells_when_the_authority_expires(operator: &Operator, kafka: &SecuredKafka) {
    let expires = CertificateParams::default().not_after.unix_timestamp();
    let sample = format!("{}{{file=\"{}\"}} {expires}", CERTIFICATE_EXPIRY.name, kafka.authority().display());
    let metrics = reqwest::get(format!("http://{}/metrics", operator.status)).await.unwrap().text().await.unwrap();
    assert!(metrics.lines().any(|line| line == sample), "{sample} is missing: {metrics}");
}

/// Waits until the Topic is in sync with that many partitions, and makes passes meanwhile.
async fn ready(stage: &Stage, operator: &Operator, partitions: i32) {
    let look = || async {
        let topic: Topic = stage.touch("orders").await.map_err(|error| error.to_string())?;
        let (status, ready) = judge_topic(&topic, "True InSync")?;
        if status.partitions == Some(partitions) { Ok(()) } else { Err(ready) }
    };
    until("the Topic is in sync", PATIENCE, look).await.unwrap_or_else(|error| panic!("{error:#}\n{}", operator.log()));
}

/// Waits until the Topic does not exist any more, and makes passes meanwhile.
async fn gone(stage: &Stage, operator: &Operator) {
    let look = || async {
        match stage.api::<Topic>().get_opt("orders").await.unwrap() {
            None => Ok(()),
            Some(topic) => {
                // It may go in this very moment.
                let _ = stage.touch::<Topic>("orders").await;
                Err(condition(&topic.status.unwrap_or_default().conditions, "Ready"))
            }
        }
    };
    until("the Topic is gone", PATIENCE, look).await.unwrap_or_else(|error| panic!("{error:#}\n{}", operator.log()));
}

#[tokio::test]
async fn lag_that_may_not_be_read_is_unknown_until_the_right_is_given() {
    let stage = Stage::begin("group-rights").await.unwrap();
    let kafka = task::spawn_blocking(testing::shared_secured_kafka).await.unwrap();
    let operator = operator(&stage, &kafka).await;
    let group = format!("{}.to-api", stage.namespace);
    let allow = async |operation, is_group: bool| {
        let (kafka, namespace, group) = (kafka.clone(), stage.namespace.clone(), group.clone());
        let allow = move || {
            let resource = if is_group { Resource::Groups(&group) } else { Resource::Topics(&namespace) };
            kafka.allow(USER, Acl { operation, resource }).unwrap();
        };
        task::spawn_blocking(allow).await.unwrap();
    };
    allow(Operation::All, false).await;
    apply(&stage, "cluster: secured").await;
    ready(&stage, &operator, 1).await;
    let spec = "{source: {topic: {name: orders}}, sink: {http: {url: 'http://api.example/'}}, replicas: 0, kafkaSecretName: kafka}";
    let metadata = "{name: to-api}";
    let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {metadata}, spec: {spec}}}");
    stage.apply::<Integration>(&yaml).await.unwrap();
    let why = stage.lag_is(&operator, "unknown").await.unwrap();
    assert!(why.starts_with("True NotAuthorized: "), "{why}");
    assert!(why.contains(&format!("--allow-principal User:{USER} --operation Read --group {group}`")), "{why}");
    allow(Operation::Read, true).await;
    assert_eq!(stage.lag_is(&operator, "-").await.unwrap(), "none");
}

#[tokio::test]
async fn a_cluster_that_deletes_no_topics_is_named_and_the_topic_can_be_let_go() {
    let stage = Stage::begin("undeletable").await.unwrap();
    let own = task::spawn_blocking(|| {
        let own = OwnCluster::up("suite-undeletable", &[Part::Kafka]).unwrap();
        let broker = own.component(Component::Kafka);
        broker.stop().unwrap();
        broker.add_settings("delete.topic.enable=false").unwrap();
        broker.start().unwrap();
        own
    });
    let own = own.await.unwrap();
    let launch = stage.launch_apart("undeletable").await.unwrap();
    let launch = Launch { bootstrap: own.kafka_bootstrap(), clusters: String::new(), ..launch };
    let operator = stage.start(&launch).await.unwrap();
    apply(&stage, "deletionPolicy: Delete").await;
    says(&stage, &operator, "True InSync").await;
    stage.api::<Topic>().delete("orders", &DeleteParams::default()).await.unwrap();
    let ready = stalled(&stage, &operator, "delete.topic.enable is false").await;
    assert!(ready.starts_with("False DeletionDisabled"), "{ready}");

    apply(&stage, "deletionPolicy: Retain").await;
    gone(&stage, &operator).await;
    task::spawn_blocking(|| drop(own)).await.unwrap();
}
