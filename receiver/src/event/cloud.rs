//! CloudEvents 1.0 over HTTP: in binary mode the attributes are headers, in structured mode the body holds attributes and data,
//! and a batch is a list of such. All three become the same: attributes and data.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt,
};

use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_TYPE};
use percent_encoding::percent_decode;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use sluice_crds::CloudEvents;

/// An event with its attributes as CloudEvents define them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEvent {
    /// Without `datacontenttype`, by their names in lower case. `id`, `source`, `specversion` and `type` are there.
    pub attributes: BTreeMap<String, String>,
    pub content_type: Option<String>,
    /// An event may have none.
    pub data: Option<Bytes>,
}

/// A request that says that it is a cloud event, and is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the cloud event has no attribute {0}")]
    Missing(&'static str),
    #[error("the cloud event's specversion is {0:?}; send version 1.0")]
    Version(String),
    #[error("the cloud event's attribute {0:?} is repeated, has no valid name, or is neither text nor a number")]
    Attribute(String),
    #[error("the cloud event's data_base64 is no base64, or stands beside data")]
    Data,
    #[error("the body is no cloud event in JSON: {0}")]
    Json(String),
    #[error("batches of cloud events are not switched on for this endpoint; send one at a time")]
    Batch,
    #[error("the batch has more than {BATCH} events")]
    LargeBatch,
}

const PREFIX: &str = "ce-";
const STRUCTURED: &str = "application/cloudevents+json";
const BATCHED: &str = "application/cloudevents-batch+json";
const REQUIRED: [&str; 4] = ["id", "source", "specversion", "type"];
/// Each event of a batch becomes a record of its own.
const BATCH: usize = 1000;
/// The specification asks for at most 20 characters; it does not forbid more.
const LONGEST_NAME: usize = 64;

/// As many as a request has headers, for binary mode.
const MEMBERS: usize = 100;

/// An event in the JSON format, its members not yet looked at.
struct Members<'a>(HashMap<String, &'a RawValue>);

/// The cloud events of a request; `None` where it is none.
pub fn events(accept: CloudEvents, headers: &HeaderMap, body: &Bytes) -> Result<Option<Vec<CloudEvent>>, Malformed> {
    if accept == CloudEvents::Ignore {
        return Ok(None);
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match essence(content_type).as_str() {
        STRUCTURED => Ok(Some(vec![structured(parse(body)?, body)?])),
        BATCHED if accept == CloudEvents::AcceptBatches => batch(body).map(Some),
        BATCHED => Err(Malformed::Batch),
        _ if accept.in_headers() && headers.contains_key("ce-specversion") => {
            Ok(Some(vec![binary(headers, content_type, body)?]))
        }
        _ => Ok(None),
    }
}

/// A media type without its parameters.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn binary(headers: &HeaderMap, content_type: &str, body: &Bytes) -> Result<CloudEvent, Malformed> {
    let mut attributes = BTreeMap::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(PREFIX) else { continue };
        let malformed = || Malformed::Attribute(name.to_owned());
        let value = percent_decode(value.as_bytes()).decode_utf8().map_err(|_| malformed())?;
        if !is_name(name) || attributes.insert(name.to_owned(), value.into_owned()).is_some() {
            return Err(malformed());
        }
    }
    let content_type = Some(content_type.to_owned()).filter(|text| !text.is_empty());
    complete(CloudEvent { attributes, content_type, data: Some(body.clone()).filter(|body| !body.is_empty()) })
}

fn batch(body: &Bytes) -> Result<Vec<CloudEvent>, Malformed> {
    let mut events = Vec::new();
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = Batch(&mut events).deserialize(&mut json).and_then(|()| json.end());
    if events.len() > BATCH {
        return Err(Malformed::LargeBatch);
    }
    read.map_err(|error| Malformed::Json(error.to_string()))?;
    events.into_iter().map(|members| structured(members, body)).collect()
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Malformed> {
    serde_json::from_slice(body).map_err(|error| Malformed::Json(error.to_string()))
}

fn structured(Members(mut members): Members<'_>, body: &Bytes) -> Result<CloudEvent, Malformed> {
    let (data, base64) = (members.remove("data"), members.remove("data_base64"));
    let content_type = members.remove("datacontenttype").map(|raw| text("datacontenttype", raw)).transpose()?.flatten();
    let data = match (data, base64) {
        (Some(data), None) => Some(json_data(data, content_type.as_deref(), body)?),
        (None, Some(data)) => Some(base64_data(data)?),
        (None, None) => None,
        (Some(_), Some(_)) => return Err(Malformed::Data),
    };
    let mut attributes = BTreeMap::new();
    for (name, raw) in members {
        if !is_name(&name) {
            return Err(Malformed::Attribute(name));
        }
        attributes.extend(text(&name, raw)?.map(|value| (name, value)));
    }
    // Without a type, data in JSON is JSON.
    let content_type = content_type.or_else(|| data.is_some().then(|| "application/json".to_owned()));
    complete(CloudEvent { attributes, content_type, data })
}

/// Data in JSON is the bytes as they came; text of another type is what stands in the string.
fn json_data(data: &RawValue, content_type: Option<&str>, body: &Bytes) -> Result<Bytes, Malformed> {
    let is_json = content_type.is_none_or(|content_type| essence(content_type).ends_with("json"));
    if !is_json && data.get().starts_with('"') {
        return Ok(parse::<String>(data.get().as_bytes())?.into());
    }
    Ok(body.slice_ref(data.get().as_bytes()))
}

fn base64_data(data: &RawValue) -> Result<Bytes, Malformed> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let text: Cow<'_, str> = parse(data.get().as_bytes())?;
    STANDARD.decode(text.as_bytes()).map(Bytes::from).map_err(|_| Malformed::Data)
}

