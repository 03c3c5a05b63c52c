//! How long a receiver may take to end. Receiver and Deployment count alike: a receiver that is killed before its last request is
//! answered leaves a sender without an answer.

use std::time::Duration;

/// A request's head is to come within this time.
pub const HEAD: Duration = Duration::from_secs(5);
/// A request's body is to come within this time.
pub const BODY: Duration = Duration::from_secs(10);
/// What is left for the rest: its answer is written, on a machine that may have much to end.
const BETWEEN: Duration = Duration::from_secs(2);
/// The longest that a sender may be kept waiting for Kafka: what receivers of many Webhooks reckon with.
pub const LONGEST_PATIENCE: Duration = Duration::from_secs(25);
/// How long requests are still taken after SIGTERM, while gateways learn that the receiver is no longer ready.
pub const DRAIN_DELAY: crate::Duration = crate::Duration::from_secs(5);
/// How long is waited for Kafka to confirm what senders no longer wait for, and for Redis to note it.
pub const LAST_WRITES: Duration = Duration::from_secs(3);
/// How long is waited for who looks at the status.
pub const LAST_LOOKS: Duration = Duration::from_secs(1);
/// The last spans are sent, and the process ends.
const LAST_WORDS: Duration = Duration::from_secs(6);

/// The longest that a request may take: a sender's patience begins when its body is there, and all that happens then happens within it.
pub fn longest_request(patience: Duration) -> Duration {
    HEAD + BODY + patience + BETWEEN
}

/// The longest that a receiver may take to end, from SIGTERM on.
pub fn longest_end(patience: Duration) -> Duration {
    DRAIN_DELAY.get() + longest_request(patience) + LAST_WRITES + LAST_LOOKS + LAST_WORDS
}
