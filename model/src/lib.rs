//! What Sluice thinks: for each kind, what a resource asks for, what has to change, and what its status says.
//!
//! Everything here is pure and synchronous. The four words are functions of each kind's module:
//!
//! - `validate` judges a resource once: a type that cannot be wrong, or all complaints together.
//! - `desire` computes the objects that should exist.
//! - `plan` compares them with what was observed and returns the changes, in order.
//! - `report` writes down what was observed, as the resource's status.
//!
//! The operator does the rest: it resolves, observes and applies.
#![warn(missing_docs)]

mod address;
pub mod children;
pub mod cluster;
pub mod collector;
pub mod conditions;
mod dependencies;
pub mod grants;
pub mod integration;
mod number;
mod pods;
mod references;
pub mod rejection;
mod schema;
mod secrets;
mod tally;
mod tenancy;
pub mod topic;
pub mod webhook;

pub use cluster::Cluster;
pub use conditions::{Conditions, News};
pub use pods::shared_complaints;
pub use references::Refused;
pub use rejection::Rejection;
