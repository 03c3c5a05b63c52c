//! Whatever a sender writes has its events, or is told what is wrong with it.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use proptest::{
    collection::btree_map,
    collection::vec,
    prelude::*,
    sample::{Index, select},
};
use serde_json::{Value, json};
use sluice_crds::{
    CloudEvents,
    wire::{EventSources, FieldSource, IdSource},
};

use super::Sources;
use crate::{cases::cases, json::Places, verify::Defaults};

/// Pieces of what senders write, in any order.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"id\"",
        "\"data\"",
        "\"data_base64\"",
        "\"specversion\"",
        "\"1.0\"",
        "\"source\"",
        "\"type\"",
        "\"AAAA\"",
        "null",
        "true",
        "-0",
        "1e999",
        "18446744073709551616",
        "\\u0000",
        "\\ud800",
        "\u{e9}",
        " ",
    ];
    prop_oneof![
        vec(any::<u8>(), 0..200),
        vec(select(pieces.to_vec()), 0..30).prop_map(|pieces| pieces.concat().into_bytes())
    ]
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    let names = ["ce-specversion", "ce-id", "ce-source", "ce-type", "ce-", "ce-a-b", "content-type", "x-id"];
    let values = [
        "1.0",
        "e-1",
        "",
        "%",
        "%ff",
        "%e9",
        "\u{e9}",
        "application/cloudevents+json",
        "application/cloudevents-batch+json; charset=x",
    ];
    vec((select(names.to_vec()), select(values.to_vec())), 0..8).prop_map(|pairs| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    })
}

fn sources() -> impl Strategy<Value = Sources> {
    let id = select(vec![
        None,
        Some(IdSource::BodyHash),
        Some(IdSource::Header("x-id".into())),
        Some(IdSource::JsonPointer("/id".into())),
        Some(IdSource::JsonPointer("/0/~1".into())),
    ]);
    let modes =
        vec![CloudEvents::Ignore, CloudEvents::AcceptStructured, CloudEvents::Accept, CloudEvents::AcceptBatches];
    (id, select(modes)).prop_map(|(id, cloud_events)| {
        let key = Some(FieldSource::JsonPointer("/data/id".into()));
        let sources = EventSources { id, key, cloud_events, ..EventSources::default() };
        Sources::of(&sources, &Defaults::default()).unwrap()
    })
}

fn document() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![any::<String>().prop_map(Value::from), any::<i64>().prop_map(Value::from), Just(Value::Null)];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map("[a-z~/]{0,2}", inner, 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The ways to all that is in a document.
fn paths(document: &Value) -> Vec<Vec<String>> {
    let inner: Vec<(String, &Value)> = match document {
        Value::Array(items) => items.iter().enumerate().map(|(place, item)| (place.to_string(), item)).collect(),
        Value::Object(members) => members.iter().map(|(name, member)| (name.clone(), member)).collect(),
        _ => vec![],
    };
    let further = inner.into_iter().flat_map(|(step, value)| {
        paths(value).into_iter().map(move |path| std::iter::once(step.clone()).chain(path).collect::<Vec<_>>())
    });
    std::iter::once(vec![]).chain(further).collect()
}

/// Compares what is found in one pass with what stands in the value of the body.
fn look_for(paths: &[Vec<String>], document: &Value, body: &str) -> Result<(), TestCaseError> {
    let pointer = |path: &Vec<String>| -> String {
        path.iter().flat_map(|step| ["/".to_owned(), step.replace('~', "~0").replace('/', "~1")]).collect()
    };
    let pointers: Vec<String> = paths.iter().map(pointer).collect();
    let places = Places::of(pointers.iter().map(String::as_str));
    let texts = places.texts(body.as_bytes());
    for pointer in &pointers {
        let expected = document.pointer(pointer).and_then(|value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        prop_assert_eq!(texts.at(pointer).map(str::to_owned), expected, "{} in {}", pointer, body);
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_event_has_an_id_or_none_is_taken(sources in sources(), headers in headers(), body in body()) {
        for event in sources.events(&headers, &Bytes::from(body)).into_iter().flatten() {
            prop_assert!(!event.names.id.is_empty(), "{:?}", event);
        }
    }

    #[test]
    fn a_cloud_event_is_what_its_sender_wrote(
        more in btree_map("[a-z0-9]{1,12}", any::<String>(), 0..4), id in ".{1,20}", data in document(),
    ) {
        let required = [("id", id.as_str()), ("source", "/partner"), ("specversion", "1.0"), ("type", "t")];
        let mut attributes: BTreeMap<String, String> = more.into_iter().filter(|(name, _)| !["data", "datacontenttype"].contains(&name.as_str())).collect();
        attributes.extend(required.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let mut whole = json!(attributes);
        whole["data"] = data.clone();
        let sources = EventSources { cloud_events: CloudEvents::Accept, ..EventSources::default() };
        let sources = Sources::of(&sources, &Defaults::default()).unwrap();
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/cloudevents+json"))]);
        let [event] = sources.events(&headers, &whole.to_string().into()).unwrap().try_into().unwrap();
        prop_assert_eq!(&event.names.id, &id);
        let cloud = event.cloud.unwrap();
        prop_assert_eq!(&cloud.attributes, &attributes);
        prop_assert_eq!(serde_json::from_slice::<Value>(&cloud.data.unwrap()).unwrap(), data);
    }

    #[test]
    fn places_in_a_body_are_found_where_they_are(document in document(), paths in vec(vec("[a-z~/]{0,2}|[0-3]", 0..4), 0..5)) {
        look_for(&paths, &document, &document.to_string())?;
    }

    #[test]
    fn places_that_are_in_a_body_are_all_found(
        document in document(), picks in vec((any::<Index>(), 0..4_usize, "[a-b]{0,1}"), 0..5),
    ) {
        // Of each a beginning, and perhaps a step that is not there.
        let all = paths(&document);
        let paths = picks.iter().map(|(pick, steps, more)| {
            let path = pick.get(&all);
            let more = Some(more.clone()).filter(|more| !more.is_empty());
            path.iter().take(*steps).cloned().chain(more).collect::<Vec<_>>()
        });
        look_for(&paths.collect::<Vec<_>>(), &document, &document.to_string())?;
    }

    #[test]
    fn of_members_that_come_again_the_last_one_counts(members in vec(("[ab]", document()), 0..5), paths in vec(vec("[ab]|[01]", 1..3), 1..5)) {
        let whole: Vec<_> = members.iter().map(|(name, value)| format!("{}: {value}", json!(name))).collect();
        let body = format!("{{{}}}", whole.join(", "));
        let last = Value::Object(members.into_iter().collect());
        look_for(&paths, &last, &body)?;
    }
}
