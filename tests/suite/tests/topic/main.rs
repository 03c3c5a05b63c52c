//! Topics, and the consumer groups of Integrations, against a real API server and a real Kafka: who deletes what, what waits for approval, who
//! wins, and what is said.
#![allow(
    clippy::unwrap_used,
    clippy::default_trait_access,
    reason = "a test ends where something is not as it must be"
)]

mod approval;
mod conflict;
mod deletion;
mod grants;
mod groups;
mod policy;
mod refusal;
mod stage;
mod usage;
