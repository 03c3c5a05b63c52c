//! What all programs do alike to be observed.
//!
//! - `certificates`: when mounted certificates expire.
//! - `durations`: times, counted for the operator.
//! - `histogram`: times for Prometheus, with traces.
//! - `metrics`: how a metric is registered by its definition, and the answer to Prometheus.
//! - `process`: what a process tells about itself.
//! - `traces`: spans, for a collector of OpenTelemetry.

mod certificates;
mod durations;
mod histogram;
pub mod metrics;
mod process;
pub mod traces;

pub use certificates::Certificates;
pub use durations::Durations;
pub use histogram::DurationHistogram;
