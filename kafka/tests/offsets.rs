//! Offsets and consumer groups on a real broker.
#![allow(clippy::unwrap_used, reason = "test code, also outside the functions that clippy knows as tests")]

mod broker;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use broker::{admin, connection, created, fresh, plain_topic, producer, until};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use sluice_kafka::{
    Admin, CommittedOffset, Error, ErrorCode, GroupState, NewTopic, OffsetAt, OutgoingRecord, PerPartition,
    TopicPartition, client_config,
    consumer::{
        BaseConsumer, CommitMode, Consumer, ConsumerSettings, Membership, Offset, TopicPartitionList, committed,
        consumer_config,
    },
};

const DEADLINE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn a_partition_begins_and_ends_where_its_records_do() {
    let admin = admin();
    let topic = created(&admin, NewTopic { partitions: Some(2), ..plain_topic("offsets") }).await;
    for value in ["a", "b", "c"] {
        let record = OutgoingRecord { partition: Some(1), ..OutgoingRecord::new(topic.as_str(), value) };
        producer().send(record).await.unwrap();
    }
    let asked = [partition(&topic, 0), partition(&topic, 1)];
    let expected = |second| [(asked[0].clone(), Ok(0)), (asked[1].clone(), Ok(second))].into();
    assert_eq!(admin.list_offsets(&asked, OffsetAt::Earliest).await.unwrap(), expected(0));
    assert_eq!(admin.list_offsets(&asked, OffsetAt::Latest).await.unwrap(), expected(3));
    assert_eq!(admin.list_offsets(&asked, OffsetAt::LastStable).await.unwrap(), expected(3));
}

#[tokio::test]
async fn a_time_is_the_first_record_that_is_not_older() {
    let admin = admin();
    let topic = created(&admin, plain_topic("offsets")).await;
    for milliseconds in [1_000, 2_000] {
        let record = OutgoingRecord { timestamp: Some(milliseconds), ..OutgoingRecord::new(topic.as_str(), "a") };
        producer().send(record).await.unwrap();
    }
    for (time, offset) in [(0, 0), (1_000, 0), (1_001, 1), (2_001, -1)] {
        assert_eq!(end(&admin, &topic, OffsetAt::Time(time)).await, offset, "{time}");
    }
}

/// For a moment a partition has no leader yet, which the client would remember for a quarter of an hour.
#[tokio::test]
async fn a_topic_that_was_made_just_now_is_listed_a_moment_later() {
    let admin = admin();
    for _ in 0..20 {
        let topic = plain_topic("new");
        let asked = [partition(&topic.name, 0)];
        let made = admin.create_topics(std::slice::from_ref(&topic)).await.unwrap();
        assert_eq!(made, [(topic.name.clone(), Ok(()))].into());
        let ends = async || admin.list_offsets(&asked, OffsetAt::Latest).await;
        until(ends, |ends| ends.as_ref().is_ok_and(|ends| ends[&asked[0]] == Ok(0))).await.unwrap();
    }
}

#[tokio::test]
async fn a_missing_partition_holds_up_no_other() {
    let admin = admin();
    let topic = created(&admin, plain_topic("offsets")).await;
    let (there, beyond, missing) = (partition(&topic, 0), partition(&topic, 7), partition(&fresh("missing"), 0));
    let impossible = partition(&topic, -1);
    let asked = [there.clone(), there.clone(), beyond.clone(), missing.clone(), impossible.clone()];
    let answers = admin.list_offsets(&asked, OffsetAt::Latest).await.unwrap();
    assert_eq!(answers[&there], Ok(0));
    for partition in [&beyond, &missing, &impossible] {
        assert!(answers[partition].is_err(), "{partition}: {answers:?}");
    }
}

#[tokio::test]
async fn an_open_transaction_holds_back_the_last_stable_offset() {
    let admin = admin();
    let topic = created(&admin, plain_topic("transaction")).await;
    let transactional = transactional_producer();
    transactional.begin_transaction().unwrap();
    transactional.send(BaseRecord::<(), _>::to(&topic).payload("a")).unwrap();
    transactional.flush(DEADLINE).unwrap();
    assert_eq!(end(&admin, &topic, OffsetAt::Latest).await, 1);
    assert_eq!(end(&admin, &topic, OffsetAt::LastStable).await, 0);

    transactional.commit_transaction(DEADLINE).unwrap();
    // The transaction's marker takes an offset too.
    until(async || end(&admin, &topic, OffsetAt::LastStable).await, |end| *end == 2).await;
}

