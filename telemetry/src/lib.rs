//! What all programs do alike to be observed.
//!
//! - `durations`: times, counted for the operator.
//! - `metrics`: how a metric is registered by its definition, and the answer to Prometheus.
//! - `process`: what a process tells about itself.

mod durations;
pub mod metrics;
mod process;

pub use durations::Durations;
