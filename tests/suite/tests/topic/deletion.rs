//! What becomes of a Kafka topic whose Topic is deleted.

use futures::future::join_all;
use serde_json::json;
use sluice_crds::{Integration, TOPIC_FINALIZER, Topic};
use sluice_suite::world::condition;

use crate::{stage::Stage, usage::used_by};

const DELETE: &str = "deletionPolicy: Delete";

async fn finalizers(stage: &Stage, name: &str) -> Vec<String> {
    stage.api::<Topic>().get(name).await.unwrap().metadata.finalizers.unwrap_or_default()
}

#[tokio::test]
async fn a_kafka_topic_outlives_its_resource_which_has_no_finalizer() {
    let stage = Stage::begin("retained").await;
    stage.topic("orders", "").await;
    let id = stage.says("orders", "True InSync").await.topic_id.unwrap();
    assert_eq!(finalizers(&stage, "orders").await, Vec::<String>::new());
    stage.delete::<Topic>("orders").await;
    stage.gone("orders").await;
    assert_eq!(stage.kafka_topic(&stage.kafka_name("orders")).await.unwrap().id, id);

    // A new Topic of that name has it again.
    stage.topic("orders", "").await;
    assert_eq!(stage.says("orders", "True InSync").await.topic_id, Some(id));
}

#[tokio::test]
async fn a_kafka_topic_goes_with_its_resource_where_that_is_asked_for() {
    let stage = Stage::begin("deleted-too").await;
    stage.topic("orders", DELETE).await;
    stage.says("orders", "True InSync").await;
    assert_eq!(finalizers(&stage, "orders").await, [TOPIC_FINALIZER]);
    stage.delete::<Topic>("orders").await;
    stage.gone("orders").await;
    stage.kafka_shows(&stage.kafka_name("orders"), false).await;
}

#[tokio::test]
async fn a_topic_that_others_write_all_the_time_goes_too() {
    const WRITERS: usize = 4;
    let stage = Stage::begin("written-meanwhile").await;
    stage.topic("orders", DELETE).await;
    stage.says("orders", "True InSync").await;
    let write = || async {
        for _ in 0.. {
            // The API server may refuse one of so many at a time.
            drop(stage.touch::<Topic>("orders").await);
        }
    };
    let delete = async {
        stage.delete::<Topic>("orders").await;
        stage.gone("orders").await;
    };
    tokio::select! {
        () = delete => {}
        _ = join_all((0..WRITERS).map(|_| write())) => {}
    }
    stage.kafka_shows(&stage.kafka_name("orders"), false).await;
}

#[tokio::test]
async fn a_topic_that_is_deleted_while_it_is_made_leaves_nothing_in_kafka() {
    const TOPICS: usize = 40;
    let stage = Stage::begin("while-made").await;
    let names: Vec<String> = (0..TOPICS).map(|number| format!("brief-{number}")).collect();
    // By its first write it holds on. One that is deleted while that write is under way does not always, whatever it says: the API server
    // decides before it.
    let brief = |name: &String| {
        let (stage, name) = (&stage, name.clone());
        async move {
            let name = name.as_str();
            stage.topic(name, DELETE).await;
            let holds_on = |topic: &Topic| match topic.metadata.finalizers.as_deref() {
                Some([_, ..]) => Ok(()),
                other => Err(format!("{other:?}")),
            };
            stage.until(name, "it holds on", holds_on).await.unwrap();
            stage.delete::<Topic>(name).await;
            stage.gone(name).await;
        }
    };
    join_all(names.iter().map(brief)).await;
    for name in names {
        stage.kafka_shows(&stage.kafka_name(&name), false).await;
    }
}

#[tokio::test]
async fn the_finalizer_follows_the_policy() {
    let stage = Stage::begin("switched").await;
    stage.topic("orders", DELETE).await;
    stage.says("orders", "True InSync").await;
    stage.topic("orders", "deletionPolicy: Retain").await;
    stage.says("orders", "True InSync").await;
    assert_eq!(finalizers(&stage, "orders").await, Vec::<String>::new());
    stage.topic("orders", "deletionPolicy: Delete, managementPolicy: Observe").await;
    stage.says("orders", "True InSync").await;
    assert_eq!(finalizers(&stage, "orders").await, Vec::<String>::new(), "nothing is deleted under Observe");
}

