//! The worker as it runs in a cluster: the real binary, a real broker, a real HTTP API.
//!
//! - `kafka`: topics of their own for each test, what is written to them and what is committed.
//! - `api`: an HTTP API that records what it gets and answers by a script.
//! - `mounted`: Secrets as the kubelet mounts them.
//! - `running`: the worker's process.
//! - `disturbing`: several of them, and what may become of them and of their broker.
//! - `repeats`: what was delivered, what of it again, and whether it had to be.
#![allow(clippy::unwrap_used, reason = "a test ends where it meets what it did not expect")]

mod api;
mod beginning;
mod connections;
mod conserving;
mod credentials;
mod deleting;
mod delivering;
mod disturbing;
mod encrypted;
mod ending;
mod exactly_once;
mod examples;
mod failing;
mod faults;
mod guard;
mod into_kafka;
mod kafka;
mod letters;
mod memory;
mod mounted;
mod oauth2;
mod repeats;
mod requests;
mod running;
mod secured;
mod waiting;
mod wiremock;

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

/// Looks again and again until what is seen is as wanted.
async fn until<T: Debug>(what: &str, look: impl AsyncFn() -> T, wanted: impl Fn(&T) -> bool) -> T {
    const DEADLINE: Duration = Duration::from_mins(5);
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    let start = Instant::now();
    loop {
        pace.tick().await;
        let seen = look().await;
        if wanted(&seen) {
            return seen;
        }
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}; last seen: {seen:?}");
    }
}
