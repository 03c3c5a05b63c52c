//! No record makes a pipeline panic, and what it delivers is always JSON.

use bytes::Bytes;
use proptest::prelude::*;
use sluice_crds::{
    Format,
    wire::{Operation, StepConfig},
};
use sluice_pipeline::{Header, Pipeline, Record, Verdict};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_get_a_verdict(value in prop_oneof![bytes(), document()], key in proptest::option::of(bytes()), time: i64) {
        let headers = vec![Header { name: "h".into(), value: key.clone() }];
        let record = Record {
            topic: "t".into(), partition: 0, offset: 0, timestamp: Some(time), key, value: Some(value), headers,
        };
        if let Verdict::Deliver(bytes) = pipeline().apply(&record) {
            let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&bytes);
            prop_assert!(parsed.is_ok(), "{:?}", bytes);
        }
    }
}

fn pipeline() -> &'static Pipeline {
    static PIPELINE: std::sync::LazyLock<Pipeline> = std::sync::LazyLock::new(|| {
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
        let steps = [
            StepConfig { name: "filter".into(), operation: Operation::Filter(filter.into()) },
            StepConfig { name: "map".into(), operation: Operation::Map(map.into()) },
        ];
        Pipeline::compile(Format::Json, &steps).unwrap_or_else(|errors| panic!("{errors:#?}"))
    });
    &PIPELINE
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
