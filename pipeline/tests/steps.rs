//! Tables of records and what pipelines say about them; of programs and what the compiler says about them.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use sluice_crds::{
    Decode, Format, Size,
    wire::{HttpSinkConfig, Operation, SinkConfig, StepConfig},
};
use sluice_pipeline::{Code, Envelope, Header, Media, Message, Meter, Part, Pipeline, Place, Record, Verdict};

#[test]
fn a_record_that_no_step_changes_goes_on_byte_for_byte() {
    let body = r#"{ "b" : 1.50, "a" : [ 18446744073709551615 ] , "a" : "\u0041" }"#;
    for steps in
        [vec![], vec![filter(".b > 1.0 ?? false")], vec![map("if .b == 7 { .b = 8 }")], vec![map("del(.missing)")]]
    {
        assert_eq!(apply(&steps, body), deliver(body), "{steps:?}");
    }
}

#[test]
fn maps_and_filters_work_in_order() {
    let steps = [
        filter(r#".type == "payment""#),
        map(r#". = {"id": .id, "currency": upcase(string!(.currency)), "amount": .data.amount}"#),
        filter("int!(.amount) > 100"),
        map("del(.currency)"),
    ];
    assert_eq!(
        apply(&steps, r#"{"type": "payment", "id": "a", "currency": "eur", "data": {"amount": 101}}"#),
        deliver(r#"{"amount":101,"id":"a"}"#)
    );
    assert_eq!(apply(&steps, r#"{"type": "refund"}"#), Verdict::Skip { step: "filter".into() });
}

#[test]
fn steps_see_key_headers_and_place() {
    let steps = [map(
        ". = [%key, %headers.trace, %headers.none, %topic, %partition, %offset, format_timestamp!(%timestamp, \"%+\")]",
    )];
    let written = r#"["k","last",null,"shop.orders",3,42,"2026-11-24T00:00:00+00:00"]"#;
    assert_eq!(apply(&steps, "{}"), deliver(written));
}

#[test]
fn what_cannot_be_processed_is_rejected_with_stage_code_and_reason() {
    for (steps, body, stage, code, message) in [
        (
            vec![],
            "{",
            "decode",
            Code::InvalidJson,
            "the value is no JSON: EOF while parsing an object at line 1 column 1",
        ),
        (vec![map(".a = int!(.a)")], r#"{"a": "x"}"#, "map", Code::StepFailed, "expected integer, got string"),
        (vec![map("if .a == 1 { abort \"no ones\" }\n.b = 1")], r#"{"a": 1}"#, "map", Code::Aborted, "no ones"),
        (vec![filter("bool!(.a)")], r#"{"a": 1}"#, "filter", Code::StepFailed, "expected boolean, got integer"),
        (vec![map(".a = decode_base64!(.a)")], r#"{"a": "/w=="}"#, "map", Code::Unencodable, ".a holds bytes"),
        (vec![map(".b = 1")], r#"{"a": 18446744073709551615}"#, "map", Code::Unencodable, ".a is an integer of more"),
    ] {
        match apply(&steps, body) {
            Verdict::Reject(rejection) => {
                assert_eq!((rejection.stage.as_str(), rejection.code), (stage, code), "{rejection:?}");
                assert!(rejection.message.contains(message), "{}", rejection.message);
            }
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn a_tombstone_can_be_held_back_given_a_value_or_is_rejected() {
    let tombstone = Record { value: None, ..record("") };
    let verdict = |steps: &[StepConfig]| judged(&compiled(Format::Json, steps), &tombstone, UNMEASURED);
    assert_eq!(verdict(&[filter(". != null")]), Verdict::Skip { step: "filter".into() });
    assert_eq!(verdict(&[map(". = {\"deleted\": %key}")]), deliver(r#"{"deleted":"k"}"#));
    assert!(matches!(verdict(&[]), Verdict::Reject(rejection) if rejection.code == Code::NoValue));
}

#[test]
fn texts_and_bytes_go_through_steps_as_what_they_are() {
    for (format, steps, body, expected) in [
        (Format::Text, vec![], "a,b", delivered(b"a,b", Media::Text)),
        (Format::Text, vec![map(". = upcase(string!(.))")], "a,b", delivered(b"A,B", Media::Text)),
        (Format::Text, vec![map(". = {\"first\": split(string!(.), \",\")[0]}")], "a,b", deliver(r#"{"first":"a"}"#)),
        (Format::Text, vec![filter("contains(string!(.), \"x\")")], "a,b", Verdict::Skip { step: "filter".into() }),
        (Format::Bytes, vec![], "\u{0}", delivered(b"\0", Media::Bytes)),
        (Format::Bytes, vec![map(". = decode_base64!(.)")], "/w==", delivered(&[0xff], Media::Bytes)),
        (Format::Bytes, vec![map(". = {\"data\": encode_base64(string!(.))}")], "a", deliver(r#"{"data":"YQ=="}"#)),
    ] {
        assert_eq!(judged(&compiled(format, &steps), &record(body), UNMEASURED), expected, "{format:?} {steps:?}");
    }
}

#[test]
fn a_value_is_looked_at_only_where_somebody_needs_it() {
    let unread = |steps: &[StepConfig]| Pipeline::compile(&Decode::default(), steps, None).unwrap();
    for steps in [vec![], vec![filter("%key == \"k\"")]] {
        assert_eq!(unread(&steps).apply(&record("{"), UNMEASURED), deliver("{"), "{steps:?}");
    }
    for steps in [
        vec![filter("exists(.a) || true")],
        vec![filter("is_null(get!(., [\"a\"]))")],
        vec![filter("a = .\nis_null(a.b)")],
        vec![map("for_each([1]) -> |_i, _v| { .a = 1 }")],
        vec![map("del(.a)")],
        vec![validate(json!(true))],
    ] {
        let verdict = unread(&steps).apply(&record("{"), UNMEASURED);
        assert!(matches!(verdict, Verdict::Reject(rejection) if rejection.code == Code::InvalidJson), "{steps:?}");
    }
}

#[test]
fn a_schema_lets_through_what_matches_and_changes_nothing() {
    let schema =
        json!({"type": "object", "properties": {"id": {"type": "integer", "maximum": 18_446_744_073_709_551_615_u64}}});
    let body = r#"{ "id": 18446744073709551615 }"#;
    assert_eq!(apply(&[validate(schema.clone())], body), deliver(body));
    let verdict = apply(&[validate(schema.clone())], r#"{"id": "7"}"#);
    let Verdict::Reject(rejection) = verdict else { panic!("{verdict:?}") };
    assert_eq!((rejection.stage.as_str(), rejection.code), ("contract", Code::SchemaMismatch));
    assert_eq!(rejection.message, "/id: \"7\" is not of type \"integer\"");
    let mended = apply(&[map(".id = to_int!(.id)"), validate(schema), filter(".id == 7")], r#"{"id": "7"}"#);
    assert_eq!(mended, deliver(r#"{"id":7}"#), "it looks at what the steps before it made");
}

#[test]
fn a_schema_that_does_not_compile_is_named() {
    let errors = Pipeline::compile(&Decode::default(), &[validate(json!({"type": "objekt"}))], None).unwrap_err();
    assert!(errors[0].to_string().starts_with("step \"contract\": not a JSON Schema: /type: "), "{}", errors[0]);
}

/// How long this thread has been at work: others, and a machine that stands still, add nothing to it.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a thread's time only grows")
}

#[test]
fn a_record_that_takes_more_than_its_share_of_cpu_is_rejected() {
    // Few expressions, each of which takes long.
    let program = ".b = upcase(downcase(string!(.a)))\n".repeat(400);
    let body = serde_json::to_string(&json!({"a": "ä".repeat(400_000)})).unwrap();
    let begin = thread_time();
    let verdict =
        compiled(Format::Json, &[map(&program)]).apply(&record(&body), Meter { cpu_time: thread_time, ..UNMEASURED });
    let Verdict::Reject(rejection) = verdict else { panic!("it was not rejected") };
    assert_eq!((rejection.code, rejection.message.contains("100 ms of CPU")), (Code::TooMuchWork, true));
    let took = thread_time().saturating_sub(begin);
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn a_step_is_stopped_when_it_works_too_long() {
    let program = "total = 0\nitems = array!(.items)\nfor_each(items) -> |_i, _a| { for_each(items) -> |_j, _b| { total = total + 1 } }\n.total = total";
    let body = format!(r#"{{"items": [{}0]}}"#, "0,".repeat(5_000));
    let begin = thread_time();
    let verdict = apply(&[map(program)], &body);
    assert!(matches!(verdict, Verdict::Reject(rejection) if rejection.code == Code::TooMuchWork));
    let took = thread_time().saturating_sub(begin);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn the_compiler_names_step_line_and_column() {
    for (step, message) in [
        (map(".a = 1\n.b = upcase(.c)"), "step \"map\", line 2, column 6: unhandled fallible assignment; this"),
        (
            map(".a = nwo()"),
            "step \"map\", line 1, column 6: call to undefined function; undefined function; did you mean",
        ),
        (map(".a = now()"), "step \"map\", line 1, column 6: the function now is not for steps"),
        (map(". = {\"a\": "), "step \"map\", line 1, column 10: syntax error; unexpected end of program"),
        (map("{\"a\": .a}"), "step \"map\", line 1, column 1: this map changes nothing"),
        (map("%topic = \"x\"\n.a = 1"), "step \"map\", line 1, column 1: mutation of read-only value"),
        (map(".a = %headrs.x"), "step \"map\", line 1, column 1: %headrs is no metadata of a record; there are %key"),
        (
            map(&format!(".a = 1{}", " + 1".repeat(5_000))),
            "step \"map\", line 1, column 804: the program is nested or chained",
        ),
        (filter(".a"), "step \"filter\", line 1, column 1: a filter must be true or false; this one gives"),
        (filter(".a = true"), "step \"filter\", line 1, column 1: mutation of read-only value"),
        (filter("if .a == 1 { return 5 }\ntrue"), "step \"filter\", line 1, column 1: a filter must be true or false"),
        (filter("bool(.a)"), "step \"filter\", line 1, column 1: unhandled error; expression can result in"),
    ] {
        let errors = Pipeline::compile(&Decode::default(), &[step], None).unwrap_err();
        let text = errors[0].to_string();
        assert!(text.starts_with(message), "{text}");
        assert!(!text.contains(['\n', '\u{1b}']), "{text}");
    }
}

#[test]
fn texts_are_taken_to_pieces_unless_there_would_be_too_many() {
    let steps = |program: &str| [map(program)];
    for (program, expected) in [
        (".a = split(string!(.a), \",\", limit: 2)", r#"{"a":["1","2,3"]}"#),
        (".a = split(join!(split!(.a, \",\"), \";\"), r';')", r#"{"a":["1","2","3"]}"#),
        (".a = parse_json!(\"[\" + string!(.a) + \"]\")", r#"{"a":[1,2,3]}"#),
        (".a = length(parse_regex_all!(.a, r'(?P<n>\\d)'))", r#"{"a":3}"#),
        (".a = parse_csv!(.a)", r#"{"a":["1","2","3"]}"#),
        (".a = chunks!(.a, 2)", r#"{"a":["1,","2,","3"]}"#),
    ] {
        assert_eq!(apply(&steps(program), r#"{"a": "1,2,3"}"#), deliver(expected), "{program}");
    }
    let large = format!(r#"{{"a": "{}"}}"#, ",".repeat(4 * 1024 * 1024));
    for program in [
        ".a = length(split(string!(.a), \",\"))",
        ".a = length(split!(.a, r','))",
        "by = \",\"\n.a = length(split!(.a, by))",
        ".a = length(parse_regex_all!(.a, r'(?P<comma>,)'))",
        ".a = length(array!(parse_json!(.a)))",
        ".a = length(parse_csv!(.a))",
    ] {
        match apply(&steps(program), &large) {
            Verdict::Reject(rejection) => {
                assert!(rejection.message.contains("of a text of 4096 KiB"), "{rejection:?}");
                assert!(!rejection.message.contains("look"), "{rejection:?}");
            }
            other => panic!("{program}: {other:?}"),
        }
    }
    assert_eq!(apply(&steps(".a = length(split!(.a, \";\"))"), &large), deliver(r#"{"a":1}"#));
}

/// Bounds are not to be seen: places count the bytes of the program as it was written, and names are those that stand in it.
#[test]
fn errors_of_texts_that_are_taken_to_pieces_speak_of_the_program_as_it_was_written() {
    let large = format!(r#"{{"a": "{}"}}"#, ",".repeat(4 * 1024 * 1024));
    let too_many = "split would make more of a text of 4096 KiB than fits into 96 MiB";
    let pieces = r#"split(.a, ",")"#;
    for (program, body, call, told) in [
        (".b, .error = split(.a, \",\")\ndel(.a)", large.as_str(), pieces, too_many),
        (
            "x = split(string(.b) ?? \"\", \",\")\n.b, .error = split(.a, \",\")\ndel(.a)",
            large.as_str(),
            pieces,
            too_many,
        ),
        (
            ".b, .error = parse_json(split!(.a, \",\")[0])",
            r#"{"a": "x"}"#,
            r#"parse_json(split!(.a, ",")[0])"#,
            "unable to parse json: ",
        ),
        (".b, .error = split(.a, \",\")", r#"{"a": 1}"#, pieces, "expected string, got integer"),
    ] {
        let verdict = apply(&[map(program)], body);
        let Verdict::Deliver(Message { value: Some(value), .. }) = verdict else { panic!("{program}: {verdict:?}") };
        let value: serde_json::Value = serde_json::from_slice(&value).unwrap();
        let error = value["error"].as_str().unwrap_or_default();
        let (start, name) = (program.find(call).unwrap(), call.split('(').next().unwrap());
        let place = format!("({start}:{})", start + call.len());
        let expected = format!("function call error for \"{name}\" at {place}: {told}");
        assert!(error.starts_with(&expected) && !error.contains("look"), "{program}: {error}");
    }
    let program = ".a = split(string!(.a), \",\")\n.b = split(.b, \",\")";
    let errors = Pipeline::compile(&Decode::default(), &[map(program)], None).unwrap_err();
    assert_eq!(errors[0].place, Some(Place { line: 2, column: 6 }), "{errors:?}");
    for name in ["look_at_pieces", "look at pieces"] {
        let program = format!(".a = split(string!(.a), \",\")\n.b = {name}(.b, \"split\")");
        assert!(Pipeline::compile(&Decode::default(), &[map(&program)], None).is_err(), "{name} is nobody's to call");
    }
}

#[test]
fn all_wrong_steps_are_named_together() {
    let errors = Pipeline::compile(&Decode::default(), &[filter("("), map(".a = 1"), map(")")], None).unwrap_err();
    assert_eq!(
        errors.iter().map(|error| error.part.clone()).collect::<Vec<_>>(),
        ["filter", "map"].map(|name| Part::Step(name.into()))
    );
}

fn apply(steps: &[StepConfig], body: &str) -> Verdict {
    judged(&compiled(Format::Json, steps), &record(body), UNMEASURED)
}

/// What a pipeline says about a record; the request of the sink is no matter of steps.
fn judged(pipeline: &Pipeline, record: &Record, meter: Meter) -> Verdict {
    match pipeline.apply(record, meter) {
        Verdict::Deliver(message) => Verdict::Deliver(Message { envelope: Envelope::None, ..message }),
        other => other,
    }
}

const UNMEASURED: Meter = Meter { cpu_time: || Duration::ZERO, memory: || 0 };

fn compiled(format: Format, steps: &[StepConfig]) -> Pipeline {
    let decode = Decode { format, max_size: Size::from_mebibytes(16) };
    let sink = SinkConfig::Http(HttpSinkConfig::new("http://h/"));
    Pipeline::compile(&decode, steps, Some(&sink)).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn deliver(body: &str) -> Verdict {
    delivered(body.as_bytes(), Media::Json)
}

fn delivered(value: &[u8], media: Media) -> Verdict {
    Verdict::Deliver(Message { value: Some(Bytes::copy_from_slice(value)), media, envelope: Envelope::None })
}

fn filter(program: &str) -> StepConfig {
    StepConfig { name: "filter".into(), operation: Operation::Filter(program.into()) }
}

fn map(program: &str) -> StepConfig {
    StepConfig { name: "map".into(), operation: Operation::Map(program.into()) }
}

fn validate(schema: serde_json::Value) -> StepConfig {
    StepConfig { name: "contract".into(), operation: Operation::Validate(schema) }
}

fn record(body: &str) -> Record {
    let header = |value: &'static str| Header { name: "trace".into(), value: Some(value.into()) };
    Record {
        topic: "shop.orders".into(),
        partition: 3,
        offset: 42,
        timestamp: Some(1_795_478_400_000),
        log_append_time: false,
        key: Some("k".into()),
        value: Some(Bytes::copy_from_slice(body.as_bytes())),
        headers: vec![header("first"), header("last")],
    }
}
