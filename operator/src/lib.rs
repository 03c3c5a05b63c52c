//! What Sluice does to the cluster: it resolves, observes and applies what the model thinks.
//!
//! `controller` is the one loop for all kinds. Each kind's folder has the I/O of its seven steps: `resolve`, `observe`,
//! `apply`, and in `mod.rs` the reconcile that reads like a table of contents. `children` serves the kinds that own Kubernetes
//! objects; `measure` asks the brokers for lag and dead letters.

mod arguments;
mod backoff;
mod children;
mod clusters;
mod context;
mod controller;
mod error;
mod health;
mod integration;
mod measure;
mod metrics;
mod run;
mod status;
mod topic;
mod watch;
mod webhook;

pub use arguments::{Arguments, LogFormat};
pub use run::run;
