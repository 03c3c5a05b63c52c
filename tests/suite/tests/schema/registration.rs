//! What is registered, what is withheld, and what is refused.

use http::Method;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use sluice_crds::Topic;
use sluice_suite::{
    Stage,
    proxy::{Fate, Proxy},
    world::condition,
};

use crate::desk::{Desk, OPTIONAL, REQUIRED, order, registry};

#[tokio::test]
async fn a_schema_is_registered_and_an_incompatible_change_of_it_is_withheld() {
    let desk = Desk::begin("registered").await;
    let subject = desk.subject("orders");
    let backward = || json!({"compatibility": "Backward"});
    desk.avro("orders", &order(""), backward()).await;
    let id = desk.has_version("orders", 1).await;
    assert_eq!(desk.ask(&format!("config/{subject}")).await["compatibilityLevel"], "BACKWARD");
    let newest = desk.ask(&format!("subjects/{subject}/versions/latest")).await;
    assert_eq!((newest["id"].as_i64(), newest["schema"].as_str()), (Some(id), Some(order("").as_str())));

    // Spaces make no version.
    desk.avro("orders", &order("").replace(", ", ","), backward()).await;
    desk.says("orders", "True InSync").await;
    assert_eq!(desk.versions(&subject).await, json!([1]));

    desk.avro("orders", &order(OPTIONAL), backward()).await;
    desk.has_version("orders", 2).await;

    desk.avro("orders", &order(REQUIRED), backward()).await;
    let (status, message) = desk.says("orders", "False SchemaIncompatible").await;
    assert!(message.contains("Incompatible artifact") && message.contains("currency"), "{message}");
    assert_eq!(condition(&status.conditions, "SchemaRegistered"), message);
    assert!(condition(&status.conditions, "Stalled").starts_with("True SchemaIncompatible"));
    assert_eq!((status.schema.unwrap().version, status.partitions), (2, Some(1)), "what was registered is still so");
    assert_eq!(desk.versions(&subject).await, json!([1, 2]));

    // The compatibility is set first: what it allows is registered.
    desk.avro("orders", &order(REQUIRED), json!({"compatibility": "None"})).await;
    desk.has_version("orders", 3).await;

    desk.avro("orders", &order(""), json!({"compatibility": "None"})).await;
    let (status, message) = desk.says("orders", "False SchemaSuperseded").await;
    assert!(message.contains("version 1 holds the schema, and version 3 was registered after it"), "{message}");
    assert_eq!(status.schema.unwrap().version, 1);

    // A Topic without a schema says nothing about one, and the subject stays.
    desk.topic("orders", json!({})).await;
    let (status, _) = desk.says("orders", "True InSync").await;
    assert_eq!((status.schema, condition(&status.conditions, "SchemaRegistered")), (None, "none".to_owned()));
    assert_eq!(desk.versions(&subject).await, json!([1, 2, 3]));
}

#[tokio::test]
async fn schemas_of_every_format_are_registered_and_invalid_ones_have_their_own_reason() {
    let desk = Desk::begin("formats").await;
    let topic = |format: &str, text: &str| json!({"schema": {"format": format, "definition": {"inline": text}}});
    let message = "syntax = \"proto3\"; message Order { string id = 1; }";
    for (name, format, text) in [
        ("avro", "Avro", "\"string\""),
        ("json", "Json", "{\"type\": \"object\", \"properties\": {\"id\": {\"type\": \"string\"}}}"),
        ("protobuf", "Protobuf", message),
    ] {
        desk.topic(name, topic(format, text)).await;
        desk.has_version(name, 1).await;
    }
    let wrong_type = order(", {\"name\": \"amount\", \"type\": \"number of cents\"}");
    for (name, format, text, words) in [
        ("no-json", "Avro", "{", "spec.schema.definition.inline: it is no JSON: EOF"),
        ("no-avro", "Avro", wrong_type.as_str(), "answered 422 Unprocessable Entity, asked to register a version of"),
        ("no-protobuf", "Protobuf", "syntax = \"proto3\"; message { }", "Failed to discover artifact type"),
    ] {
        desk.topic(name, topic(format, text)).await;
        let (status, ready) = desk.says(name, "False SchemaInvalid").await;
        assert!(ready.contains(words), "{ready}");
        assert_eq!(status.partitions, Some(1), "the Kafka topic does not wait");
        assert_eq!(desk.versions(&desk.subject(name)).await, Value::Null);
    }
    desk.topic("no-json", topic("Avro", "\"string\"")).await;
    desk.has_version("no-json", 1).await;
}

