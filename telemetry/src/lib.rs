//! What all programs do alike to be observed.
//!
//! - `metrics`: how a metric is registered by its definition, and the answer to Prometheus.
//! - `process`: what a process tells about itself.

pub mod metrics;
mod process;
