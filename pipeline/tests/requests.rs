//! Tables of records and the HTTP requests that they become; of templates and what the compiler says about them.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use sluice_crds::{
    Body, Decode, HttpMethod,
    wire::{HttpSinkConfig, Operation, SinkConfig, StepConfig},
};
use sluice_pipeline::{Code, Envelope, HttpRequest, Message, Meter, Pipeline, Record, Verdict};

#[test]
fn a_request_is_made_of_the_record_as_the_steps_left_it() {
    let sink = HttpSinkConfig {
        method: "{{ if .gone == true { \"DELETE\" } else { \"PUT\" } }}".into(),
        query: texts(&[("currency", "{{ .currency }}"), ("fixed", "a&b"), ("none", "{{ .none }}")]),
        headers: texts(&[("X-Key", "k-{{ %key }}"), ("X-None", "{{ .none }}"), ("X-Fixed", "same")]),
        ..HttpSinkConfig::new("https://api.example:8443/v2/accounts/{{ .account }}/{{ .n }}-x?dry={{ .dry }}")
    };
    let steps =
        [StepConfig { name: "map".into(), operation: Operation::Map(".account = upcase(string!(.account))".into()) }];
    let of = |body: &str| request(&compiled(&sink, &steps).apply(&record(Some(body)), UNMEASURED));
    let made = of(r#"{"account": "a/b c?", "n": 7, "dry": true, "currency": "€"}"#);
    let url = "https://api.example:8443/v2/accounts/A%2FB%20C%3F/7-x?dry=true&currency=%E2%82%AC&fixed=a%26b";
    assert_eq!((made.method, made.url.as_str(), made.has_body), (HttpMethod::Put, url, true));
    assert_eq!(made.headers, [("X-Key".to_owned(), "k-key".to_owned())]);
    assert_eq!(of(r#"{"account": "a", "n": 1.5, "dry": 0, "currency": "", "gone": true}"#).method, HttpMethod::Delete);
}

#[test]
fn a_request_in_which_records_have_no_say_is_made_once() {
    let pipeline = compiled(&HttpSinkConfig::new("http://api.example"), &[]);
    let [one, other] = ["1", "2"].map(|body| pipeline.apply(&record(Some(body)), UNMEASURED));
    let (Verdict::Deliver(one), Verdict::Deliver(other)) = (one, other) else { panic!() };
    let (Envelope::Http(one), Envelope::Http(other)) = (one.envelope, other.envelope) else { panic!() };
    assert!(std::sync::Arc::ptr_eq(&one, &other));
}

#[test]
fn a_record_never_changes_which_part_of_an_api_is_called() {
    let sink = HttpSinkConfig::new("http://api.example/a/{{ .id }}/b");
    let pipeline = compiled(&sink, &[]);
    let judge = |id: serde_json::Value| pipeline.apply(&record(Some(&json!({ "id": id }).to_string())), UNMEASURED);
    for (id, expected) in [
        (json!("../c"), "..%2Fc"),
        (json!("..."), "..."),
        (json!("%2e%2e"), "%252e%252e"),
        (json!("a?b#c"), "a%3Fb%23c"),
        (json!("\\..\\"), "%5C..%5C"),
        (json!("a\r\nHost: x"), "a%0D%0AHost%3A%20x"),
        (json!(-1), "-1"),
        (json!(false), "false"),
    ] {
        let expected = format!("http://api.example/a/{expected}/b");
        assert_eq!(request(&judge(id)).url.as_str(), expected);
    }
    for (id, message) in [
        (json!(""), "http.url would have the path segment \"\""),
        (json!("."), "http.url would have the path segment \".\""),
        (json!(".."), "http.url would have the path segment \"..\""),
        (json!(null), "http.url has no value"),
        (json!({}), "http.url would hold an object"),
        (json!("x".repeat(20_000)), "http.url would be longer than 16384 bytes"),
    ] {
        let rejection = rejection(judge(id));
        assert_eq!((rejection.stage.as_str(), rejection.code), ("http", Code::InvalidRequest));
        assert!(rejection.message.starts_with(message), "{}", rejection.message);
    }
    let dots = compiled(&HttpSinkConfig::new("http://api.example/a/%2E{{ .id }}"), &[]);
    assert_eq!(rejection(dots.apply(&record(Some(r#"{"id": "."}"#)), UNMEASURED)).code, Code::InvalidRequest);
    let rounded = rejection(judge(serde_json::from_str("18446744073709551615").unwrap()));
    assert!(rounded.message.contains("an integer of more than 64 bits"), "{}", rounded.message);
}

#[test]
fn an_address_to_which_no_request_can_be_made_is_the_records_fault() {
    let id = "{{ .id }}";
    let pipeline = compiled(&HttpSinkConfig::new(format!("http://h/{id}/{id}/{id}/{id}?a={id}")), &[]);
    let judge = |length| pipeline.apply(&record(Some(&json!({ "id": "x".repeat(length) }).to_string())), UNMEASURED);
    assert_eq!(request(&judge(12_000)).url.as_str().len(), "http://h////?a=".len() + 60_000);
    let rejection = rejection(judge(15_000));
    assert_eq!(rejection.code, Code::InvalidRequest);
    assert!(rejection.message.starts_with("http.url would be longer than 61440 bytes"), "{}", rejection.message);
}

#[test]
fn a_header_holds_one_line() {
    let sink = HttpSinkConfig { headers: texts(&[("X-Id", "{{ .id }}")]), ..HttpSinkConfig::new("http://h/") };
    let judge = |id: &str| compiled(&sink, &[]).apply(&record(Some(&json!({ "id": id }).to_string())), UNMEASURED);
    for id in ["a\r\nX-Admin: 1", "a\n", "a\u{0}", "a\u{7f}"] {
        let rejection = rejection(judge(id));
        assert_eq!(rejection.code, Code::InvalidRequest, "{id:?}");
        assert!(rejection.message.starts_with("http.headers[X-Id] would hold a line break"), "{}", rejection.message);
    }
    assert_eq!(request(&judge("ä\tb")).headers[0].1, "ä\tb");
}

#[test]
fn a_request_without_a_body_needs_no_value() {
    let url = "http://h/{{ %key }}";
    let tombstone = record(None);
    for sink in [
        HttpSinkConfig { method: "DELETE".into(), ..HttpSinkConfig::new(url) },
        HttpSinkConfig { body: Body::None, ..HttpSinkConfig::new(url) },
        HttpSinkConfig {
            method: "{{ if . == null { \"DELETE\" } else { \"PUT\" } }}".into(),
            ..HttpSinkConfig::new(url)
        },
    ] {
        let verdict = compiled(&sink, &[]).apply(&tombstone, UNMEASURED);
        assert!(!request(&verdict).has_body, "{sink:?}");
        assert!(matches!(verdict, Verdict::Deliver(Message { value: None, .. })));
    }
    let rejection = rejection(compiled(&HttpSinkConfig::new(url), &[]).apply(&tombstone, UNMEASURED));
    assert_eq!(rejection.code, Code::NoValue);
}

#[test]
fn a_program_that_fails_or_gives_no_method_makes_a_data_error() {
    let judge = |method: &str| {
        let sink = HttpSinkConfig { method: method.into(), ..HttpSinkConfig::new("http://h/") };
        rejection(compiled(&sink, &[]).apply(&record(Some("{}")), UNMEASURED))
    };
    let rejection = judge("{{ string!(.method) }}");
    assert_eq!(rejection.code, Code::StepFailed);
    assert!(rejection.message.starts_with("http.method has no value: "), "{}", rejection.message);
    let rejection = judge("{{ \"TRACE\" }}");
    let message = "http.method is wrong: \"TRACE\" is no method of a request; there are POST, PUT, PATCH, DELETE, GET";
    assert_eq!(rejection.message, message);
}

#[test]
fn the_compiler_names_field_line_and_column() {
    let sink = |url: &str| HttpSinkConfig::new(url);
    let header = |value: &str| HttpSinkConfig { headers: texts(&[("X", value)]), ..HttpSinkConfig::new("http://h/") };
    for (sink, message) in [
        (sink("http://h/{{ upcase(.a) }}"), "sink.http.url, line 1, column 20: invalid argument type; this"),
        (sink("http://h/{{ .a }}/{{ nwo() }}"), "sink.http.url, line 1, column 22: call to undefined function"),
        (sink("http://h/{{ .a"), "sink.http.url, line 1, column 10: {{ has no }}"),
        (sink("http://h/{{ }}"), "sink.http.url, line 1, column 12: there is no program here"),
        (sink("http://h/{{ [1] }}"), "sink.http.url, line 1, column 12: a template needs a text"),
        (sink("http://h/a#b"), "sink.http.url, line 1, column 1: an address that is called has no fragment"),
        (header("a\n{{ .x }}\n {{ now() }}"), "sink.http.headers[X], line 3, column 5: the function now is not for"),
        (header("{{ .a = 1 }}"), "sink.http.headers[X], line 1, column 4: mutation of read-only value"),
        (header("{{ %ky }}"), "sink.http.headers[X], line 1, column 3: %ky is no metadata of a record"),
    ] {
        let errors = Pipeline::compile(&Decode::default(), &[], Some(&SinkConfig::Http(sink))).unwrap_err();
        let text = errors[0].to_string();
        assert!(text.starts_with(message), "{text}");
    }
}

#[test]
fn all_wrong_templates_are_named_together() {
    let sink = HttpSinkConfig {
        method: "{{ ( }}".into(),
        query: texts(&[("q", "{{ ) }}")]),
        headers: texts(&[("X", "{{ upcase(.x) }}")]),
        ..HttpSinkConfig::new("http://h/{{ ] }}")
    };
    let errors = Pipeline::compile(&Decode::default(), &[], Some(&SinkConfig::Http(sink))).unwrap_err();
    let parts: Vec<_> = errors.iter().map(|error| error.to_string().split(',').next().unwrap().to_owned()).collect();
    assert_eq!(parts, ["sink.http.method", "sink.http.url", "sink.http.query[q]", "sink.http.headers[X]"]);
}

fn texts(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn compiled(sink: &HttpSinkConfig, steps: &[StepConfig]) -> Pipeline {
    Pipeline::compile(&Decode::default(), steps, Some(&SinkConfig::Http(sink.clone())))
        .unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn request(verdict: &Verdict) -> HttpRequest {
    match verdict {
        Verdict::Deliver(Message { envelope: Envelope::Http(request), .. }) => (**request).clone(),
        other => panic!("{other:?}"),
    }
}

fn rejection(verdict: Verdict) -> sluice_pipeline::Rejection {
    if let Verdict::Reject(rejection) = verdict { rejection } else { panic!("{verdict:?}") }
}

const UNMEASURED: Meter = Meter { cpu_time: || Duration::ZERO, memory: || 0 };

fn record(body: Option<&str>) -> Record {
    Record {
        topic: "shop.orders".into(),
        partition: 3,
        offset: 42,
        timestamp: None,
        log_append_time: false,
        key: Some("key".into()),
        value: body.map(|body| Bytes::copy_from_slice(body.as_bytes())),
        headers: vec![],
    }
}
