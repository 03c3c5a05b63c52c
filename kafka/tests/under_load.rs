//! Many calls at once, clients that come and go, and brokers that do not answer.
#![allow(clippy::unwrap_used, reason = "test code, also outside the functions that clippy knows as tests")]

mod broker;

use std::time::{Duration, Instant};

use broker::{admin, connection_to, created, described, plain_topic, until};
use futures::future::join_all;
use sluice_kafka::{Admin, Error};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_at_once_each_get_their_own_answer() {
    let admin = admin();
    let topics: Vec<_> = (0..1000).map(|_| plain_topic("many")).collect();
    let created = admin.create_topics(&topics).await.unwrap();
    assert!(created.values().all(Result::is_ok));
    for topic in &topics {
        until(async || described(&admin, &topic.name).await, Option::is_some).await;
    }

    let describe = |name: String| {
        let admin = admin.clone();
        async move { (admin.describe_topics(&[&name]).await.unwrap(), name) }
    };
    let start = Instant::now();
    let answers = join_all(topics.iter().map(|topic| tokio::spawn(describe(topic.name.clone())))).await;
    println!("1000 describes at once took {:?}", start.elapsed());
    for answer in answers {
        let (described, name) = answer.unwrap();
        assert!(matches!(described[&name], Ok(Some(_))), "{name}: {described:?}");
    }
    let names: Vec<_> = topics.iter().map(|topic| topic.name.as_str()).collect();
    assert!(admin.delete_topics(&names).await.unwrap().values().all(Result::is_ok));
}

#[tokio::test]
async fn a_dropped_call_and_a_dropped_client_disturb_nobody() {
    let admin = admin();
    let topic = created(&admin, plain_topic("dropped")).await;
    for _ in 0..20 {
        let short_lived = broker::admin();
        // Polled once, so that the request is on its way.
        assert!(futures::poll!(Box::pin(short_lived.describe_topics(&[&topic]))).is_pending());
    }
    assert!(admin.describe_topics(&[&topic]).await.is_ok());
}

#[tokio::test]
async fn a_cluster_that_is_down_is_unreachable_within_the_timeout_and_says_why() {
    let timeout = Duration::from_secs(2);
    let nobody = Admin::connect(&connection_to("127.0.0.1:9")).unwrap().with_timeout(timeout);
    let start = Instant::now();
    let error = nobody.describe_cluster().await.unwrap_err();
    assert!(start.elapsed() < timeout + Duration::from_secs(1), "it took {:?}", start.elapsed());
    assert!(matches!(error, Error::Unreachable { .. }) && error.is_retriable(), "{error:?}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn a_silent_cluster_is_unreachable_within_the_timeout() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let timeout = Duration::from_secs(1);
    let address = silent.local_addr().unwrap().to_string();
    let admin = Admin::connect(&connection_to(&address)).unwrap().with_timeout(timeout);
    let start = Instant::now();
    let error = admin.describe_topics(&["orders"]).await.unwrap_err();
    assert!(start.elapsed() < timeout + Duration::from_secs(1), "it took {:?}", start.elapsed());
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}
