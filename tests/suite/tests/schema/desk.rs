//! A stage with an operator of its own that knows schema registries: what tests do to Topics and to the registry, and what they
//! wait for.

use std::ops::Deref;

use serde_json::{Value, json};
use sluice_cluster::testing;
use sluice_crds::{Topic, TopicStatus};
use sluice_suite::{
    Stage,
    operator::{Launch, Operator},
    until,
    world::{PATIENCE, condition, judge_topic},
};

pub(crate) struct Desk {
    stage: Stage,
    pub(crate) operator: Operator,
    /// Confluent's API of the registry, without anybody before it.
    pub(crate) registry: String,
}

impl Deref for Desk {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

/// A schema of a record `Order` with these fields beside its id.
pub(crate) fn order(fields: &str) -> String {
    format!(
        "{{\"type\": \"record\", \"name\": \"Order\", \"fields\": [{{\"name\": \"id\", \"type\": \"string\"}}{fields}]}}"
    )
}

/// A field that old readers and writers need not know.
pub(crate) const OPTIONAL: &str = ", {\"name\": \"amount\", \"type\": \"int\", \"default\": 0}";
/// A field without which new readers cannot do.
pub(crate) const REQUIRED: &str = ", {\"name\": \"currency\", \"type\": \"string\"}";

/// Address of the registry that tests share.
pub(crate) async fn registry() -> String {
    tokio::task::spawn_blocking(testing::shared_schema_registry).await.unwrap()
}

impl Desk {
    /// An operator whose registry `default` is looked at once a second.
    pub(crate) async fn begin(name: &str) -> Self {
        let url = registry().await;
        Self::with(name, &format!("default: {{url: '{url}', driftInterval: 1s}}")).await
    }

    /// An operator that knows these registries.
    pub(crate) async fn with(name: &str, registries: &str) -> Self {
        Self::behind(Stage::begin(name).await.unwrap(), registries, None).await
    }

    /// The same on that stage, with another way to the API server.
    pub(crate) async fn behind(stage: Stage, registries: &str, server: Option<String>) -> Self {
        let registry = registry().await;
        let launch = stage.launch_apart(&stage.namespace).await.unwrap();
        let registries = registries.to_owned();
        let operator = stage.start(&Launch { registries, server, ..launch }).await.unwrap();
        Self { stage, operator, registry }
    }

    /// The subject of the Topic of that name.
    pub(crate) fn subject(&self, topic: &str) -> String {
        format!("{}.{topic}-value", self.namespace)
    }

    pub(crate) async fn topic(&self, name: &str, spec: Value) {
        let manifest =
            json!({"apiVersion": "sluice.dev/v1alpha1", "kind": "Topic", "metadata": {"name": name}, "spec": spec});
        self.apply::<Topic>(&manifest.to_string()).await.unwrap();
    }

    /// A Topic with an Avro schema in its spec.
    pub(crate) async fn avro(&self, name: &str, text: &str, rest: Value) {
        let mut schema = json!({"format": "Avro", "definition": {"inline": text}});
        schema.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        self.topic(name, json!({"schema": schema})).await;
    }

    /// Waits until the condition `Ready` of the newest spec begins with `what`, such as `False SchemaInvalid`.
    pub(crate) async fn says(&self, name: &str, what: &str) -> (TopicStatus, String) {
        let judge = |topic: &Topic| judge_topic(topic, what);
        let found = self.until(name, what, judge).await;
        found.unwrap_or_else(|error| panic!("{error:#}\n{}", self.operator.log()))
    }

    /// Waits until the status of a Topic that is in sync names that version; gives the registry's id of it.
    pub(crate) async fn has_version(&self, name: &str, version: i32) -> i64 {
        let judge = |topic: &Topic| {
            let status = topic.status.clone().unwrap_or_default();
            let ready = condition(&status.conditions, "Ready");
            let schema = status.schema.filter(|schema| schema.version == version && ready.starts_with("True InSync"));
            schema.map(|schema| schema.id).ok_or(ready)
        };
        let found = self.until(name, &format!("it has version {version}"), judge).await;
        found.unwrap_or_else(|error| panic!("{error:#}\n{}", self.operator.log()))
    }

    /// Asks the registry itself; `null` where it knows no such thing.
    pub(crate) async fn ask(&self, path: &str) -> Value {
        let answer = reqwest::get(format!("{}/{path}", self.registry)).await.unwrap();
        if answer.status().as_u16() == 404 { Value::Null } else { answer.json().await.unwrap() }
    }

    /// Tells the registry itself something, as another tool would.
    pub(crate) async fn tell(&self, method: reqwest::Method, path: &str, body: &Value) {
        let request = reqwest::Client::new().request(method, format!("{}/{path}", self.registry)).json(body);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Waits until the registry answers like that.
    pub(crate) async fn answers(&self, path: &str, expected: &Value) {
        until(&format!("the registry answers {expected} at {path}"), PATIENCE, || async {
            let answer = self.ask(path).await;
            if answer == *expected { Ok(()) } else { Err(answer.to_string()) }
        })
        .await
        .unwrap_or_else(|error| panic!("{error:#}\n{}", self.operator.log()));
    }

    /// The text of a subject's newest version.
    pub(crate) async fn newest(&self, subject: &str) -> Value {
        self.ask(&format!("subjects/{subject}/versions/latest")).await["schema"].take()
    }

    /// The numbers of a subject's versions.
    pub(crate) async fn versions(&self, subject: &str) -> Value {
        self.ask(&format!("subjects/{subject}/versions")).await
    }
}
