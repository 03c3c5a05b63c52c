//! The counts and the moment's numbers as Prometheus reads them (`OpenMetrics` text).

use std::borrow::Cow;

use prometheus_client::{encoding::text, metrics::gauge::Gauge, registry::Registry};

use crate::receive::Receiver;

/// All metrics of a receiver.
pub(super) struct Metrics {
    registry: Registry,
    remembered: Gauge,
    window: Gauge,
    unusable_secrets: Gauge,
}

/// The content type of the text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Metrics {
    pub(super) fn of(receiver: &Receiver) -> Self {
        let webhook = &receiver.endpoint.webhook;
        let labels = [("namespace", &webhook.namespace), ("webhook", &webhook.name)];
        let labels = labels.map(|(name, value)| (Cow::Borrowed(name), Cow::Owned(value.clone())));
        let mut registry = Registry::with_prefix_and_labels("sluice_receiver", labels.into_iter());
        receiver.counters.register(&mut registry);
        let [remembered, window, unusable_secrets] = [(); 3].map(|()| Gauge::default());
        registry.register("events_remembered", "Events whose ids are known", remembered.clone());
        registry.register("deduplication_window_seconds", "How far back every id is known", window.clone());
        registry.register(
            "secrets_unusable",
            "Secrets and published keys that cannot be used",
            unusable_secrets.clone(),
        );
        Self { registry, remembered, window, unusable_secrets }
    }

    /// The metrics as they are now.
    pub(super) fn text(&self, receiver: &Receiver) -> String {
        self.remembered.set(number(receiver.remembered()));
        self.window.set(number(receiver.window().as_secs()));
        self.unusable_secrets.set(number(receiver.keys.current().unusable.len()));
        let mut encoded = String::new();
        text::encode(&mut encoded, &self.registry).expect("a String takes any text");
        encoded
    }
}

fn number(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