#[tokio::test]
async fn a_topic_that_is_used_is_not_deleted_until_its_user_is_gone() {
    let stage = Stage::begin("in-use").await;
    stage.topic("orders", DELETE).await;
    stage.says("orders", "True InSync").await;
    stage.reader("to-api", "orders", "").await;
    stage.delete::<Topic>("orders").await;
    let waiting = stage.says("orders", "False InUse").await;
    let user = format!("Integration/{}/to-api", stage.namespace);
    assert!(condition(&waiting.conditions, "Stalled").contains(&user), "{waiting:?}");
    let kafka_name = stage.kafka_name("orders");
    assert!(stage.kafka_topic(&kafka_name).await.is_some());

    stage.delete::<Integration>("to-api").await;
    stage.gone("orders").await;
    stage.kafka_shows(&kafka_name, false).await;
}

#[tokio::test]
async fn a_topic_that_is_written_to_by_its_kafka_name_is_neither_deleted_nor_grown_under_its_writer() {
    let stage = Stage::begin("written-by-name").await;
    let kafka_name = stage.kafka_name("orders");
    stage.topic("raw", "").await;
    stage.topic("orders", &format!("partitions: 1, {DELETE}")).await;
    stage.says("orders", "True InSync").await;
    stage.writer("copy", "raw", &kafka_name).await;
    used_by(&stage, "orders", &["Integration/copy"]).await;
    let user = format!("Integration/{}/copy", stage.namespace);
    stage.topic("orders", &format!("partitions: 2, {DELETE}")).await;
    let (_, withheld) = stage.withheld("orders").await;
    assert!(withheld.contains(&user), "{withheld}");

    stage.delete::<Topic>("orders").await;
    let waiting = stage.says("orders", "False InUse").await;
    assert!(condition(&waiting.conditions, "Stalled").contains(&user), "{waiting:?}");
    assert_eq!(stage.kafka_topic(&kafka_name).await.unwrap().partitions.len(), 1);
    stage.delete::<Integration>("copy").await;
    stage.gone("orders").await;
    stage.kafka_shows(&kafka_name, false).await;
}

#[tokio::test]
async fn a_topic_that_workers_go_on_to_read_is_not_deleted_although_the_spec_names_another_one() {
    let stage = Stage::begin("held-back").await;
    let kafka_name = stage.kafka_name("orders");
    stage.topic("orders", DELETE).await;
    stage.topic("others", "").await;
    stage.says("orders", "True InSync").await;
    stage.says("others", "True InSync").await;
    stage.reader("to-api", "orders", "").await;
    let is_noted = |integration: &Integration| {
        let last_good = integration.status.clone().unwrap_or_default().last_good;
        let uses = last_good.map(|known| known.uses).unwrap_or_default();
        let reads = |name: &str| uses.iter().any(|used| used.topic.as_ref().is_some_and(|topic| topic.name == name));
        if reads("orders") { Ok(()) } else { Err(format!("{uses:?}")) }
    };
    stage.until("to-api", "it is noted what it uses", is_noted).await.unwrap();
    stage.reader("to-api", "others", "steps: [{name: broken, map: '.a = upcase('}]").await;
    let is_held = |integration: &Integration| {
        let status = integration.status.clone().unwrap_or_default();
        let ready = condition(&status.conditions, "Ready");
        let is_current = status.observed_generation == integration.metadata.generation;
        if is_current && ready.starts_with("False Invalid") { Ok(()) } else { Err(ready) }
    };
    stage.until("to-api", "its spec is held back", is_held).await.unwrap();

    stage.delete::<Topic>("orders").await;
    let waiting = stage.says("orders", "False InUse").await;
    let user = format!("Integration/{}/to-api", stage.namespace);
    assert!(condition(&waiting.conditions, "Stalled").contains(&user), "{waiting:?}");
    assert!(stage.kafka_topic(&kafka_name).await.is_some());

    // Once the new spec is carried out, nobody reads it any more.
    stage.reader("to-api", "others", "").await;
    stage.gone("orders").await;
    stage.kafka_shows(&kafka_name, false).await;
}

