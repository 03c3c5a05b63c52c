//! The operator is killed before and after each of its writes to Kafka, and some of them get lost on their way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::{StreamExt, join, stream};
use sluice_crds::{Topic, TopicStatus};
use sluice_suite::{
    Stage,
    kafka_proxy::{Fate, Write},
    proxy::Deed,
    story::Story,
    until,
    world::{PATIENCE, judge_topic},
};

use crate::run::{AT_ONCE, Death, Run, nothing, numbered, undisturbed};

/// One of the writes that a story takes: of that kind the one with this number, from 1.
type Numbered = (Write, usize);

/// When the operator is killed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// Before the write arrives.
    Before,
    /// After it was carried out, before the operator hears of it.
    After,
}

/// A moment at which the operator is killed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) write: Numbered,
    pub(crate) when: When,
}

/// What stories write to Kafka at least. They may write more: topics are made in one request or in several, as it comes.
/// [`Story::Joining`] and [`Story::Parting`] are not told here: they make one topic, as another story does.
const fn least_of(story: Story) -> &'static [Write] {
    match story {
        // A setting that is new comes after the others: it is noted first.
        Story::Topic => &[
            Write::CreateTopics,
            Write::CreatePartitions,
            Write::AlterConfigs,
            Write::AlterConfigs,
            Write::DeleteTopics,
        ],
        Story::Approval => &[Write::CreateTopics, Write::AlterConfigs, Write::AlterConfigs],
        Story::Webhook => &[Write::CreateTopics, Write::AlterConfigs, Write::CreateTopics],
        Story::Replaced => &[Write::CreateTopics, Write::AlterConfigs],
        Story::Shared | Story::Lost => &[Write::CreateTopics, Write::CreateTopics],
        Story::Integration | Story::Schema | Story::Joining | Story::Parting => &[Write::CreateTopics],
        Story::Growth => &[Write::CreateTopics, Write::CreatePartitions],
        Story::Namespace => &[Write::CreateTopics, Write::DeleteTopics],
        Story::Group => &[Write::CreateTopics, Write::CommitOffsets, Write::DeleteGroups, Write::DeleteTopics],
    }
}

/// Has the operator killed at that moment.
pub(crate) fn kill_at(run: &Run, moment: Moment) -> Death {
    let Moment { write: (write, number), when } = moment;
    let death = run.death();
    let (count, deed) = (AtomicUsize::new(0), death.deed.clone());
    run.ways.kafka.judge(move |asked| {
        if asked != write || count.fetch_add(1, Ordering::Relaxed) + 1 != number {
            return Fate::Forward;
        }
        match when {
            When::Before => Fate::Lose(deed.clone()),
            When::After => Fate::LoseAnswer(deed.clone()),
        }
    });
    death
}

/// Tells a story with an operator that is killed at that moment; says whether it came.
async fn killed(place: &Stage, story: Story, moment: Moment) -> bool {
    let Moment { write: (write, number), when } = moment;
    let name = format!("kafka-{}-{}-{number}-{}", story as usize, write as usize, when as usize);
    let mut run = Run::begin(place, &name, &[story], nothing()).await;
    let death = kill_at(&run, moment);
    run.tell(&[story], &format!("{story:?}, killed at {moment:?}"), None).await;
    let was_killed = run.was_ended_by(&death);
    run.end();
    was_killed
}

/// An operator that is killed before and after each write to Kafka, one run for each.
async fn killed_at_each(story: Story) {
    let place = Stage::begin(&format!("kafka-killed-{}", story as usize)).await.unwrap();
    if !is_alone(&place).await {
        return;
    }
    let writes = numbered(&undisturbed(&place, story).await.kafka_writes);
    let least = numbered(least_of(story));
    assert!(least.iter().all(|write| writes.contains(write)), "{writes:?}");
    let moments =
        writes.iter().flat_map(|write| [When::Before, When::After].map(|when| Moment { write: *write, when }));
    let place = &place;
    let runs = stream::iter(moments).map(|moment| async move { (moment, killed(place, story, moment).await) });
    let told: Vec<(Moment, bool)> = runs.buffer_unordered(AT_ONCE).collect().await;
    let (killed, spared): (Vec<_>, Vec<_>) = told.into_iter().partition(|(_, was_killed)| *was_killed);
    println!("{story:?}: killed at {} writes to Kafka; these did not come: {spared:?}", killed.len());
    assert!(spared.iter().all(|(moment, _)| !least.contains(&moment.write)), "{spared:?}");
}