#[tokio::test]
async fn committed_offsets_come_with_their_metadata_and_only_where_there_are_some() {
    let admin = admin();
    let topic = created(&admin, NewTopic { partitions: Some(3), ..plain_topic("group") }).await;
    let group = fresh("group");
    commit(&group, &topic, &[(0, 41, ""), (2, 7, "settled 9-12, attempts 3")]);
    let at = |offset, metadata: &str| Ok(CommittedOffset { offset, metadata: metadata.into() });
    let expected: PerPartition<_> =
        [(partition(&topic, 0), at(41, "")), (partition(&topic, 2), at(7, "settled 9-12, attempts 3"))].into();
    assert_eq!(admin.group_offsets(&group).await.unwrap(), expected);

    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(&topic, 0, 2);
    assert_eq!(committed(&consumer(&group).committed_offsets(asked, DEADLINE).unwrap()), expected);
}

#[tokio::test]
async fn a_group_that_never_was_has_no_offsets() {
    let (admin, nobody) = (admin(), fresh("nobody"));
    // A broker that has just started is not yet any group's coordinator.
    let ready = |answer: &Result<_, Error>| answer.as_ref().err().is_none_or(|error| !error.is_retriable());
    assert_eq!(until(async || admin.group_offsets(&nobody).await, ready).await.unwrap(), [].into());
}

#[tokio::test]
async fn a_group_without_members_is_empty_and_one_that_never_was_is_dead_or_unknown() {
    let admin = admin();
    let topic = created(&admin, plain_topic("group")).await;
    let (group, nobody) = (fresh("group"), fresh("nobody"));
    commit(&group, &topic, &[(0, 0, "")]);
    let listed = admin.list_groups().await.unwrap();
    assert_eq!((listed.get(&group), listed.get(&nobody)), (Some(&GroupState::Empty), None));
    let groups = admin.describe_groups(&[&group, &nobody]).await.unwrap();
    let described = groups[&group].as_ref().unwrap();
    assert_eq!((described.state, described.members.len()), (GroupState::Empty, 0));
    match &groups[&nobody] {
        Ok(group) => assert_eq!(group.state, GroupState::Dead),
        Err(error) => assert_eq!(error.code, ErrorCode::GROUP_ID_NOT_FOUND),
    }
}

#[tokio::test]
async fn a_member_is_described_with_its_partitions() {
    let admin = admin();
    let topic = created(&admin, plain_topic("member")).await;
    let group = fresh("group");
    let consumer = consumer(&group);
    consumer.subscribe(&[&topic]).unwrap();
    poll_until_assigned(&consumer);
    let groups = admin.describe_groups(&[&group]).await.unwrap();
    let described = groups[&group].as_ref().unwrap();
    assert_eq!(described.state, GroupState::Stable);
    let [member] = described.members.as_slice() else { panic!("{described:?}") };
    assert_eq!((member.client_id.as_str(), &member.partitions), ("sluice", &vec![partition(&topic, 0)]));
}

#[tokio::test]
async fn a_membership_is_of_one_generation_and_ends_when_the_member_leaves() {
    let topic = created(&admin(), NewTopic { partitions: Some(2), ..plain_topic("membership") }).await;
    let group = fresh("group");
    let (first, second) = (consumer(&group), consumer(&group));
    let both = [&first, &second];
    assert_eq!(both.map(membership), [None::<String>, None]);

    first.subscribe(&[&topic]).unwrap();
    poll_until(&both, || both.map(partitions) == [2, 0]);
    let [Some(alone), None] = both.map(membership) else { panic!("{:?}", both.map(membership)) };

    second.subscribe(&[&topic]).unwrap();
    poll_until(&both, || both.map(partitions) == [1, 1] && membership(&first) == membership(&second));
    let together = membership(&first).unwrap();
    assert_ne!(together, alone);

    second.unsubscribe();
    poll_until(&both, || both.map(partitions) == [2, 0] && membership(&second).is_none());
    assert!(![alone, together].contains(&membership(&first).unwrap()));
}

