//! Tenancy: which Kafka topics and consumer groups a namespace may have, and which of two namespaces has a topic that both may. Alone in its
//! process, because its operator has a configuration of its own.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use k8s_openapi::{api::apps::v1::Deployment, jiff::Timestamp};
use kube::api::{DeleteParams, ListParams};
use sluice_crds::{Integration, Topic, TopicStatus};
use sluice_kafka::{NewTopic, TopicDescription, TopicPartition};
use sluice_suite::{
    Stage,
    operator::{Launch, Operator},
    until,
    world::{PATIENCE, condition, judge_topic},
};

/// An operator that looks after these namespaces only.
async fn operator(stages: &[&Stage], settings: &str) -> Operator {
    let namespaces: Vec<&str> = stages.iter().map(|stage| stage.namespace.as_str()).collect();
    let arguments = vec!["--namespaces".to_owned(), namespaces.join(",")];
    let launch = stages[0].launch_apart("tenancy").await.unwrap();
    stages[0].start(&Launch { arguments, settings: settings.to_owned(), ..launch }).await.unwrap()
}

async fn topic(stage: &Stage, name: &str, spec: &str) {
    stage.apply_topic(name, spec).await.unwrap();
}

/// Waits until the condition `Ready` of the newest spec begins with `what`.
async fn says(stage: &Stage, name: &str, what: &str) -> TopicStatus {
    let judge = |topic: &Topic| judge_topic(topic, what).map(|(status, _)| status);
    stage.until(name, what, judge).await.unwrap()
}

async fn kafka_topic(stage: &Stage, name: &str) -> Option<TopicDescription> {
    stage.kafka.describe_topics(&[name]).await.unwrap().remove(name).unwrap().unwrap()
}

/// Makes a topic as another tool would, and gives its id.
async fn make_kafka_topic(stage: &Stage, name: &str) -> String {
    let topic = NewTopic { name: name.to_owned(), partitions: Some(1), replicas: None, config: [].into() };
    stage.kafka.create_topics(&[topic]).await.unwrap().remove(name).unwrap().unwrap();
    let shown = format!("Kafka shows {name:?}");
    let look = || async { kafka_topic(stage, name).await.ok_or_else(|| "no topic".to_owned()) };
    until(&shown, PATIENCE, look).await.unwrap().id
}

#[tokio::test]
async fn a_namespace_has_what_begins_with_its_name_and_what_it_is_granted() {
    let (shop, bank) = (Stage::begin("shop").await.unwrap(), Stage::begin("bank").await.unwrap());
    let granted = format!("legacy-{}", shop.namespace);
    let foreign = format!("{}.orders", bank.namespace);
    let own = format!("{}.orders", shop.namespace);
    let mut ids = Vec::new();
    for name in [&granted, &foreign, &own] {
        ids.push(make_kafka_topic(&shop, name).await);
    }
    let tenancy =
        format!("tenancy: {{grants: [{{namespaces: ['shop-*'], topics: ['legacy-*'], groups: ['{granted}']}}]}}");
    let _operator = operator(&[&shop, &bank], &tenancy).await;

    topic(&shop, "orders", "").await;
    topic(&shop, "granted", &format!("topicName: {granted}")).await;
    topic(&shop, "foreign", &format!("topicName: {foreign}, partitions: 3, deletionPolicy: Delete")).await;
    topic(&shop, "new", &format!("topicName: {foreign}.new")).await;
    assert_eq!(says(&shop, "orders", "True InSync").await.topic_id.as_ref(), Some(&ids[2]));
    assert_eq!(says(&shop, "granted", "True InSync").await.topic_id.as_ref(), Some(&ids[0]));
    let refused = says(&shop, "foreign", "False OutsideTenancy").await;
    let message = condition(&refused.conditions, "Stalled");
    let allowed = format!("\"{}.*\", \"legacy-*\"", shop.namespace);
    assert!([&shop.namespace, &foreign, &allowed].iter().all(|part| message.contains(part.as_str())), "{message}");
    says(&shop, "new", "False OutsideTenancy").await;
    assert_eq!(kafka_topic(&shop, &format!("{foreign}.new")).await, None);

    // Who may have it does, although the other one was there first.
    topic(&bank, "orders", "").await;
    assert_eq!(says(&bank, "orders", "True InSync").await.topic_id.as_ref(), Some(&ids[1]));

    // Nor is it taken away.
    shop.api::<Topic>().delete("foreign", &DeleteParams::default()).await.unwrap();
    until("the Topic is gone", PATIENCE, || async {
        let left = shop.api::<Topic>().get_opt("foreign").await.unwrap();
        left.map_or(Ok(()), |topic| Err(format!("{:?}", topic.status)))
    })
    .await
    .unwrap();
    let found = kafka_topic(&shop, &foreign).await.unwrap();
    assert_eq!((&found.id, found.partitions.len()), (&ids[1], 1));
}

