//! Brokers that are not there, or do not answer.
#![allow(clippy::unwrap_used, reason = "test code, also outside the functions that clippy knows as tests")]

mod broker;

use std::time::Duration;

use broker::{connection_to, in_time, until};
use sluice_kafka::{Admin, Error};

#[tokio::test]
async fn a_cluster_that_is_down_is_unreachable_within_the_timeout_and_says_why() {
    let timeout = Duration::from_secs(2);
    let ask = async || {
        let nobody = Admin::connect(&connection_to("127.0.0.1:9")).unwrap().with_timeout(timeout);
        nobody.describe_cluster().await.unwrap_err()
    };
    let error = in_time(timeout + Duration::from_secs(1), ask).await;
    assert!(matches!(error, Error::Unreachable { .. }) && error.is_retriable(), "{error:?}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn a_silent_cluster_is_unreachable_within_the_timeout() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let timeout = Duration::from_secs(1);
    let address = silent.local_addr().unwrap().to_string();
    let ask = async || {
        let admin = Admin::connect(&connection_to(&address)).unwrap().with_timeout(timeout);
        admin.describe_topics(&["orders"]).await.unwrap_err()
    };
    let error = in_time(timeout + Duration::from_secs(1), ask).await;
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_call_about_groups_that_no_broker_answers_lets_no_other_call_through() {
    let timeout = Duration::from_secs(1);
    let nobody = Admin::connect(&connection_to("127.0.0.1:9")).unwrap().with_timeout(timeout);
    assert!(matches!(nobody.describe_cluster().await, Err(Error::Unreachable { .. })));
    // A call that fails at once is none that was made.
    let is_made = |doing: &str| nobody.requests_made().keys().any(|made| made.doing == doing);
    let deleted = until(async || nobody.delete_groups(&["group"]).await, |_| is_made("delete consumer groups")).await;
    assert!(matches!(deleted, Err(Error::Unreachable { .. })), "{deleted:?}");
    assert!(!nobody.is_answering());
    let described =
        until(async || nobody.describe_groups(&["group"]).await, |_| is_made("describe consumer groups")).await;
    assert!(matches!(described, Err(Error::Unreachable { .. })), "{described:?}");
    assert!(!nobody.is_answering());
}
