//! What an event is called: its id, type, key and sequence, taken from where the Webhook says, or from a cloud event's attributes.
//!
//! - `sources`: where to look, in a form that cannot be wrong.
//! - `cloud`: CloudEvents in their three modes.

mod cloud;
mod sources;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::HeaderMap;

use self::sources::{Field, Id};
pub use self::{
    cloud::{CloudEvent, Malformed},
    sources::Sources,
};
use crate::json::Texts;

/// What an event is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Tells it from every other event of its source.
    pub id: String,
    pub event_type: Option<String>,
    /// Events with the same key stay in order.
    pub key: Option<String>,
    /// Its place among the sender's events.
    pub sequence: Option<String>,
}

/// An event of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub names: Names,
    /// Where it is a cloud event: what it says of itself, and its data.
    pub cloud: Option<CloudEvent>,
}

/// A request without a usable event. Its signature was right, so the sender is told what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("the event has no id: {place} {complaint}")]
    MissingId { place: String, complaint: &'static str },
    #[error(transparent)]
    CloudEvent(#[from] Malformed),
}

/// Where the names of an event are looked for.
#[derive(Debug)]
struct Request<'a> {
    headers: &'a HeaderMap,
    body: &'a [u8],
    /// What stands where the Webhook says in the body.
    texts: Texts<'a>,
}

/// Longer ids are refused: an id is a name, and becomes a header of the record.
const LONGEST_ID: usize = 1024;

impl Sources {
    /// The events of a request, one unless it is a batch. A type, key or sequence that is not there is `None`; an id that is not
    /// there is an error.
    pub fn events(&self, headers: &HeaderMap, body: &Bytes) -> Result<Vec<Event>, Unusable> {
        match cloud::events(self.cloud_events, headers, body)? {
            Some(events) => Ok(events.into_iter().map(|event| self.of_cloud_event(headers, event)).collect()),
            None => Ok(vec![Event { names: self.names(headers, body)?, cloud: None }]),
        }
    }

    fn names(&self, headers: &HeaderMap, body: &[u8]) -> Result<Names, Unusable> {
        let request = Request { headers, body, texts: self.in_body.texts(body) };
        Ok(Names {
            id: self.id(&request)?,
            event_type: self.event_type.as_ref().and_then(|field| field.find(&request)),
            key: self.key.as_ref().and_then(|field| field.find(&request)),
            sequence: self.sequence.as_ref().and_then(|field| field.find(&request)),
        })
    }

    /// A cloud event names itself; key and sequence may stand in its data.
    fn of_cloud_event(&self, headers: &HeaderMap, event: CloudEvent) -> Event {
        let data = event.data.as_deref().unwrap_or_default();
        let request = Request { headers, body: data, texts: self.in_data.texts(data) };
        let find = |field: &Option<Field>| field.as_ref().and_then(|field| field.find(&request));
        let attribute = |name: &str| event.attributes.get(name).cloned();
        let names = Names {
            id: event.attributes["id"].clone(),
            event_type: attribute("type"),
            key: find(&self.key).or_else(|| attribute("partitionkey")),
            sequence: find(&self.sequence).or_else(|| attribute("sequence")),
        };
        Event { names, cloud: Some(event) }
    }

    fn id(&self, request: &Request<'_>) -> Result<String, Unusable> {
        match &self.id {
            Id::BodyHash => Ok(body_hash(request.body)),
            Id::Field(field) => field.id(request),
            Id::FieldOrBodyHash(field) => Ok(field.id(request).unwrap_or_else(|_| body_hash(request.body))),
        }
    }
}

fn body_hash(body: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, body))
}

impl Event {
    /// What tells it from every other event: a cloud event's id is unique within its source, which others do not have. How long the source is
    /// stands before it, for both may hold any character.
    pub fn identity(&self) -> String {
        let source = self.cloud.as_ref().map_or("", |event| event.attributes["source"].as_str());
        [&source.len().to_string(), " ", source, &self.names.id].concat()
    }
}

impl Field {
    fn id(&self, request: &Request<'_>) -> Result<String, Unusable> {
        let missing = |complaint| Unusable::MissingId { place: self.to_string(), complaint };
        match self.find(request) {
            None => Err(missing("is missing, repeated, or neither text nor a whole number")),
            Some(id) if id.is_empty() => Err(missing("is empty")),
            Some(id) if id.len() > LONGEST_ID => Err(missing("is longer than 1,024 bytes")),
            Some(id) => Ok(id),
        }
    }

