//! A world with Topics: what tests do to them, to their Kafka topics and to those who use them, and what they wait for.

use std::{collections::BTreeMap, ops::Deref, time::Duration};

use k8s_openapi::api::{core::v1::Namespace, events::v1::Event};
use kube::{
    Api, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use sluice_crds::{Integration, PendingChanges, Topic, TopicStatus};
use sluice_kafka::{ConfigSource, KafkaConnection, NewTopic, OutgoingRecord, TopicDescription};
use sluice_suite::{
    World, until,
    world::{PATIENCE, condition, judge_topic, producer},
};

/// A world with Topics.
pub(crate) struct Stage(World);

impl Deref for Stage {
    type Target = World;

    fn deref(&self) -> &World {
        &self.0
    }
}

impl Stage {
    pub(crate) async fn begin(name: &str) -> Self {
        Self(World::begin(name).await.unwrap())
    }

    /// The name in Kafka of the Topic `name` of this world's namespace.
    pub(crate) fn kafka_name(&self, name: &str) -> String {
        format!("{}.{name}", self.namespace)
    }

    pub(crate) async fn topic(&self, name: &str, spec: &str) -> Topic {
        self.apply_topic(name, spec).await.unwrap()
    }

    /// An Integration that reads the Topic.
    pub(crate) async fn reader(&self, name: &str, topic: &str, rest: &str) {
        let sink = "sink: {http: {url: 'http://api.example/'}}";
        let spec = format!("{{source: {{topic: {{name: {topic}}}}}, {sink}, {rest}}}");
        let metadata = format!("{{name: {name}}}");
        let yaml =
            format!("{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {metadata}, spec: {spec}}}");
        self.apply::<Integration>(&yaml).await.unwrap();
    }

    /// An Integration that copies records of the Topic into a topic that it names by its name in Kafka.
    pub(crate) async fn writer(&self, name: &str, topic: &str, kafka_name: &str) {
        let spec = format!("{{source: {{topic: {{name: {topic}}}}}, sink: {{kafka: {{topicName: '{kafka_name}'}}}}}}");
        let metadata = format!("{{name: {name}}}");
        let yaml =
            format!("{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {metadata}, spec: {spec}}}");
        self.apply::<Integration>(&yaml).await.unwrap();
    }

    /// Waits until the condition `Ready` of the newest spec begins with `what`, such as `False Withheld`.
    pub(crate) async fn says(&self, name: &str, what: &str) -> TopicStatus {
        let judge = |topic: &Topic| judge_topic(topic, what).map(|(status, _)| status);
        self.until(name, what, judge).await.unwrap()
    }

    /// Waits until the Topic waits for an approval, and gives what it shows.
    pub(crate) async fn withheld(&self, name: &str) -> (PendingChanges, String) {
        let status = self.says(name, "False Withheld").await;
        (status.pending.unwrap(), condition(&status.conditions, "Stalled"))
    }

    pub(crate) async fn approve(&self, name: &str, hash: &str) {
        self.patch(name, json!({"metadata": {"annotations": {"sluice.dev/approve": hash}}})).await;
    }

    pub(crate) async fn patch(&self, name: &str, patch: Value) {
        self.api::<Topic>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub(crate) async fn patch_status(&self, name: &str, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.api::<Topic>().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    pub(crate) async fn delete<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        self.api::<K>().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until the Topic does not exist any more.
    pub(crate) async fn gone(&self, name: &str) {
        self.is_gone::<Topic>(name).await;
    }

    /// Waits until the object does not exist any more.
    pub(crate) async fn is_gone<K>(&self, name: &str)
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let what = format!("{} {name:?} is gone", K::kind(&()));
        let api = self.api::<K>();
        until(&what, PATIENCE, || async {
            match api.get_opt(name).await.unwrap() {
                None => Ok(()),
                Some(object) => Err(format!("{object:?}")),
            }
        })
        .await
        .unwrap_or_else(|error| panic!("{error:#}\n{}", self.operator.log()));
    }

    /// Deletes the stage's namespace and waits until it is gone.
    pub(crate) async fn delete_namespace(&self) {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await.unwrap();
        // Less than the five minutes, less a fifth, after which the operator would look at what it has missed.
        until("the namespace is gone", Duration::from_mins(3), || async {
            match namespaces.get_opt(&self.namespace).await.unwrap() {
                None => Ok(()),
                Some(namespace) => Err(format!("{:?}", namespace.status)),
            }
        })
        .await
        .unwrap_or_else(|error| panic!("{error:#}\n{}", self.operator.log()));
    }

    /// Waits until the Namespace has an Event, and gives the reason, what it concerns and the note.
    pub(crate) async fn told_at_namespace(&self) -> (String, String, String) {
        let events = Api::<Event>::namespaced(self.client.clone(), "default");
        let told = until("the Namespace has an Event", PATIENCE, || async {
            let all = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
            let is_about_it = |event: &Event| {
                let regarding = event.regarding.clone().unwrap_or_default();
                regarding.kind.as_deref() == Some("Namespace") && regarding.name.as_ref() == Some(&self.namespace)
            };
            all.into_iter().find(is_about_it).ok_or_else(|| "none".to_owned())
        });
        let Event { reason, related, note, .. } = told.await.unwrap();
        let concerns = related.and_then(|related| Some(format!("{}/{}", related.kind?, related.name?)));
        (reason.unwrap_or_default(), concerns.unwrap_or_default(), note.unwrap_or_default())
    }

    /// Waits until a line of the operator's log has all these words: what is done can be seen before it is told.
    pub(crate) async fn logged(&self, words: &[&str]) {
        until(&format!("the operator's log has {words:?}"), PATIENCE, || async {
            let log = self.operator.log();
            let is_told = log.lines().any(|line| words.iter().all(|word| line.contains(word)));
            if is_told { Ok(()) } else { Err(log) }
        })
        .await
        .unwrap();
    }

    /// Everything that the operator counts.
    pub(crate) async fn metrics(&self) -> String {
        reqwest::get(format!("http://{}/metrics", self.operator.status)).await.unwrap().text().await.unwrap()
    }

    /// The Kafka topic of that name, where there is one.
    pub(crate) async fn kafka_topic(&self, name: &str) -> Option<TopicDescription> {
        self.kafka.describe_topics(&[name]).await.unwrap().remove(name).unwrap().unwrap()
    }

    /// Waits until Kafka shows the topic, or does not show it.
    pub(crate) async fn kafka_shows(&self, name: &str, shown: bool) -> Option<TopicDescription> {
        until(&format!("Kafka shows {name:?}: {shown}"), PATIENCE, || async {
            let topic = self.kafka_topic(name).await;
            if topic.is_some() == shown { Ok(topic) } else { Err(format!("{topic:?}")) }
        })
        .await
        .unwrap()
    }

    /// Makes a topic as another tool would, and gives its id.
    pub(crate) async fn make_kafka_topic(&self, name: &str) -> String {
        let topic = NewTopic { name: name.to_owned(), partitions: Some(1), replicas: None, config: [].into() };
        self.kafka.create_topics(&[topic]).await.unwrap().remove(name).unwrap().unwrap();
        self.kafka_shows(name, true).await.unwrap().id
    }

    /// Deletes a topic as another tool would.
    pub(crate) async fn delete_kafka_topic(&self, name: &str) {
        self.kafka.delete_topics(&[name]).await.unwrap().remove(name).unwrap().unwrap();
        self.kafka_shows(name, false).await;
    }

    /// The settings that were made for the topic itself.
    pub(crate) async fn settings(&self, name: &str) -> BTreeMap<String, String> {
        let configs = self.kafka.describe_configs(&[name]).await.unwrap().remove(name).unwrap().unwrap();
        let own = configs.into_iter().filter(|(_, entry)| entry.source == ConfigSource::Topic);
        own.map(|(key, entry)| (key, entry.value.unwrap())).collect()
    }

    /// Writes a record of that time, in milliseconds since the epoch.
    pub(crate) async fn write(&self, topic: &str, milliseconds: i64) {
        let producer = producer(&self.connection()).unwrap();
        let record = OutgoingRecord { timestamp: Some(milliseconds), ..OutgoingRecord::new(topic, "a record") };
        producer.send(record).await.unwrap();
    }

    pub(crate) fn connection(&self) -> KafkaConnection {
        KafkaConnection { bootstrap_servers: vec![self.bootstrap.clone()], ..KafkaConnection::default() }
    }
}

/// A setting, as Kafka has it.
pub(crate) fn setting(key: &str, value: &str) -> BTreeMap<String, String> {
    [(key.to_owned(), value.to_owned())].into()
}
