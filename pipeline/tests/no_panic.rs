//! No record makes a pipeline panic, and what it delivers is always JSON; nor does a program, a template or a schema.

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};
use sluice_crds::{
    Decode, Format,
    wire::{HttpSinkConfig, Operation, SinkConfig, StepConfig},
};
use sluice_pipeline::{Contract, Header, Media, Message, Meter, Pipeline, Record, Verdict};

/// So many cases, or what `PROPTEST_CASES` asks for, in proportion: properties that take their time are tried less.
fn cases(usual: u32) -> ProptestConfig {
    const CHEAP: u64 = 2_000;
    let asked = std::env::var("PROPTEST_CASES").ok();
    let asked: u64 = asked.map_or(CHEAP, |text| text.parse().expect("PROPTEST_CASES is a number of cases"));
    let cases = (asked * u64::from(usual) / CHEAP).try_into().unwrap_or(u32::MAX);
    ProptestConfig { cases, ..ProptestConfig::default() }
}

const METER: Meter = Meter { cpu_time: || Duration::ZERO, memory: || 0 };

fn record(key: Option<Bytes>, value: Bytes, time: i64) -> Record {
    let headers = vec![Header { name: "h".into(), value: key.clone() }];
    Record {
        topic: "t".into(),
        partition: 0,
        offset: 0,
        timestamp: Some(time),
        log_append_time: false,
        key,
        value: Some(value),
        headers,
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn any_program_is_compiled_or_refused_and_judges(program in program(), value in document()) {
        let step = |operation| vec![StepConfig { name: "any".into(), operation }];
        let to = |address: &str| SinkConfig::Http(HttpSinkConfig::new(address));
        let (plain, template) = (to("http://h/"), to(&format!("http://h/{{{{ {program} }}}}?{program}")));
        for (steps, sink) in [
            (step(Operation::Filter(program.clone())), &plain),
            (step(Operation::Map(program)), &plain),
            (vec![], &template),
        ] {
            if let Ok(pipeline) = Pipeline::compile(&Decode::default(), &steps, Some(sink)) {
                drop(pipeline.apply(&record(None, value.clone(), 0), METER));
            }
        }
    }

    #[test]
    fn any_schema_is_compiled_or_refused_and_judges(schema in schema_document(), body in prop_oneof![bytes(), document()]) {
        if let Ok(contract) = Contract::compile(&schema) {
            drop(contract.judge(&body, || Duration::ZERO));
        }
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn any_bytes_get_a_verdict(value in prop_oneof![bytes(), document()], key in proptest::option::of(bytes()), time: i64) {
        let record = record(key, value, time);
        for pipeline in PIPELINES.iter() {
            if let Verdict::Deliver(Message { value, media: Media::Json, .. }) = pipeline.apply(&record, METER) {
                let parsed: Result<Value, _> = serde_json::from_slice(value.as_deref().unwrap());
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

fn schema() -> Value {
    json!({
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
    vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

/// A JSON document with the fields that the programs read.
fn document() -> impl Strategy<Value = Bytes> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,20}".prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    });
    value.prop_map(|value| Bytes::from(value.to_string()))
}

/// What looks like a program, now and then.
fn program() -> impl Strategy<Value = String> {
    let pieces = [
        ".",
        ".a",
        ".b[0]",
        "%key",
        "%headers.h",
        "x",
        " = ",
        "==",
        "!",
        " ?? ",
        "|",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\n",
        "if ",
        " else ",
        "\"",
        "'",
        "r'",
        "s'",
        "t'",
        "1",
        "-",
        "1e400",
        "9223372036854775807",
        "null",
        "true",
        "string!(",
        "upcase(",
        "parse_json!(",
        "split(",
        "for_each(",
        "map_values(",
        "-> |k, v| ",
        "del(",
        "#",
        "\\",
        "\u{e9}",
        "{{",
        "}}",
        " ",
        ".a = .b",
        "\"{{ x }}\"",
        "exists(.a)",
        "[1, \"x\", {\"a\": null}]",
    ];
    vec(select(pieces.to_vec()), 0..25).prop_map(|pieces| pieces.concat())
}

/// Keywords of JSON Schema, and names that are none.
const KEYWORDS: &[&str] = &[
    "type",
    "properties",
    "items",
    "anyOf",
    "allOf",
    "oneOf",
    "not",
    "if",
    "then",
    "$ref",
    "$defs",
    "definitions",
    "required",
    "pattern",
    "format",
    "enum",
    "const",
    "minimum",
    "multipleOf",
    "minLength",
    "uniqueItems",
    "contains",
    "patternProperties",
    "additionalProperties",
    "$id",
    "$schema",
    "$anchor",
    "$dynamicRef",
    "a",
];

/// Values of keywords, some of which are meant for others.
const SCHEMA_TEXTS: &[&str] = &[
    "object",
    "string",
    "objekt",
    "#",
    "#/$defs/a",
    "#/properties/a",
    "http://127.0.0.1/schema",
    "file:///etc/passwd",
    "^(a+)+$",
    "[",
    "\\p{L}",
    "(?=a)",
    "date-time",
    "email",
    "a",
    "",
    "http://json-schema.org/draft-07/schema#",
];

/// What looks like a JSON Schema, now and then.
fn schema_document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        select(SCHEMA_TEXTS).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(json!(null)),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let member = (select(KEYWORDS), inner.clone());
        prop_oneof![
            1 => vec(inner, 0..4).prop_map(Value::from),
            4 => vec(member, 0..5).prop_map(|members| {
                Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}