#[tokio::test]
async fn offsets_are_committed_for_a_group_without_members_and_for_no_other() {
    let admin = admin();
    let topic = created(&admin, NewTopic { partitions: Some(2), ..plain_topic("begin") }).await;
    let group = fresh("group");
    let offsets = |number: i64| BTreeMap::from([0, 1].map(|index| (partition(&topic, index), number)));
    let commit = async |number| admin.commit_group_offsets(&group, &offsets(number)).await;
    // A broker that has just started is not yet any group's coordinator.
    let committed = until(async || commit(0).await, Result::is_ok).await.unwrap();
    assert!(committed.len() == 2 && committed.values().all(Result::is_ok), "{committed:?}");

    let consumer = consumer(&group);
    consumer.subscribe(&[&topic]).unwrap();
    poll_until_assigned(&consumer);
    let refused = commit(7).await.unwrap();
    assert!(refused.values().all(Result::is_err), "{refused:?}");
    let kept = admin.group_offsets(&group).await.unwrap();
    assert!(kept.values().all(|kept| kept.as_ref().is_ok_and(|kept| kept.offset == 0)), "{kept:?}");
    assert_eq!(kept.len(), 2);
}

#[tokio::test]
async fn a_group_is_deleted_with_its_offsets_once_it_has_no_members() {
    let admin = admin();
    let topic = created(&admin, plain_topic("deleted-group")).await;
    let (group, nobody) = (fresh("group"), fresh("nobody"));
    commit(&group, &topic, &[(0, 0, "")]);
    let consumer = consumer(&group);
    consumer.subscribe(&[&topic]).unwrap();
    poll_until_assigned(&consumer);
    let answers = admin.delete_groups(&[&group, &nobody]).await.unwrap();
    let codes = answers.iter().map(|(name, answer)| (name.clone(), answer.as_ref().unwrap_err().code));
    let expected =
        [(group.clone(), ErrorCode::NON_EMPTY_GROUP), (nobody.clone(), ErrorCode::GROUP_ID_NOT_FOUND)].into();
    assert_eq!(codes.collect::<BTreeMap<_, _>>(), expected);
    assert_eq!(admin.group_offsets(&group).await.unwrap().len(), 1);

    // Dropped, it leaves its group.
    drop(consumer);
    let deleted =
        until(async || admin.delete_groups(&[&group]).await.unwrap(), |answers| answers[&group].is_ok()).await;
    assert_eq!(deleted, [(group.clone(), Ok(()))].into());
    assert_eq!(admin.group_offsets(&group).await.unwrap(), [].into());
}

fn partition(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition }
}

async fn end(admin: &Admin, topic: &str, at: OffsetAt) -> i64 {
    let partition = partition(topic, 0);
    admin.list_offsets(std::slice::from_ref(&partition), at).await.unwrap()[&partition].clone().unwrap()
}

fn transactional_producer() -> BaseProducer {
    let mut config = client_config(&connection()).unwrap();
    let producer: BaseProducer = config.set("transactional.id", fresh("transaction")).create().unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    producer
}

fn consumer(group: &str) -> BaseConsumer {
    consumer_config(&connection(), group, &ConsumerSettings::default()).unwrap().create().unwrap()
}

fn commit(group: &str, topic: &str, offsets: &[(i32, i64, &str)]) {
    let mut list = TopicPartitionList::new();
    for (partition, offset, metadata) in offsets {
        let mut element = list.add_partition(topic, *partition);
        element.set_offset(Offset::Offset(*offset)).unwrap();
        element.set_metadata(*metadata);
    }
    consumer(group).commit(&list, CommitMode::Sync).unwrap();
}

fn poll_until_assigned(consumer: &BaseConsumer) {
    poll_until(&[consumer], || partitions(consumer) > 0);
}

fn poll_until(consumers: &[&BaseConsumer], wanted: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    let seen = |consumer: &&BaseConsumer| (partitions(consumer), membership(consumer));
    while !wanted() {
        let in_time = Instant::now() < deadline;
        assert!(in_time, "not within {DEADLINE:?}; last seen: {:?}", consumers.iter().map(seen).collect::<Vec<_>>());
        for consumer in consumers {
            drop(consumer.poll(Duration::from_millis(50)));
        }
    }
}

/// How many it has.
fn partitions(consumer: &BaseConsumer) -> usize {
    consumer.assignment().unwrap().count()
}

/// What it tells of itself: the generation.
fn membership(consumer: &BaseConsumer) -> Option<String> {
    Membership::of(consumer).map(|membership| format!("{membership:?}"))
}
