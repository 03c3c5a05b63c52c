//! The Kafka record of an event: the body as it came, and the attributes of a cloud event as headers
//! (`CloudEvents` 1.0, Kafka protocol binding, binary content mode).

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use sluice_crds::NamespacedName;
use sluice_kafka::{Header, OutgoingRecord};
use sluice_telemetry::traces::TRACE_HEADERS;

use crate::event::{CloudEvent, Event, Names};

/// What all records of a Webhook have in common.
#[derive(Debug)]
pub struct Envelope {
    topic: Arc<str>,
    source: Bytes,
    /// The headers that stay with the event: those of its trace, and those that the Webhook keeps.
    carried: Vec<(HeaderName, Cow<'static, str>)>,
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
/// What a header takes in bytes, beside its text.
const HEADER: usize = 64;
const CONTENT_TYPE: &str = "content-type";
/// The CloudEvents extension "sequence".
const SEQUENCE: &str = "ce_sequence";

impl Envelope {
    /// For the events of one Webhook.
    pub fn new(webhook: &NamespacedName, topic: &str, kept: Vec<HeaderName>) -> Self {
        let source = format!("/{}/webhooks/{}", webhook.namespace, webhook.name);
        let of_trace = TRACE_HEADERS.map(|name| (HeaderName::from_static(name), Cow::Borrowed(name)));
        let kept = kept.into_iter().map(|name| (name.clone(), Cow::Owned(name.as_str().to_owned())));
        let carried = of_trace.into_iter().chain(kept).collect();
        Self { topic: topic.into(), source: source.into(), carried }
    }

    /// The record of an event. Only headers that are named here or kept get into it, so no credential does.
    pub fn record(&self, received: Received) -> OutgoingRecord {
        let Received { event: Event { names, cloud }, headers: given, body, at } = received;
        let Names { id, event_type, key, sequence } = names;
        let (mut headers, value) = match cloud {
            Some(event) => of_cloud_event(event, at),
            None => (self.of_event(id, event_type, &given, at), Some(body)),
        };
        headers.extend(self.carried.iter().flat_map(|(name, text)| as_given(&given, name, text)));
        if let Some(sequence) = sequence {
            headers.retain(|header| header.name != SEQUENCE);
            headers.push(Header::new(SEQUENCE, sequence));
        }
        OutgoingRecord {
            topic: Arc::clone(&self.topic),
            partition: None,
            headers,
            key: key.map(Bytes::from),
            value,
            timestamp: Some(at.as_millisecond()),
        }
    }

    /// What the headers that stay with each event of a request take, in bytes.
    pub fn carried(&self, given: &HeaderMap) -> usize {
        let values =
            self.carried.iter().flat_map(|(name, text)| given.get_all(name).iter().map(move |value| (text, value)));
        values.map(|(name, value)| HEADER + name.len() + value.len()).sum()
    }

    fn of_event(&self, id: String, event_type: Option<String>, given: &HeaderMap, at: Timestamp) -> Vec<Header> {
        let of_event = [
            Header::new("ce_specversion", "1.0"),
            Header::new("ce_id", id),
            Header::new("ce_source", self.source.clone()),
            Header::new("ce_type", event_type.map_or(Bytes::from(DEFAULT_TYPE), Bytes::from)),
            Header::new("ce_time", at.to_string()),
        ];
        // Room for the type of its content too, and for those that are carried along.
        let mut headers = Vec::with_capacity(of_event.len() + 1 + self.carried.len());
        headers.extend(of_event);
        headers.extend(as_given(given, &header::CONTENT_TYPE, &Cow::Borrowed(CONTENT_TYPE)));
        headers
    }
}

/// The attributes that an event brings along, and its data. Its time is the sender's where it has one.
fn of_cloud_event(event: CloudEvent, at: Timestamp) -> (Vec<Header>, Option<Bytes>) {
    let CloudEvent { attributes, content_type, data } = event;
    let time = (!attributes.contains_key("time")).then(|| Header::new("ce_time", at.to_string()));
    let content_type = content_type.map(|value| Header::new(CONTENT_TYPE, value));
    let attributes = attributes.into_iter().map(|(name, value)| Header::new(format!("ce_{name}"), value));
    (attributes.chain(time).chain(content_type).collect(), data)
}

/// The headers of a request that have this name, which is written so.
#[allow(
    clippy::ptr_arg,
    reason = "a text that is known to the program is not copied, and any other one only where there is such a header"
)]
fn as_given(headers: &HeaderMap, name: &HeaderName, text: &Cow<'static, str>) -> impl Iterator<Item = Header> {
    let header = move |value: &HeaderValue| Header::new(text.clone(), Bytes::copy_from_slice(value.as_bytes()));
    headers.get_all(name).iter().map(header)
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
        let headers: Vec<_> = record.headers.iter().map(|header| (&*header.name, value(header))).collect();
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

    #[test]
    fn what_stays_with_an_event_is_weighed() {
        let webhook = NamespacedName { namespace: "shop".into(), name: "github".into() };
        let envelope = Envelope::new(&webhook, "shop.github", vec![HeaderName::from_static("x-tenant")]);
        let given = [("traceparent", "00-1"), ("x-tenant", "acme"), ("x-other", "long")];
        let mut headers: HeaderMap =
            given.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        assert_eq!(envelope.carried(&headers), 2 * HEADER + "traceparent00-1x-tenantacme".len());
        headers.append("x-tenant", "other".parse().unwrap());
        assert_eq!(envelope.carried(&headers), 3 * HEADER + "traceparent00-1x-tenantacmex-tenantother".len());
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