#[tokio::test]
async fn a_topic_is_not_deleted_while_a_cluster_on_which_its_name_is_used_does_not_tell_which_one_it_is() {
    let stage = Stage::begin("untold").await;
    let kafka_name = stage.kafka_name("orders");
    stage.topic("orders", DELETE).await;
    stage.says("orders", "True InSync").await;
    let source = format!("{{kafka: {{cluster: away, topics: ['{kafka_name}']}}}}");
    let spec = format!("{{source: {source}, sink: {{http: {{url: 'http://api.example/'}}}}}}");
    let metadata = "{name: to-api}";
    let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {metadata}, spec: {spec}}}");
    stage.apply::<Integration>(&yaml).await.unwrap();
    stage.look_again::<Topic>("orders").await.unwrap();
    stage.says("orders", "True InSync").await;

    stage.delete::<Topic>("orders").await;
    let waiting = stage.says("orders", "False KafkaUnreachable").await;
    let why = condition(&waiting.conditions, "Ready");
    assert!(why.contains("another name of its Kafka cluster") && why.contains("\"away\""), "{why}");
    assert!(stage.kafka_topic(&kafka_name).await.is_some());
    stage.delete::<Integration>("to-api").await;
    stage.gone("orders").await;
    stage.kafka_shows(&kafka_name, false).await;
}

#[tokio::test]
async fn a_topic_that_is_used_is_let_go_once_it_shall_be_retained() {
    let stage = Stage::begin("changed-mind").await;
    stage.topic("orders", DELETE).await;
    stage.says("orders", "True InSync").await;
    stage.reader("to-api", "orders", "").await;
    stage.delete::<Topic>("orders").await;
    stage.says("orders", "False InUse").await;
    stage.patch("orders", json!({"spec": {"deletionPolicy": "Retain"}})).await;
    stage.gone("orders").await;
    assert!(stage.kafka_topic(&stage.kafka_name("orders")).await.is_some());
}

#[tokio::test]
async fn a_topic_that_somebody_else_made_in_its_place_is_not_deleted() {
    let stage = Stage::begin("another").await;
    stage.topic("orders", DELETE).await;
    stage.says("orders", "True InSync").await;
    let kafka_name = stage.kafka_name("orders");
    stage.delete_kafka_topic(&kafka_name).await;
    let another = stage.make_kafka_topic(&kafka_name).await;
    stage.delete::<Topic>("orders").await;
    stage.gone("orders").await;
    assert_eq!(stage.kafka_topic(&kafka_name).await.unwrap().id, another);
}

#[tokio::test]
async fn a_topic_without_a_recorded_id_is_not_deleted() {
    let stage = Stage::begin("restored").await;
    stage.topic("orders", DELETE).await;
    stage.says("orders", "True InSync").await;
    // As after a restore from a backup, which leaves the status behind.
    stage.patch_status("orders", json!({"topicId": null})).await;
    stage.delete::<Topic>("orders").await;
    stage.gone("orders").await;
    assert!(stage.kafka_topic(&stage.kafka_name("orders")).await.is_some());
}

#[tokio::test]
async fn a_namespace_does_not_wait_for_a_kafka_that_stays_away() {
    let stage = Stage::begin("wedged").await;
    stage.topic("orders", "cluster: away, deletionPolicy: Delete").await;
    let held = |topic: &Topic| match &topic.metadata.finalizers {
        Some(finalizers) if !finalizers.is_empty() => Ok(()),
        none => Err(format!("{none:?}")),
    };
    stage.until("orders", "it has its finalizer", held).await.unwrap();
    stage.patch_status("orders", json!({"topicId": "qjbtiPqUQyuK2ad2l3vDNA"})).await;

    stage.delete_namespace().await;
    stage.logged(&["Topic let go", &stage.namespace]).await;
    let metrics = stage.metrics().await;
    assert!(metrics.contains(r#"sluice_operator_topics_released_total{reason="GivenUp"} 1"#), "{metrics}");
    // It is told after the Topic was let go.
    let (reason, concerns, note) = stage.told_at_namespace().await;
    assert_eq!((reason.as_str(), concerns.as_str()), ("LeftInKafka", "Topic/orders"));
    assert!(note.starts_with("Topic \"orders\" was let go and its Kafka topic"), "{note}");
}
