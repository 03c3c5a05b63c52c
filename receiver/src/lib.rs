//! The receiver: HTTP in, verified, deduplicated, written to Kafka before it is acknowledged.
//!
//! A request goes through `server` (connections), `receive` (the order of the checks), `verify` (who sent it), `event` (what
//! it is called), `contract` (whether it is as it must be), `deduplicate` (whether it was there before) and `record` (what is written) to `link` (Kafka).
//! `limit` counts requests before and after `verify`.
//! `limit`, `verify`, `event`, `json` (what stands in a body), `deduplicate` and `record` do no I/O. `shared` asks the Redis that several receivers share, `secrets` keeps the keys current, `status` tells how
//! it goes, `config` says what to do, `controls` what may change meanwhile, `process` is what endpoints have in common, `many` serves
//! those of many Webhooks, and `run` puts it all together.

#[cfg(test)]
mod cases;
mod config;
mod contract;
mod controls;
mod deduplicate;
mod deprecation;
mod event;
mod json;
mod limit;
mod link;
mod many;
mod options;
mod process;
mod receive;
mod record;
mod remembered;
mod run;
mod secrets;
mod server;
mod shared;
mod status;
mod throttle;
mod verify;

pub use options::{LogFormat, Options};
pub use run::run;
