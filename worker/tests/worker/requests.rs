//! Requests that are made of their records.

use std::io::Write as _;

use http::{HeaderMap, HeaderValue, header::CONTENT_ENCODING};
use sluice_crds::wire::{HttpSinkConfig, SinkConfig, WorkerConfig};
use sluice_kafka::OutgoingRecord;

use crate::{
    api::{Answer, Api, status},
    kafka::{Place, Seen},
    running::{Worker, config},
};

fn delivering(place: &Place, sink: HttpSinkConfig) -> WorkerConfig {
    let usual = config(place, &sink.url);
    WorkerConfig { sink: SinkConfig::Http(sink), ..usual }
}

fn header(letter: &Seen, name: &str) -> String {
    let (_, value) = letter.headers.iter().find(|(found, _)| found == name).unwrap();
    String::from_utf8(value.clone().unwrap()).unwrap()
}

#[tokio::test]
async fn method_path_query_and_headers_come_from_the_record() {
    let (place, api) = (Place::new("requests", 1).await, Api::willing().await);
    let sink = HttpSinkConfig {
        method: r#"{{ if . == null { "DELETE" } else { "PUT" } }}"#.into(),
        query: [("dry".to_owned(), "{{ .dry }}".to_owned())].into(),
        headers: [("X-Tenant".to_owned(), "{{ .tenant }}".to_owned())].into(),
        ..HttpSinkConfig::new(format!("{}/{{{{ %key }}}}", api.url))
    };
    let worker = Worker::start(&delivering(&place, sink));
    let record = |key: &'static str, value: &'static str| OutgoingRecord {
        key: Some(key.into()),
        ..OutgoingRecord::new(place.topic.as_str(), value)
    };
    let tombstone = OutgoingRecord { value: None, ..record("a/b", "") };
    let forged = record("c", r#"{"tenant": "t\r\nX-Admin: 1"}"#);
    place
        .write_records([record("a/b", r#"{"tenant": "t", "dry": true}"#), forged, tombstone, record("..", "{}")])
        .await;
    let letters = place.dead_letters(2).await;
    place.until_no_lag().await;

    let seen: Vec<_> = api.requests().iter().map(|request| (request.line.clone(), request.is_empty)).collect();
    let expected = [("PUT /entries/a%2Fb?dry=true".to_owned(), false), ("DELETE /entries/a%2Fb".to_owned(), true)];
    assert_eq!(seen, expected);
    let requests = api.requests();
    assert_eq!(requests[0].headers["x-tenant"], "t");
    assert!(!requests[1].headers.contains_key("x-tenant") && !requests[1].headers.contains_key("content-type"));
    let mut reasons: Vec<_> = letters
        .iter()
        .map(|letter| {
            ["class", "stage", "code", "message"].map(|reason| header(letter, &format!("sluice-error-{reason}")))
        })
        .collect();
    reasons.sort();
    assert_eq!(reasons[0][..3], ["DataError", "http", "InvalidRequest"]);
    assert_eq!(reasons[0][3], "http.headers[X-Tenant] would hold a line break or another control character");
    assert_eq!(reasons[1][3], "http.url would have the path segment \"..\", which means another address");
    worker.until_status("both are told", |status| status.delivered == 2).await;
}

#[tokio::test]
async fn the_sink_says_what_is_success_and_a_packed_answer_is_quoted() {
    let place = Place::new("success", 1).await;
    let api = Api::scripted(|request| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"there is no such account").unwrap();
        Answer {
            headers: HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]),
            body: encoder.finish().unwrap(),
            ..status(if request.body["n"] == 1 { 404 } else { 410 })
        }
    })
    .await;
    let sink = HttpSinkConfig { success_codes: vec![404], ..HttpSinkConfig::new(&api.url) };
    let worker = Worker::start(&delivering(&place, sink));
    place.write([1, 2].map(|n| ("key".to_owned(), format!(r#"{{"n": {n}}}"#)))).await;
    let letters = place.dead_letters(1).await;
    place.until_no_lag().await;
    let message = "the API answered 410 Gone: there is no such account";
    assert_eq!(header(&letters[0], "sluice-error-message"), message);
    assert_eq!(api.requests()[0].headers["accept-encoding"], "gzip");
    worker.until_status("both are told", |status| (status.delivered, status.dead_lettered) == (1, 1)).await;
}