    fn find(&self, request: &Request<'_>) -> Option<String> {
        match self {
            Self::Header(name) => {
                let mut values = request.headers.get_all(name).iter();
                let value = values.next()?.to_str().ok()?;
                values.next().is_none().then(|| value.to_owned())
            }
            Self::JsonPointer(pointer) => request.texts.at(pointer).map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod anything;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::HeaderMap;
    use serde_json::json;
    use sluice_crds::wire::{EventSources, FieldSource, IdSource};

    use super::*;
    use crate::verify::Defaults;

    fn names(sources: &EventSources, headers: &[(&'static str, &str)], body: &str) -> Result<Names, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let sources = Sources::of(sources, &Defaults::default()).unwrap();
        sources.names(&map, body.as_bytes()).map_err(|error| error.to_string())
    }

    fn id_at(pointer: &str) -> EventSources {
        EventSources { id: Some(IdSource::JsonPointer(pointer.into())), ..EventSources::default() }
    }

    #[test]
    fn names_are_taken_from_headers_and_body() {
        let sources = EventSources {
            id: Some(IdSource::Header("X-Id".into())),
            event_type: Some(FieldSource::JsonPointer("/type".into())),
            key: Some(FieldSource::JsonPointer("/data/customer".into())),
            sequence: Some(FieldSource::JsonPointer("/created".into())),
            ..EventSources::default()
        };
        let body = r#"{"type": "paid", "data": {"customer": 17}, "created": 1700000000}"#;
        let expected = Names {
            id: "e1".into(),
            event_type: Some("paid".into()),
            key: Some("17".into()),
            sequence: Some("1700000000".into()),
        };
        assert_eq!(names(&sources, &[("x-id", "e1")], body), Ok(expected));
    }

    #[test]
    fn without_a_source_the_body_is_the_id() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(names(&EventSources::default(), &[], "abc").unwrap().id, expected);
    }

    #[test]
    fn an_id_is_text_or_a_whole_number() {
        for (body, expected) in [
            (r#"{"id": "a"}"#, Some("a")),
            (r#"{"id": "\u00e9\n"}"#, Some("é\n")),
            (r#"{"id": -7}"#, Some("-7")),
            (r#"{"id": 18446744073709551615}"#, Some("18446744073709551615")),
            // As a floating point number it would be equal to its neighbours, and one of two events be lost.
            (r#"{"id": 18446744073709551616}"#, None),
            (r#"{"id": 1.5}"#, None),
            (r#"{"id": ""}"#, None),
            (r#"{"id": null}"#, None),
            (r#"{"id": ["a"]}"#, None),
            (r#"{"name": "a"}"#, None),
            (r#"{"id": "a""#, None),
            ("", None),
        ] {
            let found = names(&id_at("/id"), &[], body);
            assert_eq!(found.as_ref().ok().map(|names| names.id.as_str()), expected, "{body}");
            assert!(expected.is_some() || found.unwrap_err().contains("/id"), "{body}");
        }
    }

    #[test]
    fn an_id_that_is_no_name_is_refused() {
        let long = format!(r#"{{"id": "{}"}}"#, "a".repeat(1025));
        assert!(names(&id_at("/id"), &[], &long).unwrap_err().contains("1,024"));
        let header = EventSources { id: Some(IdSource::Header("x-id".into())), ..EventSources::default() };
        assert!(names(&header, &[("x-id", "a"), ("x-id", "b")], "").unwrap_err().contains("x-id"));
    }

    #[test]
    fn an_event_without_type_or_key_is_an_event() {
        let sources = EventSources {
            id: None,
            event_type: Some(FieldSource::Header("x-type".into())),
            key: Some(FieldSource::JsonPointer("/customer".into())),
            ..EventSources::default()
        };
        for body in ["{}", "no json", &"[".repeat(100_000)] {
            let found = names(&sources, &[], body).unwrap();
            assert_eq!((found.event_type, found.key), (None, None));
        }
    }

    #[test]
    fn no_two_events_have_the_same_identity() {
        let sources = EventSources { cloud_events: sluice_crds::CloudEvents::Accept, ..id_at("/id") };
        let sources = Sources::of(&sources, &Defaults::default()).unwrap();
        let identity = |content_type: &'static str, body: serde_json::Value| {
            let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, content_type.parse().unwrap())]);
            sources.events(&headers, &body.to_string().into()).unwrap()[0].identity()
        };
        let cloud = |source: &str, id: &str| {
            let event = json!({"specversion": "1.0", "type": "t", "source": source, "id": id});
            identity("application/cloudevents+json", event)
        };
        let plain = |id: &str| identity("application/json", json!({ "id": id }));
        let all = [
            cloud("a b", "c"),
            cloud("a", "b c"),
            cloud("a", "bc"),
            cloud("ab", "c"),
            cloud("1", " bc"),
            plain("a b c"),
            plain("abc"),
            plain(&cloud("a", "bc")),
        ];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
        assert_eq!(cloud("a", "bc"), cloud("a", "bc"));
    }

    #[test]
    fn a_cloud_event_names_itself_and_its_data_may_hold_the_key() {
        let sources = EventSources {
            id: Some(IdSource::BodyHash),
            key: Some(FieldSource::JsonPointer("/customer".into())),
            cloud_events: sluice_crds::CloudEvents::Accept,
            ..EventSources::default()
        };
        let sources = Sources::of(&sources, &Defaults::default()).unwrap();
        let headers =
            HeaderMap::from_iter([(http::header::CONTENT_TYPE, "application/cloudevents+json".parse().unwrap())]);
        let events = |data: &str| {
            let attributes =
                r#""specversion": "1.0", "id": "1", "source": "/a", "type": "t", "partitionkey": "p", "sequence": "7""#;
            sources.events(&headers, &format!("{{{attributes}, \"data\": {data}}}").into()).unwrap()
        };
        let [event] = events(r#"{"customer": "c"}"#).try_into().unwrap();
        assert_eq!((event.identity().as_str(), event.names.key.as_deref()), ("2 /a1", Some("c")));
        assert_eq!((event.names.event_type.as_deref(), event.names.sequence.as_deref()), (Some("t"), Some("7")));
        assert_eq!(events("{}")[0].names.key.as_deref(), Some("p"));
    }
}