#[tokio::test]
async fn a_schema_that_refers_to_others_waits_for_them() {
    // Nobody looks again by a timer.
    let registries = format!("default: {{url: '{}', driftInterval: 24h}}", registry().await);
    let desk = Desk::with("references", &registries).await;
    let topic = |format: &str, text: &str, references: Value| json!({"schema": {"format": format, "definition": {"inline": text}, "references": references}});
    let avro = "{\"type\": \"record\", \"name\": \"Customer\", \"namespace\": \"shop\", \"fields\": []}";
    let protobuf = "syntax = \"proto3\"; package shop; message Customer { string id = 1; }";
    let json = "{\"type\": \"object\", \"properties\": {\"id\": {\"type\": \"string\"}}}";
    let uses_protobuf = "syntax = \"proto3\"; import \"customer.proto\"; message Order { shop.Customer customer = 1; }";
    let cases = [
        ("Avro", avro, "shop.Customer", order(", {\"name\": \"customer\", \"type\": \"shop.Customer\"}")),
        ("Protobuf", protobuf, "customer.proto", uses_protobuf.to_owned()),
        (
            "Json",
            json,
            "customer.json",
            "{\"type\": \"object\", \"properties\": {\"customer\": {\"$ref\": \"customer.json\"}}}".to_owned(),
        ),
    ];
    for (format, used, name, text) in cases {
        let (orders, customers) =
            (format!("{}-orders", format.to_lowercase()), format!("{}-customers", format.to_lowercase()));
        let reference = |version| json!([{"name": name, "subject": desk.subject(&customers), "version": version}]);
        desk.topic(&orders, topic(format, &text, reference(1))).await;
        let (status, message) = desk.says(&orders, "False NotFound").await;
        let expected =
            format!("has no version 1 of {:?}, to which spec.schema.references[0] refers", desk.subject(&customers));
        assert!(message.contains(&expected), "{message}");
        assert_eq!((status.partitions, condition(&status.conditions, "Stalled")), (Some(1), "none".to_owned()));

        desk.topic(&customers, topic(format, used, json!([]))).await;
        desk.has_version(&customers, 1).await;
        desk.has_version(&orders, 1).await;
        let newest = desk.ask(&format!("subjects/{}/versions/latest", desk.subject(&orders))).await;
        assert_eq!(newest["references"], reference(1), "{newest}");

        desk.topic(&orders, topic(format, &text, reference(7))).await;
        desk.says(&orders, "False NotFound").await;
        desk.topic(&orders, topic(format, &text, reference(1))).await;
        desk.has_version(&orders, 1).await;
    }
}

#[tokio::test]
async fn a_schema_in_a_config_map_follows_it() {
    let desk = Desk::begin("config-map").await;
    let reference = json!({"configMapRef": {"name": "schemas", "key": "order.avsc"}});
    desk.topic("orders", json!({"schema": {"format": "Avro", "compatibility": "Full", "definition": reference}})).await;
    let (status, message) = desk.says("orders", "False NotFound").await;
    assert!(message.contains("there is no ConfigMap \"schemas\""), "{message}");
    assert_eq!((status.partitions, condition(&status.conditions, "Stalled")), (Some(1), "none".to_owned()));

    let config_map = async |data: Value| {
        let manifest = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "schemas"}, "data": data});
        desk.apply::<ConfigMap>(&manifest.to_string()).await.unwrap();
    };
    config_map(json!({"order.avsc": order("")})).await;
    desk.has_version("orders", 1).await;
    config_map(json!({"order.avsc": order(OPTIONAL)})).await;
    desk.has_version("orders", 2).await;
    config_map(json!({"another": "text"})).await;
    let (status, message) = desk.says("orders", "False NotFound").await;
    assert!(message.contains("there is no key \"order.avsc\""), "{message}");
    assert_eq!(status.schema.unwrap().version, 2);
}

