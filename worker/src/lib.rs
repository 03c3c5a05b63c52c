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
//! - `engine`: order, concurrency, bounded memory, commits; `lanes`, `offsets` and `retry` are its pure parts.
//! - `flow`: what happens to one record; `dead_letters`: where it goes when it fails.
//! - `status`: counts, trouble, health and metrics.

mod config;
mod dead_letters;
mod engine;
mod flow;
mod lanes;
mod lease;
mod logs;
mod offsets;
mod options;
mod retry;
mod run;
mod sink;
mod source;
mod status;

pub use options::{LogFormat, Options};
pub use run::run;
