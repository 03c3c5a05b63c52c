//! Metrics by their definitions: a name, a unit and a meaning stand in `sluice_crds::metrics` and nowhere else.

use std::{borrow::Cow, fmt};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, text},
    metrics::{MetricType, info::Info},
    registry::{self, Registry, Unit},
};
use sluice_crds::metrics::{Kind, Metric, process::BUILD};

use crate::process::Process;

/// The content type of [`text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Labels that all metrics of a registry have.
pub type ConstantLabel = (Cow<'static, str>, Cow<'static, str>);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BuildLabels {
    program: &'static str,
    version: &'static str,
}

/// A registry with what every process tells about itself. `version` is the program's own `CARGO_PKG_VERSION`.
pub fn registry(program: &'static str, version: &'static str) -> Registry {
    let mut registry = Registry::default();
    registry.define(&BUILD, Info::new(BuildLabels { program, version }));
    registry.register_collector(Box::new(Process::default()));
    registry
}

/// Registers metrics by their definitions.
pub trait Define {
    /// Registers one. Panics where it is of another kind than its definition says.
    fn define(&mut self, metric: &Metric, values: impl registry::Metric);
}

impl Define for Registry {
    fn define(&mut self, metric: &Metric, values: impl registry::Metric) {
        assert_eq!(values.metric_type().as_str(), kind(metric).as_str(), "{} is defined otherwise", metric.name);
        let (name, unit) = name_and_unit(metric);
        match unit {
            Some(unit) => self.register_with_unit(name, metric.meaning, unit, values),
            None => self.register(name, metric.meaning, values),
        }
    }
}

/// Begins a metric by its definition in a collector, which computes its values when it is asked.
pub fn describe(
    encoder: &mut DescriptorEncoder<'_>,
    metric: &Metric,
    values: impl FnOnce(MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    let (name, unit) = name_and_unit(metric);
    // As the registry does it.
    let help = format!("{}.", metric.meaning);
    values(encoder.encode_descriptor(name, &help, unit.as_ref(), kind(metric))?)
}

/// All of it, as Prometheus reads it.
pub fn text(registry: &Registry) -> String {
    let mut text = String::new();
    text::encode(&mut text, registry).expect("a String takes everything");
    text
}

/// The name without its unit, which the library appends.
fn name_and_unit(metric: &Metric) -> (&'static str, Option<Unit>) {
    let family = metric.family();
    match metric.unit() {
        Some(unit) => {
            let name = family.strip_suffix(unit).and_then(|name| name.strip_suffix('_')).unwrap_or(family);
            (name, Some(if unit == "bytes" { Unit::Bytes } else { Unit::Seconds }))
        }
        None => (family, None),
    }
}

fn kind(metric: &Metric) -> MetricType {
    match metric.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
        Kind::Info => MetricType::Info,
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::{counter::Counter, histogram::Histogram};
    use sluice_crds::metrics::worker::{DELIVERY_DURATION, DELIVERY_RETRIES};

    use super::*;

    #[test]
    fn samples_have_the_name_of_the_definition() {
        let mut registry = registry("worker", "1.2.3");
        registry.define(&DELIVERY_RETRIES, Counter::<u64>::default());
        registry.define(&DELIVERY_DURATION, Histogram::new([1.0]));
        let text = text(&registry);
        for sample in [
            "# TYPE sluice_worker_delivery_retries counter\nsluice_worker_delivery_retries_total 0\n",
            "# UNIT sluice_worker_delivery_duration_seconds seconds\n",
            "sluice_worker_delivery_duration_seconds_count 0\n",
            "sluice_build_info{program=\"worker\",version=\"1.2.3\"} 1\n",
            "# HELP process_resident_memory_bytes Memory that the process holds.\n",
            "# TYPE process_cpu_seconds counter\n# UNIT process_cpu_seconds seconds\nprocess_cpu_seconds_total ",
        ] {
            assert!(text.contains(sample), "{sample} is missing in\n{text}");
        }
    }

    #[test]
    #[should_panic(expected = "sluice_worker_delivery_retries_total is defined otherwise")]
    fn a_metric_of_another_kind_is_refused() {
        Registry::default().define(&DELIVERY_RETRIES, Histogram::new([1.0]));
    }
}
