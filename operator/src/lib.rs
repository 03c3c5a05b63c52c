//! What Sluice does to the cluster: it resolves, observes and applies what the model thinks.
//!
//! `passes` is the one loop: `watch` tells what changed, `queue` when its pass is due, and `leader` which replica has the passes.
//! `controller` says what a pass over a resource of any kind is. Each kind's folder has the I/O of its seven steps: `resolve`, `observe`,
//! `apply`, and in `mod.rs` the reconcile that reads like a table of contents. `children` serves the kinds that own Kubernetes
//! objects; `measure` asks the brokers for lag and dead letters and writes them down, `rounds` asks receivers and workers what they
//! have done, `schema` keeps the subjects of schema registries.

mod arguments;
mod backoff;
mod children;
mod clusters;
mod concurrent;
mod config_maps;
mod context;
mod controller;
mod data_plane;
mod error;
mod events;
mod farewell;
mod finalizer;
mod grants;
mod health;
mod idle;
mod integration;
mod kubernetes;
mod leader;
mod looks;
mod measure;
mod metrics;
mod passes;
mod queue;
mod rounds;
mod run;
mod schema;
mod status;
mod tasks;
mod topic;
mod watch;
mod webhook;

pub use arguments::{Arguments, LogFormat};
pub use run::run;