#[tokio::test]
async fn a_config_map_that_cannot_be_read_holds_back_the_schema_and_nothing_else() {
    let stage = Stage::begin("schema-unreadable").await.unwrap();
    let api_server = Proxy::start(stage.kubeconfig()).await.unwrap();
    api_server.judge(|asked| {
        let is_read = asked.method == Method::GET && asked.path.ends_with("/configmaps/schemas");
        if is_read { Fate::Answer(500) } else { Fate::Forward }
    });
    let registries = format!("default: {{url: '{}'}}", registry().await);
    let desk = Desk::behind(stage, &registries, Some(api_server.url.clone())).await;
    let manifest = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "schemas"}, "data": {"order.avsc": order("")}
    });
    desk.apply::<ConfigMap>(&manifest.to_string()).await.unwrap();
    let definition = json!({"configMapRef": {"name": "schemas", "key": "order.avsc"}});
    let schema = json!({"format": "Avro", "definition": definition});
    desk.topic("orders", json!({"config": {"retention.ms": "3600000"}, "schema": schema})).await;
    let (status, message) = desk.says("orders", "False KubernetesError").await;
    assert!(message.contains("could not read ConfigMap"), "{message}");
    assert!(status.topic_id.is_some());
    assert_eq!((status.partitions, status.config_keys), (Some(1), vec!["retention.ms".to_owned()]));

    // Nothing changes that is watched.
    api_server.judge(|_| Fate::Forward);
    desk.has_version("orders", 1).await;
}

#[tokio::test]
async fn a_policy_shows_what_it_does_not_change() {
    let desk = Desk::begin("schema-policy").await;
    let topic = |policy: &str, text: &str| {
        let schema = json!({"format": "Avro", "compatibility": "Full", "definition": {"inline": text}});
        json!({"managementPolicy": policy, "schema": schema})
    };
    desk.topic("created", topic("CreateOnly", &order(""))).await;
    desk.has_version("created", 1).await;
    desk.topic("created", topic("CreateOnly", &order(OPTIONAL))).await;
    let (status, ready) = desk.says("created", "True InSync").await;
    assert!(ready.contains("no version of it holds the schema"), "{ready}");
    assert_eq!(status.schema, None);
    assert_eq!(desk.versions(&desk.subject("created")).await, json!([1]));

    desk.topic("observed", json!({})).await;
    desk.says("observed", "True InSync").await;
    desk.topic("observed", topic("Observe", &order(""))).await;
    let (_, ready) = desk.says("observed", "True InSync: 1 partition, 1 copy of each; no schema").await;
    assert!(ready.contains("its compatibility is not set and not FULL"), "{ready}");
    assert_eq!(desk.versions(&desk.subject("observed")).await, Value::Null);
}

#[tokio::test]
async fn a_subject_belongs_to_the_oldest_topic_that_names_it() {
    let desk = Desk::begin("subject").await;
    let subject = format!("{}-Order", desk.namespace);
    desk.avro("first", &order(""), json!({"subject": subject})).await;
    desk.has_version("first", 1).await;
    desk.avro("second", &order(OPTIONAL), json!({"subject": subject})).await;
    let (status, message) = desk.says("second", "False Conflict").await;
    assert!(message.contains(&format!("belongs to Topic {}/first", desk.namespace)), "{message}");
    assert_eq!((status.schema, status.partitions), (None, Some(1)));
    desk.api::<Topic>().delete("first", &Default::default()).await.unwrap();
    desk.has_version("second", 2).await;
}