/// Waits until what is made now is younger than the Topic: the API server notes seconds.
async fn grows_older(stage: &Stage, name: &str) {
    let created = stage.api::<Topic>().get(name).await.unwrap().metadata.creation_timestamp.unwrap().0.as_second();
    until("a second has passed", PATIENCE, || async move {
        let now = Timestamp::now().as_second();
        if now > created { Ok(()) } else { Err(format!("it is {now}")) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn of_two_namespaces_that_claim_one_kafka_topic_the_oldest_has_it_after_a_restart_too() {
    // The younger claims come from the namespace whose name is first: that would decide between Topics of one age.
    let (older, younger) = (Stage::begin("z-older").await.unwrap(), Stage::begin("a-younger").await.unwrap());
    let claim = async |stage: &Stage, name: &str, partitions: usize| {
        let topic_name = format!("{}.{name}", older.namespace);
        topic(stage, name, &format!("topicName: {topic_name}, partitions: {partitions}")).await;
        grows_older(stage, name).await;
    };
    let decided = async |name: &str| {
        let has_it = says(&older, name, "True InSync").await;
        let lost = says(&younger, name, "False Conflict").await;
        let message = condition(&lost.conditions, "Stalled");
        assert!(message.contains(&format!("belongs to Topic {}/{name}", older.namespace)), "{message}");
        assert_eq!((has_it.partitions, lost.topic_id), (Some(2), None));
        has_it.topic_id
    };
    let first = operator(&[&older, &younger], "").await;
    claim(&older, "orders", 2).await;
    claim(&younger, "orders", 3).await;
    let id = decided("orders").await;
    drop(first);

    // Of these no operator has seen which one came first.
    claim(&older, "refunds", 2).await;
    claim(&younger, "refunds", 3).await;
    let second = operator(&[&older, &younger], "").await;
    decided("refunds").await;
    for stage in [&younger, &older] {
        second.looks_again::<Topic>(stage, "orders").await.unwrap();
    }
    assert_eq!(decided("orders").await, id);
    let found = kafka_topic(&older, &format!("{}.orders", older.namespace)).await.unwrap();
    assert_eq!((Some(found.id), found.partitions.len()), (id, 2));
}

#[tokio::test]
async fn an_integration_reads_only_what_its_namespace_may_name() {
    let shop = Stage::begin("reader").await.unwrap();
    let tenancy = "tenancy: {grants: [{namespaces: ['*'], topics: ['audit.*'], groups: ['audit-*']}]}";
    let _operator = operator(&[&shop], tenancy).await;
    let cases = [
        ("foreign-topic", "kafka: {topics: [audit.a, bank.orders]}", "spec.source.kafka.topics[1]"),
        ("foreign-group", "kafka: {topics: [audit.a]}, group: bank.reader", "spec.source.group"),
    ];
    let integration = async |name: &str, source: &str| {
        let yaml = format!(
            "{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {{name: {name}}}, \
             spec: {{source: {{{source}}}, sink: {{http: {{url: 'http://api.example/'}}}}}}}}"
        );
        shop.apply::<Integration>(&yaml).await.unwrap();
    };
    for (name, source, field) in cases {
        integration(name, source).await;
        let judge = |integration: &Integration| {
            let stalled = condition(&integration.status.clone().unwrap_or_default().conditions, "Stalled");
            if stalled.starts_with(&format!("True OutsideTenancy: {field}: ")) { Ok(()) } else { Err(stalled) }
        };
        shop.until(name, "it is refused", judge).await.unwrap();
    }
    integration("allowed", "kafka: {topics: [audit.a]}, group: audit-reader").await;
    shop.until("allowed-worker", "it is made", |_: &Deployment| Ok(())).await.unwrap();
    let workers = shop.api::<Deployment>().list(&ListParams::default()).await.unwrap();
    assert_eq!(workers.items.len(), 1, "{workers:?}");
}

#[tokio::test]
async fn what_was_made_before_there_was_tenancy_is_neither_changed_nor_deleted() {
    let shop = Stage::begin("before").await.unwrap();
    let foreign = format!("elsewhere.{}", shop.namespace);
    let first = operator(&[&shop], "").await;
    topic(&shop, "orders", &format!("topicName: {foreign}, deletionPolicy: Delete")).await;
    let id = says(&shop, "orders", "True InSync").await.topic_id;
    drop(first);

    let _second = operator(&[&shop], "tenancy: {}").await;
    topic(&shop, "orders", &format!("topicName: {foreign}, deletionPolicy: Delete, partitions: 3")).await;
    assert_eq!(says(&shop, "orders", "False OutsideTenancy").await.topic_id, id);
    shop.api::<Topic>().delete("orders", &DeleteParams::default()).await.unwrap();
    let held = |topic: &Topic| judge_topic(topic, "False OutsideTenancy").map(drop);
    shop.until("orders", "it is not let go", held).await.unwrap();
    let found = kafka_topic(&shop, &foreign).await.unwrap();
    assert_eq!((Some(found.id), found.partitions.len()), (id, 1));

    // Whoever wants it gone says that the Kafka topic stays.
    topic(&shop, "orders", &format!("topicName: {foreign}, deletionPolicy: Retain, partitions: 3")).await;
    until("the Topic is gone", PATIENCE, || async {
        let left = shop.api::<Topic>().get_opt("orders").await.unwrap();
        left.map_or(Ok(()), |topic| Err(format!("{:?}", topic.status)))
    })
    .await
    .unwrap();
    assert!(kafka_topic(&shop, &foreign).await.is_some());
}

#[tokio::test]
async fn a_group_is_not_deleted_that_its_namespace_may_not_name_any_more() {
    let shop = Stage::begin("group").await.unwrap();
    let (topic, group) = (format!("{}.orders", shop.namespace), format!("elsewhere.{}", shop.namespace));
    make_kafka_topic(&shop, &topic).await;
    let offsets = [(TopicPartition { topic: topic.clone(), partition: 0 }, 0)].into();
    until("an offset is committed", PATIENCE, || async {
        let answers = shop.kafka.commit_group_offsets(&group, &offsets).await.map_err(|error| error.to_string())?;
        if answers.values().all(Result::is_ok) { Ok(()) } else { Err(format!("{answers:?}")) }
    })
    .await
    .unwrap();
    let integration = async |policy: &str| {
        let source = format!("{{kafka: {{topics: [{topic}]}}, group: {group}}}");
        let spec =
            format!("{{source: {source}, sink: {{http: {{url: 'http://api.example/'}}}}, deletionPolicy: {policy}}}");
        let metadata = "{name: to-api}";
        let yaml =
            format!("{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {metadata}, spec: {spec}}}");
        shop.apply::<Integration>(&yaml).await.unwrap();
    };
    let first = operator(&[&shop], "").await;
    integration("Delete").await;
    let recorded = |integration: &Integration| {
        let found = integration.status.clone().unwrap_or_default().consumer_group.unwrap_or_default();
        if found.name == group { Ok(()) } else { Err(format!("{found:?}")) }
    };
    shop.until("to-api", "its group is recorded", recorded).await.unwrap();
    drop(first);

    // The group was recorded while the namespace might name it.
    shop.api::<Integration>().delete("to-api", &DeleteParams::default()).await.unwrap();
    let _second = operator(&[&shop], "tenancy: {}").await;
    let held = |integration: &Integration| {
        let stalled = condition(&integration.status.clone().unwrap_or_default().conditions, "Stalled");
        let is_refused = stalled.starts_with("True OutsideTenancy: status.consumerGroup.name: ");
        if is_refused && stalled.contains(&group) { Ok(()) } else { Err(stalled) }
    };
    shop.until("to-api", "it is not let go", held).await.unwrap();
    let has_offsets = async || !shop.kafka.group_offsets(&group).await.unwrap().is_empty();
    assert!(has_offsets().await);

    // Whoever wants it gone says that the group stays.
    integration("Retain").await;
    until("the Integration is gone", PATIENCE, || async {
        let left = shop.api::<Integration>().get_opt("to-api").await.unwrap();
        left.map_or(Ok(()), |integration| Err(format!("{:?}", integration.status)))
    })
    .await
    .unwrap();
    assert!(has_offsets().await);
}
