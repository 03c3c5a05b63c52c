//! The Kafka record of an event: the body as it came, and the attributes of a cloud event as headers
//! (`CloudEvents` 1.0, Kafka protocol binding, binary content mode).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};
use jiff::Timestamp;
use sluice_crds::NamespacedName;
use sluice_kafka::{Header, OutgoingRecord};
use sluice_telemetry::traces::TRACE_HEADERS;

use crate::event::{CloudEvent, Event, Names};

/// What all records of a Webhook have in common.
#[derive(Debug)]
pub struct Envelope {
    topic: Arc<str>,
    source: String,
    /// The headers that stay with the event.
    kept: Vec<HeaderName>,
}

/// An event as it was received.
#[derive(Clone, Debug)]
pub struct Received {
    pub event: Event,
    pub headers: Arc<HeaderMap>,
    pub body: Bytes,
    pub at: Timestamp,
}

/// The type of events where the Webhook names none, or an event has none.
const DEFAULT_TYPE: &str = "dev.sluice.webhook";
/// The CloudEvents extension "sequence".
const SEQUENCE: &str = "ce_sequence";

impl Envelope {
    /// For the events of one Webhook.
    pub fn new(webhook: &NamespacedName, topic: &str, kept: Vec<HeaderName>) -> Self {
        let source = format!("/{}/webhooks/{}", webhook.namespace, webhook.name);
        Self { topic: topic.into(), source, kept }
    }

    /// The record of an event. Only headers that are named here or kept get into it, so no credential does.
    pub fn record(&self, received: Received) -> OutgoingRecord {
        let headers = self.headers(&received);
        let Event { names, cloud } = received.event;
        OutgoingRecord {
            topic: Arc::clone(&self.topic),
            partition: None,
            headers,
            key: names.key.map(Bytes::from),
            value: match cloud {
                Some(event) => event.data,
                None => Some(received.body),
            },
            timestamp: Some(received.at.as_millisecond()),
        }
    }

    fn headers(&self, received: &Received) -> Vec<Header> {
        let mut headers = match &received.event.cloud {
            Some(event) => of_cloud_event(event, received.at),
            None => self.of_names(&received.event.names, received.at),
        };
        let content_type = received.event.cloud.is_none().then_some(header::CONTENT_TYPE.as_str());
        let carried = content_type.into_iter().chain(TRACE_HEADERS).chain(self.kept.iter().map(HeaderName::as_str));
        for name in carried {
            let values = received.headers.get_all(name).iter();
            headers.extend(values.map(|value| Header::new(name, Bytes::copy_from_slice(value.as_bytes()))));
        }
        if let Some(sequence) = &received.event.names.sequence {
            headers.retain(|header| header.name != SEQUENCE);
            headers.push(text(SEQUENCE, sequence));
        }
        headers
    }

    fn of_names(&self, names: &Names, at: Timestamp) -> Vec<Header> {
        vec![
            text("ce_specversion", "1.0"),
            text("ce_id", &names.id),
            text("ce_source", &self.source),
            text("ce_type", names.event_type.as_deref().unwrap_or(DEFAULT_TYPE)),
            text("ce_time", &at.to_string()),
        ]
    }
}

/// The attributes that an event brings along. Its time is the sender's where it has one.
fn of_cloud_event(event: &CloudEvent, at: Timestamp) -> Vec<Header> {
    let attributes = event.attributes.iter().map(|(name, value)| text(&format!("ce_{name}"), value));
    let time = (!event.attributes.contains_key("time")).then(|| text("ce_time", &at.to_string()));
    let content_type = event.content_type.as_ref().map(|value| text(header::CONTENT_TYPE.as_str(), value));
    attributes.chain(time).chain(content_type).collect()
}

fn text(name: &str, value: &str) -> Header {
    Header::new(name, Bytes::copy_from_slice(value.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_the_body_as_it_came_with_the_attributes_of_a_cloud_event() {
        let webhook = NamespacedName { namespace: "shop".into(), name: "github".into() };
        let record =
            Envelope::new(&webhook, "shop.github", vec![HeaderName::from_static("x-github-event")]).record(event(&[
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
            ("ce_sequence", "7"),
        ];
        assert_eq!(headers, expected);
    }

    fn event(headers: &[(&'static str, &str)]) -> Received {
        let names = Names { id: "e1".into(), event_type: None, key: Some("c1".into()), sequence: Some("7".into()) };
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Received {
            event: Event { names, cloud: None },
            headers: headers.into(),
            body: Bytes::from_static(b"\x00 any bytes \xff"),
            at: Timestamp::from_millisecond(1_614_265_330_123).unwrap(),
        }
    }

    fn value(header: &Header) -> &str {
        std::str::from_utf8(header.value.as_deref().unwrap()).unwrap()
    }
}
