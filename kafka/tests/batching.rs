//! Calls about single topics on a real broker: they share requests, and each gets its own answer.
#![allow(clippy::unwrap_used, reason = "test code, also outside the functions that clippy knows as tests")]

mod broker;

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use broker::{admin, connection_to, created, fresh, plain_topic, until};
use futures::future::{Either, join_all, select};
use sluice_kafka::{Admin, Batching, ConfigChange, Deletion, Error, ErrorCode, Made, NewTopic, TopicAdmin, TopicError};
use tokio::net::TcpListener;

const TOPICS: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_requests_grows_with_batches_and_not_with_topics() {
    let admin = admin();
    let (batching, prefix) = (Batching { max_topics: 250, ..Batching::default() }, fresh("batching"));
    let kafka = TopicAdmin::new(admin.clone(), batching);
    let names: Vec<String> = (0..TOPICS).map(|number| format!("{prefix}.{number}")).collect();
    let new = |name: &String| NewTopic { name: name.clone(), ..plain_topic("") };

    let start = Instant::now();
    let created = join_all(names.iter().map(|name| kafka.create(new(name)))).await;
    println!("{TOPICS} topics created in {:?}", start.elapsed());
    assert!(created.iter().all(Result::is_ok), "{:?}", created.iter().find(|answer| answer.is_err()));
    until(async || described(&kafka, &names).await, |described| *described == TOPICS).await;
    let change = || vec![ConfigChange::Set { key: "retention.ms".into(), value: "1000".into() }];
    let start = Instant::now();
    let altered = join_all(names.iter().map(|name| kafka.alter_config(name, change()))).await;
    println!("{TOPICS} topics altered in {:?}", start.elapsed());
    assert!(altered.iter().all(Result::is_ok));
    let topics = join_all(names.iter().map(|name| kafka.describe(name))).await;
    let ids: Vec<String> = topics.into_iter().map(|topic| topic.unwrap().unwrap().id).collect();
    let deleted = join_all(names.iter().zip(&ids).map(|(name, id)| kafka.delete(name, id))).await;
    assert!(deleted.iter().all(|answer| matches!(answer, Ok(Deletion::Done))));

    let requests = admin.requests_made();
    println!("{requests:?}");
    for doing in ["create topics", "change configurations", "delete topics"] {
        let answered = requests[&Made { doing, outcome: "Ok" }];
        assert!((4..=8).contains(&answered), "{TOPICS} topics in batches of 250: {requests:?}");
    }
}

/// How many of the topics can be seen.
async fn described(kafka: &TopicAdmin, names: &[String]) -> usize {
    let answers = join_all(names.iter().map(|name| kafka.describe(name))).await;
    answers.into_iter().filter(|answer| answer.as_ref().unwrap().is_some()).count()
}

#[tokio::test]
async fn what_is_wrong_with_one_topic_is_only_its_own_answer() {
    let kafka = TopicAdmin::new(admin(), Batching::default());
    let (good, bad) = (plain_topic("good"), plain_topic("bad"));
    let bad = NewTopic { config: [("retention.ms".to_owned(), "soon".to_owned())].into(), ..bad };
    let twice = good.clone();
    let (good, bad, again) = futures::join!(kafka.create(good), kafka.create(bad), kafka.create(twice));
    assert!(good.is_ok(), "{good:?}");
    assert_eq!(code(bad), ErrorCode::INVALID_CONFIG);
    assert_eq!(code(again), ErrorCode::TOPIC_ALREADY_EXISTS);
}

#[tokio::test]
async fn only_the_topic_with_the_id_is_deleted() {
    let kafka = TopicAdmin::new(admin(), Batching::default());
    let topic = created(kafka.admin(), plain_topic("meant")).await;
    let id = kafka.describe(&topic).await.unwrap().unwrap().id;
    let another = kafka.delete(&topic, "AAAAAAAAAAAAAAAAAAAAAQ").await.unwrap();
    assert_eq!(another, Deletion::Another { id: id.clone() });
    assert_eq!(kafka.delete(&topic, &id).await.unwrap(), Deletion::Done);
    until(async || kafka.describe(&topic).await.unwrap(), Option::is_none).await;
    assert_eq!(kafka.delete(&topic, &id).await.unwrap(), Deletion::Gone);
}

#[tokio::test]
async fn topics_that_are_too_many_partitions_together_are_made_apart() {
    let admin = admin();
    let large = |name: &str| NewTopic { partitions: Some(5001), replicas: Some(99), ..plain_topic(name) };
    let (one, other) = (large("large"), large("large"));
    let together = admin.create_topics(&[one.clone(), other.clone()]).await.unwrap();
    assert!(together.values().all(|answer| code_of(answer.clone()) == ErrorCode::POLICY_VIOLATION), "{together:?}");

    // Apart they get as far as the replicas that there are not.
    let kafka = TopicAdmin::new(admin, Batching::default());
    let (one, other) = futures::join!(kafka.create(one), kafka.create(other));
    assert_eq!([code(one), code(other)], [ErrorCode::INVALID_REPLICATION_FACTOR; 2]);
}

#[tokio::test]
async fn a_cluster_that_is_silent_holds_up_no_other_and_costs_its_callers_one_timeout() {
    const TIMEOUT: Duration = Duration::from_secs(10);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let down = Admin::connect(&connection_to(&address)).unwrap().with_timeout(TIMEOUT);
    let down = TopicAdmin::new(down, Batching::default());
    let healthy = TopicAdmin::new(admin(), Batching::default());
    let topic = created(healthy.admin(), plain_topic("healthy")).await;

    let first = pin!(down.describe("orders"));
    let answer = pin!(healthy.describe(&topic));
    let (answer, first) = match select(answer, first).await {
        Either::Left(ended) => ended,
        Either::Right((first, _)) => panic!("the other one waits for {first:?}"),
    };
    assert!(matches!(answer, Ok(Some(_))), "{answer:?}");
    let first = first.await;
    assert!(matches!(first, Err(TopicError::Request(Error::Unreachable { .. }))), "{first:?}");

    // While it is known to be down nobody waits: it is not asked. Once a second it is.
    let names: Vec<String> = (0..100).map(|number| format!("orders-{number}")).collect();
    let ask = async || {
        let (before, start) = (down.admin().requests_made(), Instant::now());
        let answers = join_all(names.iter().map(|name| down.describe(name))).await;
        assert!(answers.iter().all(|answer| matches!(answer, Err(TopicError::Request(Error::Unreachable { .. })))));
        (down.admin().requests_made() != before, start.elapsed())
    };
    until(ask, |(is_asked, took)| !is_asked && *took < TIMEOUT / 2).await;
    assert!(!down.admin().is_answering());
}

fn code(answer: Result<(), TopicError>) -> ErrorCode {
    match answer {
        Err(TopicError::Topic(error)) => error.code,
        answer => panic!("not a topic's own error: {answer:?}"),
    }
}

fn code_of(answer: Result<(), sluice_kafka::KafkaError>) -> ErrorCode {
    answer.unwrap_err().code
}
