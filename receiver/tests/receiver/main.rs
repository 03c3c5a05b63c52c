//! The real binary in front of a real Kafka.
//!
//! - `kafka`: the broker, its topics, and what is in them.
//! - `running`: a receiver and its configuration.
//! - `sender`: an HTTP client that signs.
//! - `frames`: HTTP/2, frame by frame.
//! - the other modules: what a receiver promises.
#![allow(clippy::unwrap_used, reason = "as in every test; clippy does not see that all of this is one")]

mod certificates;
mod cloud_events;
mod contract;
mod credentials;
mod ending;
mod faults;
mod frames;
mod hmac;
mod hostile;
mod http2;
mod issuer;
mod kafka;
mod limits;
mod many;
mod rates;
mod redis;
mod running;
mod secrets;
mod sender;
mod signers;
mod writing;

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

/// Looks again and again until what is seen is as wanted.
async fn until<T: Debug>(look: impl AsyncFn() -> T, wanted: impl Fn(&T) -> bool) -> T {
    const DEADLINE: Duration = Duration::from_mins(3);
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let start = Instant::now();
    loop {
        pace.tick().await;
        let seen = look().await;
        if wanted(&seen) {
            return seen;
        }
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}; last seen: {seen:?}");
    }
}
