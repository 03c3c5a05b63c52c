//! Events whose bodies are not as they must be: they become dead letters, or are refused.

use serde_json::json;
use sluice_crds::{
    CloudEvents, Duration,
    wire::{EventContract, FieldSource, RejectedBecause, Verification},
};

use crate::{
    kafka::{connection, records, topic},
    running::{CONTAINER, PATH, SECRET, Setup},
    sender::{Sender, full},
};

fn contract(dead_letters: Option<&str>) -> EventContract {
    let json_schema = json!({"type": "object", "required": ["id"], "properties": {"amount": {"minimum": 1}}});
    EventContract { json_schema, dead_letters: dead_letters.map(str::to_owned) }
}

#[tokio::test]
async fn a_bad_event_is_acknowledged_and_becomes_a_dead_letter_once() {
    let (events, letters) = (topic(&connection(), &[]).await, topic(&connection(), &[]).await);
    let mut setup = Setup::new(connection(), &events);
    setup.config.contract = Some(contract(Some(&letters)));
    let receiver = setup.ready().await;
    let sender = Sender::to(receiver.endpoint);
    let bad = "{\"id\": \"e-2\",\n \"amount\": 0}";
    for (id, body) in [("e-1", r#"{"id": "e-1"}"#), ("e-2", bad), ("e-3", "no json"), ("e-2", bad)] {
        assert_eq!(sender.signed(SECRET, id, body).await.unwrap().status, 202, "{body}");
    }

    let written = records(&connection(), &events).await;
    assert_eq!(written.iter().map(|record| record.header("ce_id")).collect::<Vec<_>>(), [Some("e-1")]);
    let dead = records(&connection(), &letters).await;
    assert_eq!(dead.iter().map(|letter| letter.header("ce_id")).collect::<Vec<_>>(), [Some("e-2"), Some("e-3")]);
    assert_eq!(dead[0].value, bad.as_bytes(), "the value is what came in, byte for byte");
    for (name, value) in [
        ("ce_type", "push"),
        ("x-github-event", "push"),
        ("sluice-error-class", "DataError"),
        ("sluice-error-stage", "validate"),
        ("sluice-error-code", "SchemaMismatch"),
        ("sluice-error-message", "/amount: 0 is less than the minimum of 1"),
        ("sluice-attempts", "1"),
        ("sluice-webhook", "shop/github"),
        ("sluice-generation", "3"),
        ("sluice-replay-count", "0"),
    ] {
        assert_eq!(dead[0].header(name), Some(value), "{name}");
    }
    assert_eq!(dead[1].header("sluice-error-code"), Some("InvalidJson"));
    let status = receiver.status().await;
    assert_eq!((status.accepted, status.dead_letters, status.duplicates), (1, 2, 1));
    assert_eq!(status.rejected, [].into());
}

#[tokio::test]
async fn a_bad_event_is_refused_where_the_webhook_says_so_and_with_it_its_whole_batch() {
    let events = topic(&connection(), &[]).await;
    let mut setup = Setup::new(connection(), &events);
    setup.config.contract = Some(contract(None));
    setup.config.verification = Verification::None;
    setup.config.event.cloud_events = CloudEvents::AcceptBatches;
    let receiver = setup.ready().await;
    let sender = Sender::to(receiver.endpoint);
    let send = async |content_type: &str, body: String| {
        let request = sender.request(http::Method::POST, PATH).header("content-type", content_type);
        sender.send(request.body(full(body)).unwrap()).await.unwrap()
    };
    let refused = send("application/json", r#"{"id": 1, "amount": 0}"#.to_owned()).await;
    assert_eq!(refused.status, 422);
    assert_eq!(refused.body, "validate: /amount: 0 is less than the minimum of 1\n");
    let event = |id: &str, data: serde_json::Value| json!({"specversion": "1.0", "id": id, "source": "/a", "type": "t", "data": data});
    let batch = "application/cloudevents-batch+json";
    let (good, bad) = (event("1", json!({"id": 1})), event("2", json!([])));
    assert_eq!(send(batch, json!([good, bad]).to_string()).await.status, 422);
    assert_eq!(records(&connection(), &events).await, []);
    assert_eq!(send(batch, json!([good]).to_string()).await.status, 202);
    assert_eq!(records(&connection(), &events).await.len(), 1);
    assert_eq!(receiver.status().await.rejected, [(RejectedBecause::Schema, 2)].into());
}

/// Four million zeros, which take 128 MiB as a value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_would_take_many_times_its_size_as_a_value_becomes_none() {
    let body = format!("[{}0]", "0,".repeat(4 * 1024 * 1024 - 2));
    let events = topic(&connection(), &[("max.message.bytes", "9000000")]).await;
    let setup = || {
        let mut setup = Setup::new(connection(), &events);
        setup.config.body_limit = "8Mi".parse().unwrap();
        // An unoptimised program on a busy machine takes its time over it.
        setup.config.patience = Duration::from_secs(60);
        setup.config.event.key = Some(FieldSource::JsonPointer("/customer".into()));
        setup
    };
    let receiver = setup().ready().await;
    assert_eq!(receiver.post(body.clone()).await.status, 202);
    let memory = receiver.peak_memory();
    assert!(memory < CONTAINER, "{memory} bytes");
    assert_eq!(records(&connection(), &events).await.len(), 1);

    let mut with_schema = setup();
    with_schema.config.contract = Some(EventContract { json_schema: json!({"type": "array"}), dead_letters: None });
    let receiver = with_schema.ready().await;
    let refused = receiver.post(body).await;
    assert_eq!(refused.status, 422);
    assert!(refused.body.starts_with(b"decode: the value would take more than 160 MiB"), "{refused:?}");
    let memory = receiver.peak_memory();
    assert!(memory < CONTAINER, "{memory} bytes");
}
