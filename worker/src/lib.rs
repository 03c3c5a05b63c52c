//! The data plane of an Integration. One record's way:
//!
//! ```text
//! source -> Offsets::begin -> Pipeline::apply -> sink -> Offsets::settle -> source's commit
//!                              |- Skip -> settle
//!                              `- Reject -> dead letters (confirmed) -> settle
//! ```
//!
//! Whatever fails, `received = delivered + skipped + dead-lettered + unsettled`, and no offset is committed past an
//! unsettled record.
//!
//! - `source`, `sink`: what is read and what is delivered to, one file for each kind.
//! - `engine`: order, concurrency, bounded memory, commits. What it does next is decided by pure parts: `engine::schedule`, and
//!   below it `lanes`, `offsets`, `progress`, `retry`, `breaker` and `stopwatch`.
//! - `batched`: the same for Kafka sinks, which take a batch of records at once, exactly once where that is asked for.
//! - `flow`: what is done with one record; `dead_letters`: where it goes when it fails.
//! - `spans`: what a trace says of a record.
//! - `alarm`: wakes the engines although nothing happens.
//! - `status`: counts, trouble, health and metrics.

mod alarm;
mod batched;
mod breaker;
mod config;
mod dead_letters;
mod engine;
mod flow;
mod lanes;
mod logs;
mod offsets;
mod options;
mod progress;
mod retry;
mod run;
mod sink;
mod source;
mod spans;
mod status;
mod stopwatch;
mod told;
mod usage;

pub use options::{LogFormat, Options};
pub use run::run;
