//! Brokers that are not there, or do not answer.
#![allow(clippy::unwrap_used, reason = "test code, also outside the functions that clippy knows as tests")]

mod broker;

use std::time::{Duration, Instant};

use broker::connection_to;
use sluice_kafka::{Admin, Error};

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
