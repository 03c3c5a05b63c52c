//! No record makes a pipeline panic, and what it delivers is always JSON.

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;
use sluice_crds::{
    Decode, Format,
    wire::{HttpSinkConfig, Operation, SinkConfig, StepConfig},
};
use sluice_pipeline::{Header, Media, Message, Meter, Pipeline, Record, Verdict};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_get_a_verdict(value in prop_oneof![bytes(), document()], key in proptest::option::of(bytes()), time: i64) {
        let headers = vec![Header { name: "h".into(), value: key.clone() }];
        let record = Record {
            topic: "t".into(), partition: 0, offset: 0, timestamp: Some(time), log_append_time: false, key, value: Some(value), headers,
        };
        for pipeline in PIPELINES.iter() {
            if let Verdict::Deliver(Message { value, media: Media::Json, .. }) = pipeline.apply(&record, Meter { cpu_time: || Duration::ZERO, memory: || 0 }) {
                let parsed: Result<serde_json::Value, _> = serde_json::from_slice(value.as_deref().unwrap());
                prop_assert!(parsed.is_ok(), "{:?}", value);
            }
        }
    }
}

/// One of each format; and one that only looks, and one that has nothing to do.
static PIPELINES: LazyLock<Vec<Pipeline>> = LazyLock::new(|| {
    let [json, text, bytes] = [Format::Json, Format::Text, Format::Bytes];
    let look = StepConfig { name: "look".into(), operation: Operation::Validate(schema()) };
    let all = [
        (json, [steps(), vec![look.clone()]].concat()),
        (text, vec![of_strings()]),
        (bytes, vec![of_strings()]),
        (json, vec![look.clone()]),
        (bytes, vec![look]),
        (json, vec![]),
    ];
    all.into_iter().map(|(format, steps)| pipeline(format, &steps)).collect()
});

fn pipeline(format: Format, steps: &[StepConfig]) -> Pipeline {
    let decode = Decode { format, ..Decode::default() };
    let sink = SinkConfig::Http(HttpSinkConfig::new("http://h/"));
    Pipeline::compile(&decode, steps, Some(&sink)).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

fn schema() -> serde_json::Value {
    serde_json::json!({
        "anyOf": [
            {"properties": {"a": {"$ref": "#"}, "b": {"minimum": 0, "multipleOf": 0.1}, "c": {"uniqueItems": true}}},
            {"items": {"$ref": "#"}, "contains": {"const": null}},
            {"pattern": "^[a-z]*$", "minLength": 1, "format": "date-time"},
        ],
    })
}

fn steps() -> Vec<StepConfig> {
    let filter = r#"is_object(.) || is_array(.) || starts_with(to_string(.) ?? "", "x")"#;
    let map = r#"
        .text = to_string(.a) ?? "none"
        .part = slice(.text, 1, 3) ?? null
        .sum = (.a + .b) ?? 0
        .ratio = (.a / .b) ?? 0.0
        .bytes = decode_base64(.b) ?? %key
        .list[2] = parse_json(.a) ?? %headers.h
        .number = parse_int(.b) ?? 0
        .time = %timestamp
        .flat = flatten(.c) ?? {}
        del(.d)
    "#;
    vec![
        StepConfig { name: "filter".into(), operation: Operation::Filter(filter.into()) },
        StepConfig { name: "map".into(), operation: Operation::Map(map.into()) },
    ]
}

fn of_strings() -> StepConfig {
    let map = r#"
        text = string!(.)
        parts = split(text, ",")
        . = if length(parts) > 2 {
            {"parts": parts, "ends": slice!(text, -1), "bytes": decode_base64(text) ?? %key, "json": parse_json(text) ?? null}
        } else {
            upcase(truncate(text, 10))
        }
    "#;
    StepConfig { name: "strings".into(), operation: Operation::Map(map.into()) }
}

fn bytes() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

/// A JSON document with the fields that the programs read.
fn document() -> impl Strategy<Value = Bytes> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,20}".prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            proptest::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    });
    value.prop_map(|value| Bytes::from(value.to_string()))
}
