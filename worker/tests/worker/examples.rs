//! What users copy works: examples, judged and carried out as in a cluster, against an API of the test.

use sluice_crds::{
    Integration, Settings, Topic,
    wire::{AuthConfig, CONFIG_KEY, SECRETS_FOLDER, SinkConfig, SourceConfig, WorkerConfig},
};
use sluice_kafka::OutgoingRecord;
use sluice_model::{
    children::ChildKind,
    integration::{References, desire, validate},
};

use crate::{
    api::{Api, status},
    encrypted::{Encrypted, authority, issue},
    kafka::Place,
    mounted::Mounted,
    oauth2::{Issuer, SECRET, claims, free_port},
    running::Worker,
};

/// The worker's configuration, as the operator makes it of an Integration and its Topic.
fn configuration(integration: &str, topic: &str) -> WorkerConfig {
    let settings = "{clusters: {default: {bootstrapServers: ['kafka:9092']}}, images: {receiver: r, worker: w}, outgoing: {allow: ['127.0.0.0/8']}}";
    let settings: Settings = serde_saphyr::from_str(settings).unwrap();
    let integration: Integration = serde_saphyr::from_str(integration).unwrap();
    let mut source: Topic = serde_saphyr::from_str(topic).unwrap();
    source.status = Some(serde_json::from_value(serde_json::json!({"topicName": "t", "topicId": "id"})).unwrap());
    let sink = integration.spec.sink.kafka.as_ref().map(|_| source.clone());
    let sink = sink.map(|mut sink| {
        sink.status = Some(serde_json::from_value(serde_json::json!({"topicName": "s", "topicId": "sid"})).unwrap());
        sink
    });
    let references = References { source: Some(source), sink, ..References::default() };
    let flow = validate(&integration, &references, &settings).unwrap();
    let children = desire(&flow, &settings);
    let config = children.iter().find(|child| child.kind == ChildKind::ConfigMap).unwrap();
    serde_json::from_str(config.manifest["data"][CONFIG_KEY].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_topic_keeps_a_rest_api_in_step() {
    let (place, mounted, port) = (Place::new("rest-api", 1).await, Mounted::new(), free_port());
    let servers = authority("servers");
    let listener = Encrypted::new(&issue(&servers, "localhost"), None).await;
    let api = Api::at(listener, |request| {
        let may = claims(request).is_some_and(|claims| claims["scope"] == "accounts.write");
        status(match may {
            true if request.line.starts_with("DELETE") => 404,
            true => 200,
            false => 401,
        })
    });
    let _issuer = Issuer::start(port, 600).await;
    mounted.write("crm", &[("client-id", "by:basic"), ("client-secret", SECRET), ("ca.crt", &servers.pem())]);
    let mut config = configuration(
        include_str!("../../../examples/topic-to-rest-api/integration.yaml"),
        include_str!("../../../examples/topic-to-rest-api/topic.yaml"),
    );
    let SourceConfig::Kafka { connection, topics, group, .. } = &mut config.source;
    (*connection, *topics, *group) = (place.connection.clone(), vec![place.topic.clone()], place.group.clone());
    config.dead_letters.clone_from(&place.dead_letters);
    let SinkConfig::Http(http) = &mut config.sink else { panic!() };
    let here = api.url.replace("http://127.0.0.1", "https://localhost").replace("/entries", "");
    http.url = http.url.replace("https://crm.example", &here);
    let Some(AuthConfig::OAuth2 { token_url, client_id, client_secret, .. }) = &mut http.auth else { panic!() };
    *token_url = format!("http://127.0.0.1:{port}/token");
    for file in [client_id, client_secret, http.tls.ca.as_mut().unwrap()] {
        assert!(file.starts_with(SECRETS_FOLDER));
        *file = mounted.file("crm", file.file_name().unwrap().to_str().unwrap());
    }

    let _worker = Worker::start(&config);
    let record = |value: &'static str| OutgoingRecord {
        key: Some("a/7".into()),
        headers: vec![Place::header("region", "eu")],
        ..OutgoingRecord::new(place.topic.as_str(), value)
    };
    let tombstone = OutgoingRecord { value: None, headers: vec![], ..record("") };
    place.write_records([record(r#"{"name": "Ada"}"#), tombstone]).await;
    place.until_no_lag().await;
    let seen: Vec<_> = api.requests().iter().map(|request| (request.line.clone(), request.body.clone())).collect();
    let expected = [
        ("PUT /v2/accounts/a%2F7?region=eu".to_owned(), serde_json::json!({"name": "Ada"})),
        ("DELETE /v2/accounts/a%2F7".to_owned(), serde_json::Value::Null),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_topic_is_cut_into_another_one() {
    let place = Place::new("topic-to-topic", 2).await;
    let target = place.another("purchases", 1, &[]).await;
    let topics = include_str!("../../../examples/topic-to-topic/topics.yaml");
    let mut config = configuration(
        include_str!("../../../examples/topic-to-topic/integration.yaml"),
        topics.split("---").next().unwrap(),
    );
    let SourceConfig::Kafka { connection, topics, group, .. } = &mut config.source;
    (*connection, *topics, *group) = (place.connection.clone(), vec![place.topic.clone()], place.group.clone());
    config.dead_letters.clone_from(&place.dead_letters);
    let SinkConfig::Kafka(kafka) = &mut config.sink else { panic!() };
    (kafka.connection, kafka.topic) = (place.connection.clone(), target.clone());

    let _worker = Worker::start(&config);
    let record = |value: &'static str| OutgoingRecord {
        headers: vec![Place::header("region", "eu"), Place::header("browser", "none")],
        timestamp: Some(1_795_478_400_000),
        ..OutgoingRecord::new(place.topic.as_str(), value)
    };
    let purchase = r#"{"action": "purchase", "customer": 7, "article": "a-1", "page": "/"}"#;
    place.write_records([record(r#"{"action": "view"}"#), record(purchase)]).await;
    place.until_no_lag().await;
    let written = place.read_all(&target, "last-of-purchases").await;
    assert_eq!(written.len(), 1);
    let value: serde_json::Value = serde_json::from_slice(written[0].value.as_ref().unwrap()).unwrap();
    let expected = serde_json::json!({"customer": 7, "article": "a-1", "at": "2026-11-24T00:00:00Z"});
    assert_eq!((value, written[0].key.as_deref()), (expected, Some(&b"7"[..])));
    assert_eq!(written[0].headers.len(), 2);
}