/// An attribute's value as text (CloudEvents, "Type system"); `null` means that it is absent.
fn text(name: &str, raw: &RawValue) -> Result<Option<String>, Malformed> {
    // Not even to be read: it may take many times its size.
    if raw.get().starts_with(['[', '{']) {
        return Err(Malformed::Attribute(name.to_owned()));
    }
    match parse(raw.get().as_bytes())? {
        serde_json::Value::String(text) => Ok(Some(text)),
        serde_json::Value::Bool(value) => Ok(Some(value.to_string())),
        serde_json::Value::Number(number) if number.is_i64() => Ok(Some(number.to_string())),
        serde_json::Value::Null => Ok(None),
        _ => Err(Malformed::Attribute(name.to_owned())),
    }
}

fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// An event that has all that an event must have.
fn complete(event: CloudEvent) -> Result<CloudEvent, Malformed> {
    for name in REQUIRED {
        if event.attributes.get(name).is_none_or(String::is_empty) {
            return Err(Malformed::Missing(name));
        }
    }
    match event.attributes["specversion"].as_str() {
        "1.0" => Ok(event),
        version => Err(Malformed::Version(version.to_owned())),
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = HashMap::new();
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            members.insert(name, value);
            if members.len() > MEMBERS {
                return Err(A::Error::custom(format_args!("an event has more than {MEMBERS} members")));
            }
        }
        Ok(Members(members))
    }
}

/// Reads events up to the first one that is too many.
struct Batch<'v, 'a>(&'v mut Vec<Members<'a>>);

