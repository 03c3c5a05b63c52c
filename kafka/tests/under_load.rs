//! Many calls at once, and clients that come and go.
#![allow(clippy::unwrap_used, reason = "test code, also outside the functions that clippy knows as tests")]

mod broker;

use std::time::Instant;

use broker::{admin, created, described, plain_topic, until};
use futures::future::join_all;

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
