//! The counts and the moment's numbers as Prometheus reads them.

use std::borrow::Cow;

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use sluice_crds::metrics::receiver as defined;
use sluice_telemetry::{
    Certificates,
    metrics::{self, Define as _},
};

use crate::receive::Receiver;

/// All metrics of a receiver.
pub(super) struct Metrics {
    registry: Registry,
    remembered: Gauge,
    window: Gauge,
    unusable_secrets: Gauge,
}

impl Metrics {
    pub(super) fn of(receiver: &Receiver) -> Self {
        let webhook = &receiver.endpoint.webhook;
        let labels = [("namespace", &webhook.namespace), ("webhook", &webhook.name)];
        let labels = labels.map(|(name, value)| (Cow::Borrowed(name), Cow::Owned(value.clone())));
        let mut registry = metrics::registry("receiver", env!("CARGO_PKG_VERSION"));
        registry.register_collector(Box::new(Certificates::default().of_kafka(&receiver.endpoint.connection)));
        let ours = registry.sub_registry_with_labels(labels.into_iter());
        receiver.counters.register(ours);
        let [remembered, window, unusable_secrets] = [(); 3].map(|()| Gauge::default());
        ours.define(&defined::EVENTS_REMEMBERED, remembered.clone());
        ours.define(&defined::DEDUPLICATION_WINDOW, window.clone());
        ours.define(&defined::SECRETS_UNUSABLE, unusable_secrets.clone());
        Self { registry, remembered, window, unusable_secrets }
    }

    /// The metrics as they are now.
    pub(super) fn text(&self, receiver: &Receiver) -> String {
        self.remembered.set(number(receiver.remembered()));
        self.window.set(number(receiver.window().as_secs()));
        self.unusable_secrets.set(number(receiver.keys.current().unusable.len()));
        metrics::text(&self.registry)
    }
}

fn number(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