/// Whether the broker is alone in its cluster, at the address that we know: a proxy stands before one broker.
pub(crate) async fn is_alone(place: &Stage) -> bool {
    let brokers = place.kafka.describe_cluster().await.unwrap().brokers;
    let is_ours = |broker: &sluice_kafka::Broker| format!("{}:{}", broker.host, broker.port) == place.bootstrap;
    let is_alone = brokers.len() == 1 && brokers.iter().all(is_ours);
    if !is_alone {
        println!("a Kafka with several brokers, or another address, is left alone: {brokers:?}");
    }
    is_alone
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_topic_comes_to_the_same_end_after_which_write_to_kafka_ever_the_operator_is_killed() {
    killed_at_each(Story::Topic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_webhook_comes_to_the_same_end_after_which_write_to_kafka_ever_the_operator_is_killed() {
    killed_at_each(Story::Webhook).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_integration_comes_to_the_same_end_after_which_write_to_kafka_ever_the_operator_is_killed() {
    killed_at_each(Story::Integration).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_approved_change_comes_to_the_same_end_after_which_write_to_kafka_ever_the_operator_is_killed() {
    killed_at_each(Story::Approval).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_schema_comes_to_the_same_end_after_which_write_to_kafka_ever_the_operator_is_killed() {
    killed_at_each(Story::Schema).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_namespace_that_is_deleted_comes_to_the_same_end_after_which_write_to_kafka_ever_the_operator_is_killed() {
    killed_at_each(Story::Namespace).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_consumer_group_comes_to_the_same_end_after_which_write_to_kafka_ever_the_operator_is_killed() {
    killed_at_each(Story::Group).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn webhooks_that_share_receivers_come_to_the_same_end_after_which_write_to_kafka_ever_the_operator_is_killed() {
    killed_at_each(Story::Shared).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_approved_growth_comes_to_the_same_end_after_which_write_to_kafka_ever_the_operator_is_killed() {
    killed_at_each(Story::Growth).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_topic_that_was_lost_comes_to_the_same_end_after_which_write_to_kafka_ever_the_operator_is_killed() {
    killed_at_each(Story::Lost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_topic_that_was_replaced_comes_to_the_same_end_after_which_write_to_kafka_ever_the_operator_is_killed() {
    killed_at_each(Story::Replaced).await;
}

/// A setting that an operator is killed at, and that the next one does not find in the spec any more.
const TAKEN_BACK: &str = "segment.bytes";

/// The topic's own settings.
async fn own_settings(stage: &Stage) -> BTreeMap<String, String> {
    let name = format!("{}.held", stage.namespace);
    let mut told = stage.kafka.describe_own_configs(&[(name.as_str(), Vec::new())]).await.unwrap();
    told.remove(&name).unwrap().unwrap()
}

async fn is_in_sync(stage: &Stage) -> TopicStatus {
    let judge = |topic: &Topic| judge_topic(topic, "True InSync").map(|(status, _)| status);
    stage.until("held", "it is in sync", judge).await.unwrap()
}

/// The operator is killed while it gives an existing topic a setting, and before another one comes the spec does not name that any more.
async fn taken_back(place: &Stage, when: When) {
    const KEPT: &str = "retention.ms: '1000000'";
    let name = format!("kafka-taken-back-{}", when as usize);
    let mut run = Run::begin(place, &name, &[Story::Topic], nothing()).await;
    run.stage.apply_topic("held", &format!("config: {{{KEPT}}}")).await.unwrap();
    is_in_sync(&run.stage).await;
    let (before, death) = (own_settings(&run.stage).await, run.death());
    let deed = death.deed.clone();
    run.ways.kafka.judge(move |write| match (write, when) {
        (Write::AlterConfigs, When::Before) => Fate::Lose(deed.clone()),
        (Write::AlterConfigs, When::After) => Fate::LoseAnswer(deed.clone()),
        _ => Fate::Forward,
    });
    run.stage.apply_topic("held", &format!("config: {{{KEPT}, {TAKEN_BACK}: '1048576'}}")).await.unwrap();
    run.ends().await;
    until("Kafka has what it was told", PATIENCE, || async {
        let settings = own_settings(&run.stage).await;
        let has_it = settings.contains_key(TAKEN_BACK);
        if has_it == matches!(when, When::After) { Ok(()) } else { Err(format!("{settings:?}")) }
    })
    .await
    .unwrap();

    run.ways.kafka.judge(|_| Fate::Forward);
    run.stage.apply_topic("held", &format!("config: {{{KEPT}}}")).await.unwrap();
    run.restart().await;
    assert!(run.was_ended_by(&death), "{when:?}");
    let status = is_in_sync(&run.stage).await;
    assert_eq!(own_settings(&run.stage).await, before, "{when:?}");
    assert_eq!(status.config_keys, ["retention.ms"], "{when:?}");
    run.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_setting_that_the_operator_was_killed_at_and_that_is_no_longer_wanted_leaves_no_trace() {
    let place = Stage::begin("kafka-taken-back").await.unwrap();
    if is_alone(&place).await {
        join!(taken_back(&place, When::Before), taken_back(&place, When::After));
    }
}

/// Tells stories while the first write of each kind gets lost: the operator goes on, and makes it again.
async fn lost(place: &Stage, name: &str, fate: fn(Deed) -> Fate) {
    const STORIES: [Story; 3] = [Story::Topic, Story::Webhook, Story::Approval];
    let mut run = Run::begin(place, name, &STORIES, nothing()).await;
    let lost = Arc::new(Mutex::new(BTreeSet::new()));
    let noted = Arc::clone(&lost);
    run.ways.kafka.judge(move |write| {
        let is_first = noted.lock().unwrap().insert(write as usize);
        if is_first { fate(Arc::new(|| ())) } else { Fate::Forward }
    });
    run.tell(&STORIES, name, None).await;
    assert_eq!(lost.lock().unwrap().len(), 4, "{name}");
    run.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn writes_to_kafka_that_get_lost_change_nothing() {
    let place = Stage::begin("kafka-lost").await.unwrap();
    if is_alone(&place).await {
        lost(&place, "kafka-unasked", Fate::Lose).await;
        lost(&place, "kafka-unheard", Fate::LoseAnswer).await;
    }
}
