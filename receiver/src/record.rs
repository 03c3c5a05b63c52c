//! The Kafka record of an event: the body as it came, and the attributes of a cloud event as headers
//! (`CloudEvents` 1.0, Kafka protocol binding, binary content mode).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, header};
use jiff::Timestamp;
use sluice_crds::NamespacedName;
use sluice_kafka::{Header, OutgoingRecord};

use crate::event::Names;

/// What all records of a Webhook have in common.
#[derive(Debug)]
pub struct Envelope {
    topic: Arc<str>,
    source: String,
    /// The provider's headers that stay with the event.
    kept: &'static [&'static str],
}

/// An event as it was received.
#[derive(Clone, Debug)]
pub struct Received {
    pub names: Names,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub at: Timestamp,
}

/// The type of events where the Webhook names none, or an event has none.
const DEFAULT_TYPE: &str = "dev.sluice.webhook";
/// W3C Trace Context: the trace goes on behind the topic.
const TRACE: [&str; 2] = ["traceparent", "tracestate"];

impl Envelope {
    /// For the events of one Webhook.
    pub fn new(webhook: &NamespacedName, topic: &str, kept: &'static [&'static str]) -> Self {
        let source = format!("/{}/webhooks/{}", webhook.namespace, webhook.name);
        Self { topic: topic.into(), source, kept }
    }

    /// The record of an event. Only headers that are named here or kept for the provider get into it, so no credential does.
    pub fn record(&self, event: Received) -> OutgoingRecord {
        OutgoingRecord {
            topic: Arc::clone(&self.topic),
            partition: None,
            headers: self.headers(&event),
            key: event.names.key.map(Bytes::from),
            value: Some(event.body),
            timestamp: Some(event.at.as_millisecond()),
        }
    }

    fn headers(&self, event: &Received) -> Vec<Header> {
        let text = |name: &str, value: &str| Header::new(name, Bytes::copy_from_slice(value.as_bytes()));
        let mut headers = vec![
            text("ce_specversion", "1.0"),
            text("ce_id", &event.names.id),
            text("ce_source", &self.source),
            text("ce_type", event.names.event_type.as_deref().unwrap_or(DEFAULT_TYPE)),
            text("ce_time", &event.at.to_string()),
        ];
        let carried = [header::CONTENT_TYPE.as_str()].into_iter().chain(TRACE).chain(self.kept.iter().copied());
        for name in carried {
            let values = event.headers.get_all(name).iter();
            headers.extend(values.map(|value| Header::new(name, Bytes::copy_from_slice(value.as_bytes()))));
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_the_body_as_it_came_with_the_attributes_of_a_cloud_event() {
        let webhook = NamespacedName { namespace: "shop".into(), name: "github".into() };
        let record = Envelope::new(&webhook, "shop.github", &["x-github-event"]).record(event(&[
            ("content-type", "application/json"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("x-github-event", "push"),
            ("authorization", "Bearer secret"),
            ("cookie", "session=secret"),
            ("x-hub-signature-256", "sha256=00"),
        ]));
        assert_eq!(
            (&*record.topic, record.partition, record.timestamp),
            ("shop.github", None, Some(1_614_265_330_123))
        );
        assert_eq!((record.key, record.value), (Some("c1".into()), Some(Bytes::from_static(b"\x00 any bytes \xff"))));
        let headers: Vec<_> = record.headers.iter().map(|header| (header.name.as_str(), value(header))).collect();
        let expected = [
            ("ce_specversion", "1.0"),
            ("ce_id", "e1"),
            ("ce_source", "/shop/webhooks/github"),
            ("ce_type", "dev.sluice.webhook"),
            ("ce_time", "2021-02-25T15:02:10.123Z"),
            ("content-type", "application/json"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("x-github-event", "push"),
        ];
        assert_eq!(headers, expected);
    }

    fn event(headers: &[(&'static str, &str)]) -> Received {
        Received {
            names: Names { id: "e1".into(), event_type: None, key: Some("c1".into()) },
            headers: headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect(),
            body: Bytes::from_static(b"\x00 any bytes \xff"),
            at: Timestamp::from_millisecond(1_614_265_330_123).unwrap(),
        }
    }

    fn value(header: &Header) -> &str {
        std::str::from_utf8(header.value.as_deref().unwrap()).unwrap()
    }
}
