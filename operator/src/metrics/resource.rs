//! What Prometheus reads about single resources, computed when it asks: a resource that is gone has no value left behind.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};
use sluice_crds::{
    NamespacedName,
    metrics::{Metric, resource as defined},
};
use sluice_telemetry::metrics::describe;

/// One resource at this moment.
#[derive(Clone, Debug)]
pub struct ResourceNumbers {
    /// Its kind.
    pub kind: &'static str,
    /// Its name.
    pub name: NamespacedName,
    /// Whether it is ready.
    pub ready: bool,
    /// Of a Webhook, where it is known.
    pub receivers_ready: Option<i32>,
    /// Of an Integration, where it is known.
    pub lag: Option<u64>,
    /// The same, in seconds.
    pub oldest_waiting: Option<f64>,
    /// The same.
    pub dead_letters: Option<u64>,
}

/// All resources at the moment of the last question.
#[derive(Clone, Debug, Default)]
pub struct Resources(Arc<Mutex<Vec<ResourceNumbers>>>);

impl Resources {
    /// Puts what is known now in the place of what was.
    pub fn set(&self, numbers: Vec<ResourceNumbers>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = numbers;
    }
}

/// A number of an Integration.
type Number = (Metric, fn(&ResourceNumbers) -> Option<f64>);

const OF_INTEGRATIONS: [Number; 3] = [
    (defined::LAG, |resource| resource.lag.map(number)),
    (defined::OLDEST_WAITING, |resource| resource.oldest_waiting),
    (defined::DEAD_LETTERS, |resource| resource.dead_letters.map(number)),
];

#[allow(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
fn number(count: u64) -> f64 {
    count as f64
}

impl Collector for Resources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let resources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        describe(&mut encoder, &defined::READY, |mut values| {
            for ResourceNumbers { kind, name, ready, .. } in resources.iter() {
                let labels = [("kind", *kind), ("namespace", &*name.namespace), ("name", &*name.name)];
                ConstGauge::new(i64::from(*ready)).encode(values.encode_family(&labels)?)?;
            }
            Ok(())
        })?;
        describe(&mut encoder, &defined::RECEIVERS_READY, |mut values| {
            for ResourceNumbers { name, receivers_ready, .. } in resources.iter() {
                let Some(ready) = receivers_ready else { continue };
                let labels = [("namespace", &*name.namespace), ("webhook", &*name.name)];
                ConstGauge::new(i64::from(*ready)).encode(values.encode_family(&labels)?)?;
            }
            Ok(())
        })?;
        for (metric, value) in &OF_INTEGRATIONS {
            describe(&mut encoder, metric, |mut values| {
                for resource in resources.iter() {
                    let Some(value) = value(resource) else { continue };
                    let labels = [("namespace", &*resource.name.namespace), ("integration", &*resource.name.name)];
                    ConstGauge::new(value).encode(values.encode_family(&labels)?)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}
