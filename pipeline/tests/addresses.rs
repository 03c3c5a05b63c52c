//! Tables of records and the places in a Kafka topic that they are written to; of programs and what the compiler says about them.

use std::time::Duration;

use bytes::Bytes;
use sluice_crds::{
    Decode, Format, KafkaConnection,
    wire::{KafkaSinkConfig, Operation, SinkConfig, StepConfig},
};
use sluice_pipeline::{Code, Envelope, KafkaAddress, Media, Message, Meter, Pipeline, Record, Rejection, Verdict};

#[test]
fn a_record_says_where_it_goes_as_the_steps_left_it() {
    let sink = KafkaSinkConfig {
        key: Some(".id".into()),
        partition: Some("mod(to_int!(.n), 3)".into()),
        headers: [("tenant", "t-{{ .tenant }}"), ("none", "{{ .none }}")].map(|(n, t)| (n.into(), t.into())).into(),
        ..sink()
    };
    let steps = [map(".id = upcase(string!(.id))")];
    let Message { value, media, envelope } = delivered(&sink, &steps, Some(r#"{"id": "a", "n": 7, "tenant": "x"}"#));
    let headers = vec![("none".to_owned(), None), ("tenant".to_owned(), Some("t-x".to_owned()))];
    assert_eq!(envelope, Envelope::Kafka(KafkaAddress { key: Some("A".into()), partition: Some(1), headers }));
    assert_eq!((value.unwrap(), media), (Bytes::from(r#"{"id":"A","n":7,"tenant":"x"}"#), Media::Json));
}

#[test]
fn what_nobody_says_anything_about_is_copied_unread() {
    let own = Envelope::Kafka(KafkaAddress { key: Some("key".into()), partition: None, headers: vec![] });
    for value in [None, Some("no { json"), Some("")] {
        let message = delivered(&sink(), &[], value);
        assert_eq!(message, Message { value: value.map(Bytes::from), media: Media::Json, envelope: own.clone() });
    }
}

#[test]
fn a_tombstone_is_passed_on_and_seen_as_null() {
    let filter = StepConfig { name: "filter".into(), operation: Operation::Filter(". == null".into()) };
    assert_eq!(delivered(&sink(), &[filter], None).value, None);
    assert_eq!(delivered(&sink(), &[map(". = {\"deleted\": true}")], None).value, Some(r#"{"deleted":true}"#.into()));
}

#[test]
fn keys_are_texts_of_what_the_program_gives() {
    let key = |program: &str| {
        let message = delivered(&KafkaSinkConfig { key: Some(program.into()), ..sink() }, &[], Some(r#"{"a": 1.5}"#));
        let Envelope::Kafka(address) = message.envelope else { panic!() };
        address.key
    };
    for (program, expected) in [
        (".a", Some("1.5")),
        ("true", Some("true")),
        ("\"\"", Some("")),
        (".none", None),
        ("null", None),
        ("%key", Some("key")),
        ("encode_json([1])", Some("[1]")),
    ] {
        assert_eq!(key(program), expected.map(Bytes::from), "{program}");
    }
}

#[test]
fn a_record_without_a_place_is_a_data_error_of_the_sink() {
    let by_key = KafkaSinkConfig { key: Some(".id".into()), ..sink() };
    let by_partition = KafkaSinkConfig { partition: Some("to_int!(.id)".into()), ..sink() };
    for (sink, body, code, message) in [
        (&by_key, r#"{"id": {}}"#, Code::InvalidAddress, "kafka.key would hold an object, which is no text"),
        (&by_key, "no json", Code::InvalidJson, "the value is no JSON"),
        (
            &by_partition,
            r#"{"id": -1}"#,
            Code::InvalidAddress,
            "kafka.partition would be -1; a partition is a number from 0",
        ),
        (&by_partition, r#"{"id": 2147483648}"#, Code::InvalidAddress, "kafka.partition would be 2147483648"),
        (&by_partition, r#"{"id": "x"}"#, Code::StepFailed, "kafka.partition has no value"),
    ] {
        let verdict = compiled(sink, &[]).apply(&record(Some(body)), UNMEASURED);
        let Verdict::Reject(Rejection { stage, code: found, message: says }) = verdict else { panic!("{verdict:?}") };
        assert!(found == code && says.starts_with(message), "{body}: {found} {says}");
        assert_eq!(stage, if code == Code::InvalidJson { "decode" } else { "kafka" });
    }
}

#[test]
fn all_that_is_wrong_with_a_sink_is_said_at_once() {
    let wrong = KafkaSinkConfig {
        key: Some("[.a]".into()),
        partition: Some("\"1\"".into()),
        headers: [("h".to_owned(), "{{ }}".to_owned())].into(),
        ..sink()
    };
    let errors = Pipeline::compile(&Decode::default(), &[], Some(&SinkConfig::Kafka(wrong))).unwrap_err();
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    for (error, begin) in errors.iter().zip([
        "sink.kafka.key, line 1, column 1: a key is a text, a number, a boolean, a time, or null; this gives",
        "sink.kafka.partition, line 1, column 1: a partition is a whole number; this gives",
        "sink.kafka.headers[h], line 1, column 3: there is no program here",
    ]) {
        assert!(error.starts_with(begin), "{error}");
    }
    assert_eq!(errors.len(), 3);
}

fn sink() -> KafkaSinkConfig {
    KafkaSinkConfig {
        connection: KafkaConnection::default(),
        topic: "entries".into(),
        key: None,
        partition: None,
        headers: [].into(),
    }
}

fn map(program: &str) -> StepConfig {
    StepConfig { name: "map".into(), operation: Operation::Map(program.into()) }
}

fn compiled(sink: &KafkaSinkConfig, steps: &[StepConfig]) -> Pipeline {
    let decode = Decode { format: Format::Json, ..Decode::default() };
    Pipeline::compile(&decode, steps, Some(&SinkConfig::Kafka(sink.clone())))
        .unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn delivered(sink: &KafkaSinkConfig, steps: &[StepConfig], body: Option<&str>) -> Message {
    match compiled(sink, steps).apply(&record(body), UNMEASURED) {
        Verdict::Deliver(message) => message,
        other => panic!("{other:?}"),
    }
}

const UNMEASURED: Meter = Meter { cpu_time: || Duration::ZERO, memory: || 0 };

fn record(body: Option<&str>) -> Record {
    Record {
        topic: "orders".into(),
        partition: 0,
        offset: 0,
        timestamp: None,
        log_append_time: false,
        key: Some("key".into()),
        value: body.map(|body| Bytes::from(body.to_owned())),
        headers: vec![],
    }
}