impl<'de> DeserializeSeed<'de> for Batch<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Batch<'_, 'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(event) = list.next_element()? {
            self.0.push(event);
            if self.0.len() > BATCH {
                return Err(A::Error::custom("too many events"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BINARY: [(&str, &str); 6] = [
        ("ce-specversion", "1.0"),
        ("ce-id", "e%201"),
        ("ce-source", "/partner"),
        ("ce-type", "order.paid"),
        ("ce-partitionkey", "Euro%20%E2%82%AC"),
        ("content-type", "text/plain; charset=utf-8"),
    ];
    const JSON: &str = r#"{"specversion": "1.0", "id": "e 1", "source": "/partner", "type": "order.paid", "seq": 7, "none": null, "data": {"a" : 1.0}}"#;

    fn read(accept: CloudEvents, pairs: &[(&str, &str)], body: &str) -> Result<Option<Vec<CloudEvent>>, Malformed> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        events(accept, &headers, &Bytes::copy_from_slice(body.as_bytes()))
    }

    fn read_json(body: &str) -> Result<CloudEvent, Malformed> {
        let content_type = [("content-type", "application/cloudevents+json; charset=UTF-8")];
        read(CloudEvents::Accept, &content_type, body).map(|events| events.unwrap().remove(0))
    }

    fn attributes(event: &CloudEvent) -> Vec<(&str, &str)> {
        event.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    #[test]
    fn in_binary_mode_the_attributes_are_headers() {
        let [event] = read(CloudEvents::Accept, &BINARY, "text").unwrap().unwrap().try_into().unwrap();
        let common = [
            ("id", "e 1"),
            ("partitionkey", "Euro €"),
            ("source", "/partner"),
            ("specversion", "1.0"),
            ("type", "order.paid"),
        ];
        assert_eq!(attributes(&event), common);
        assert_eq!(
            (event.content_type.as_deref(), event.data),
            (Some("text/plain; charset=utf-8"), Some("text".into()))
        );
        assert_eq!(read(CloudEvents::Accept, &BINARY, "").unwrap().unwrap()[0].data, None);
    }

    #[test]
    fn in_structured_mode_data_is_the_bytes_as_they_came() {
        let event = read_json(JSON).unwrap();
        let expected =
            [("id", "e 1"), ("seq", "7"), ("source", "/partner"), ("specversion", "1.0"), ("type", "order.paid")];
        assert_eq!(attributes(&event), expected);
        assert_eq!(
            (event.content_type.as_deref(), event.data),
            (Some("application/json"), Some(r#"{"a" : 1.0}"#.into()))
        );
        for (data, content_type, expected) in [
            (r#""datacontenttype": "text/plain", "data": "a\n""#, Some("text/plain"), Some("a\n")),
            (
                r#""datacontenttype": "application/vnd.a+json", "data": "a\n""#,
                Some("application/vnd.a+json"),
                Some(r#""a\n""#),
            ),
            (r#""datacontenttype": "text/xml", "data_base64": "PGEvPg==""#, Some("text/xml"), Some("<a/>")),
            (r#""extra": true"#, None, None),
        ] {
            let event = read_json(&JSON.replace(r#""data": {"a" : 1.0}"#, data)).unwrap();
            let found = event.data.as_deref().map(|data| std::str::from_utf8(data).unwrap());
            assert_eq!((event.content_type.as_deref(), found), (content_type, expected), "{data}");
        }
    }

    #[test]
    fn a_batch_is_taken_only_where_it_is_switched_on() {
        let content_type = [("content-type", "application/cloudevents-batch+json")];
        let body = format!("[{JSON}, {}]", JSON.replace("e 1", "e 2"));
        for accept in [CloudEvents::Accept, CloudEvents::AcceptStructured] {
            assert_eq!(read(accept, &content_type, &body), Err(Malformed::Batch));
        }
        let events = read(CloudEvents::AcceptBatches, &content_type, &body).unwrap().unwrap();
        assert_eq!(events.iter().map(|event| event.attributes["id"].as_str()).collect::<Vec<_>>(), ["e 1", "e 2"]);
        assert_eq!(read(CloudEvents::AcceptBatches, &content_type, "[]"), Ok(Some(vec![])));
        let large = format!("[{}]", vec![JSON; BATCH + 1].join(","));
        assert_eq!(read(CloudEvents::AcceptBatches, &content_type, &large), Err(Malformed::LargeBatch));
        // What comes behind the first one that is too many is not read.
        let endless = format!("{}, {{", large.trim_end_matches(']'));
        assert_eq!(read(CloudEvents::AcceptBatches, &content_type, &endless), Err(Malformed::LargeBatch));
        for broken in ["[", "{}", "[1]", "[] []"] {
            let refused = read(CloudEvents::AcceptBatches, &content_type, broken);
            assert!(matches!(refused, Err(Malformed::Json(_))), "{broken}: {refused:?}");
        }
    }

    #[test]
    fn an_event_has_as_many_members_as_a_request_has_headers() {
        let with = |more: usize| {
            let more: Vec<_> = (0..more).map(|number| format!("\"a{number}\": 1, ")).collect();
            read_json(&JSON.replace("\"seq\": 7, ", &more.concat()))
        };
        // Beside specversion, id, source, type, data, and one that is null.
        assert_eq!(with(94).unwrap().attributes.len(), 98);
        let Err(Malformed::Json(reason)) = with(95) else { panic!("taken") };
        assert!(reason.contains("more than 100 members"), "{reason}");
    }

    #[test]
    fn what_is_no_cloud_event_or_is_not_to_be_is_left_alone() {
        assert_eq!(read(CloudEvents::Ignore, &BINARY, "text"), Ok(None));
        assert_eq!(read(CloudEvents::AcceptStructured, &BINARY, "text"), Ok(None));
        assert_eq!(read(CloudEvents::Accept, &[("ce-id", "1"), ("content-type", "application/json")], "{}"), Ok(None));
    }

    #[test]
    fn what_is_malformed_is_refused_with_the_reason() {
        for (header, value, expected) in [
            ("ce-id", None, Malformed::Missing("id")),
            ("ce-type", Some(""), Malformed::Missing("type")),
            ("ce-specversion", Some("0.3"), Malformed::Version("0.3".into())),
            ("ce-source", Some("%ff"), Malformed::Attribute("source".into())),
            ("ce-a-b", Some("1"), Malformed::Attribute("a-b".into())),
        ] {
            let mut pairs: Vec<_> = BINARY.into_iter().filter(|(name, _)| *name != header).collect();
            pairs.extend(value.map(|value| (header, value)));
            assert_eq!(read(CloudEvents::Accept, &pairs, ""), Err(expected));
        }
        let twice: Vec<_> = BINARY.into_iter().chain([("ce-id", "2")]).collect();
        assert_eq!(read(CloudEvents::Accept, &twice, ""), Err(Malformed::Attribute("id".into())));
        for (from, to) in [
            (r#""data": {"a" : 1.0}"#, r#""data": 1, "data_base64": """#),
            (r#""data": {"a" : 1.0}"#, r#""data_base64": "!""#),
            (r#""seq": 7"#, r#""seq": 7.5"#),
            (r#""seq": 7"#, r#""Seq": "7""#),
            (r#""seq": 7"#, r#""seq": []"#),
            (r#""id": "e 1", "#, ""),
            ("}}", "}"),
        ] {
            assert!(read_json(&JSON.replace(from, to)).is_err(), "{to}");
        }
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn any_body_is_read_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..300), text in "[\\[\\]{}\",:a-z0-9 ]{0,200}") {
            for body in [Bytes::from(body.clone()), Bytes::from(text.clone()), Bytes::from(JSON.replace('7', &text))] {
                for content_type in [STRUCTURED, BATCHED] {
                    let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())]);
                    for event in events(CloudEvents::AcceptBatches, &headers, &body).into_iter().flatten().flatten() {
                        prop_assert_eq!(event.attributes["specversion"].as_str(), "1.0");
                    }
                }
            }
        }
    }
}
