//! Stories that every run must bring to the same end, whatever happens on the way, and what that end looks like.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    time::Duration,
};

use anyhow::Context;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams},
};
use serde_json::{Value, json};
use sluice_crds::{Integration, Topic, Webhook};

use crate::{Stage, until};

/// A run that is disturbed waits for timeouts and backoffs, and Kubernetes collects what has no owner when it comes to it.
const PATIENCE: Duration = Duration::from_mins(4);

/// What exists at rest: objects by kind and name, and Kafka topics.
pub type State = BTreeMap<String, Value>;

/// What a story is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Story {
    /// A Topic whose Kafka topic is deleted with it.
    Topic,
    /// A Webhook with all that it owns.
    Webhook,
    /// An Integration with all that it owns, and the Topic that it reads.
    Integration,
}

/// A part of a story; each ends at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chapter {
    /// The resource is made.
    Create,
    /// It is changed.
    Change,
    /// It is deleted.
    Delete,
}

impl Story {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Topic, Self::Webhook, Self::Integration];

    /// Does what a user does in a chapter.
    pub async fn tell(self, chapter: Chapter, stage: &Stage) -> anyhow::Result<()> {
        match (self, chapter) {
            (Self::Topic, Chapter::Create) => {
                topic(stage, "held", "deletionPolicy: Delete, partitions: 2, config: {retention.ms: '1000000'}").await
            }
            (Self::Topic, Chapter::Change) => {
                topic(stage, "held", "deletionPolicy: Delete, partitions: 3, config: {segment.bytes: '1048576'}").await
            }
            (Self::Topic, Chapter::Delete) => delete::<Topic>(stage, "held").await,
            (Self::Webhook, Chapter::Create) => webhook(stage, "").await,
            (Self::Webhook, Chapter::Change) => webhook(stage, ", replicas: 3, limits: {body: 2Mi}").await,
            (Self::Webhook, Chapter::Delete) => delete::<Webhook>(stage, "stripe").await,
            (Self::Integration, Chapter::Create) => {
                topic(stage, "orders", "").await?;
                integration(stage, "").await
            }
            (Self::Integration, Chapter::Change) => {
                integration(stage, ", replicas: 2, steps: [{name: all, filter: 'true'}]").await
            }
            (Self::Integration, Chapter::Delete) => {
                delete::<Integration>(stage, "to-api").await?;
                delete::<Topic>(stage, "orders").await
            }
        }
    }

    /// What must exist at the end of a chapter, by the names of [`State`].
    fn must_exist(self, chapter: Chapter) -> &'static [&'static str] {
        match (self, chapter) {
            (_, Chapter::Delete) => &[],
            (Self::Topic, _) => &["Topic held", "Kafka topic held"],
            (Self::Webhook, _) => &["Topic stripe", "Deployment stripe-receiver", "HTTPRoute stripe-receiver"],
            (Self::Integration, _) => &["Topic to-api-dead-letters", "Deployment to-api-worker", "Kafka topic orders"],
        }
    }

    /// Whether something stays where the resource is deleted.
    fn outlives_deletion(self, name: &str) -> bool {
        self != Self::Topic && name.starts_with("Kafka topic ")
    }

    /// The Kafka topics of the story, without their namespace.
    const fn topics(self) -> &'static [&'static str] {
        match self {
            Self::Topic => &["held"],
            Self::Webhook => &["stripe", "stripe-webhook-dead-letters"],
            Self::Integration => &["orders", "to-api-dead-letters"],
        }
    }
}

impl Chapter {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Create, Self::Change, Self::Delete];
}

async fn topic(stage: &Stage, name: &str, spec: &str) -> anyhow::Result<()> {
    stage.apply_topic(name, spec).await.map(drop)
}

async fn webhook(stage: &Stage, more: &str) -> anyhow::Result<()> {
    let yaml = format!(
        "{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {{name: stripe}}, \
         spec: {{route: {{parentRefs: [{{name: edge}}]}}, verify: {{none: {{}}}}{more}}}}}"
    );
    stage.apply::<Webhook>(&yaml).await.map(drop)
}

async fn integration(stage: &Stage, more: &str) -> anyhow::Result<()> {
    let yaml = format!(
        "{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {{name: to-api}}, \
         spec: {{source: {{topic: {{name: orders}}}}, sink: {{http: {{url: 'http://api.example/'}}}}{more}}}}}"
    );
    stage.apply::<Integration>(&yaml).await.map(drop)
}

async fn delete<K>(stage: &Stage, name: &str) -> anyhow::Result<()>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
{
    stage.api::<K>().delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Waits until the resources say all that they can say without pods and gateways, and what must exist does; gives what exists.
pub async fn is_told(stage: &Stage, story: Story, chapter: Chapter) -> anyhow::Result<State> {
    until(&format!("{story:?}: {chapter:?} is told"), PATIENCE, || async {
        let now = what_exists(stage, &[story]).await.map_err(|error| format!("{error:#}"))?;
        let unsettled: Vec<_> = now.iter().filter(|(name, object)| !is_settled(name, object)).collect();
        let missing: Vec<_> = story.must_exist(chapter).iter().filter(|name| !now.contains_key(**name)).collect();
        let is_deleted = chapter != Chapter::Delete || now.keys().all(|name| story.outlives_deletion(name));
        if unsettled.is_empty() && missing.is_empty() && is_deleted {
            Ok(now)
        } else {
            Err(format!("not settled {unsettled:?}, missing {missing:?}, there are {:?}", now.keys()))
        }
    })
    .await
}

/// Whether a resource has said what it can about its newest spec.
fn is_settled(name: &str, object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    let is_current = object["status"]["isCurrent"] == true;
    let reason = ready.map_or("", |ready| ready["reason"].as_str().unwrap_or_default());
    match name.split_once(' ').map_or("", |(kind, _)| kind) {
        "Topic" => is_current && reason == "InSync",
        "Webhook" => is_current && (reason == "RoutePending" || reason == "Unavailable"),
        "Integration" => is_current && reason == "Unavailable",
        _ => true,
    }
}

/// Waits until everything is as it should be; says what differs.
pub async fn comes_to(stage: &Stage, stories: &[Story], wanted: &State) -> anyhow::Result<()> {
    until("everything is as in a run that nothing disturbed", PATIENCE, || async {
        let now = what_exists(stage, stories).await.map_err(|error| format!("{error:#}"))?;
        let mut names: Vec<&String> = wanted.keys().chain(now.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let differs = names.into_iter().filter(|name| wanted.get(*name) != now.get(*name));
        let differences: Vec<String> =
            differs.map(|name| format!("{name}: wanted {:?}, found {:?}", wanted.get(name), now.get(name))).collect();
        if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
    })
    .await
}

/// Deletes the Kafka topics that outlive their Topics.
pub async fn clear(stage: &Stage, stories: &[Story]) -> anyhow::Result<()> {
    let names = kafka_names(stage, stories);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    stage.kafka.delete_topics(&names).await?;
    Ok(())
}

fn kafka_names(stage: &Stage, stories: &[Story]) -> Vec<String> {
    let names = stories.iter().flat_map(|story| story.topics());
    names.map(|name| format!("{}.{name}", stage.namespace)).collect()
}

const KINDS: [(&str, &str, &str); 8] = [
    ("sluice.dev", "v1alpha1", "Topic"),
    ("sluice.dev", "v1alpha1", "Webhook"),
    ("sluice.dev", "v1alpha1", "Integration"),
    ("", "v1", "ConfigMap"),
    ("", "v1", "Service"),
    ("apps", "v1", "Deployment"),
    ("policy", "v1", "PodDisruptionBudget"),
    ("gateway.networking.k8s.io", "v1", "HTTPRoute"),
];

/// What exists now, without what differs from run to run.
async fn what_exists(stage: &Stage, stories: &[Story]) -> anyhow::Result<State> {
    let mut found = Vec::new();
    for kind in KINDS {
        found.extend(objects(&stage.client, &stage.namespace, kind).await?);
    }
    found.extend(kafka_topics(stage, stories).await?);
    let mut text = serde_json::to_string(&found)?.replace(&stage.namespace, "NAMESPACE");
    for (name, object) in &found {
        if let Some(name) = name.strip_prefix("ConfigMap ") {
            text = text.replace(name, &renamed(name, object, &stage.namespace));
        }
    }
    let found: Vec<(String, Value)> = serde_json::from_str(&text)?;
    Ok(found.into_iter().collect())
}

/// A configuration is named by a hash of its content, which says the namespace: the name by the hash of the rest.
fn renamed(name: &str, object: &Value, namespace: &str) -> String {
    let mut hasher = DefaultHasher::new();
    object["data"].to_string().replace(namespace, "NAMESPACE").hash(&mut hasher);
    let owner = name.rsplit_once('-').map_or(name, |(owner, _)| owner);
    format!("{owner}-{:x}", hasher.finish())
}

async fn objects(
    client: &Client,
    namespace: &str,
    (group, version, kind): (&str, &str, &str),
) -> anyhow::Result<Vec<(String, Value)>> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), namespace, &resource);
    let objects = api.list(&ListParams::default()).await.with_context(|| format!("list {kind}"))?;
    // Every namespace has a ConfigMap of Kubernetes' own.
    let ours = objects.items.into_iter().filter(|object| object.name_any() != "kube-root-ca.crt");
    let named = |object: DynamicObject| {
        let name = format!("{kind} {}", object.name_any());
        let mut object = serde_json::to_value(object)?;
        if group == "sluice.dev" {
            let is_current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            object["status"]["isCurrent"] = json!(is_current);
            if kind != "Topic" {
                // Of the Deployment.
                object["status"]["replicas"].take();
            }
        } else {
            // Kubernetes' own, which comes when it comes.
            object["status"].take();
        }
        Ok((name, without_accidents(object)))
    };
    ours.map(named).collect()
}

async fn kafka_topics(stage: &Stage, stories: &[Story]) -> anyhow::Result<Vec<(String, Value)>> {
    let names = kafka_names(stage, stories);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let of_all_keys: Vec<_> = names.iter().map(|name| (*name, Vec::new())).collect();
    let mut configs = stage.kafka.describe_own_configs(&of_all_keys).await?;
    let mut found = Vec::new();
    for (name, topic) in stage.kafka.describe_topics(&names).await? {
        let (Some(topic), Some(Ok(config))) = (topic?, configs.remove(&name)) else { continue };
        let name = name.rsplit_once('.').map_or(name.as_str(), |(_, name)| name);
        let shape = json!({"partitions": topic.partitions.len(), "config": config});
        found.push((format!("Kafka topic {name}"), shape));
    }
    Ok(found)
}

/// The object without what differs from run to run: ids, versions, times, what Kubernetes adds, and numbers that are asked for
/// now and then.
fn without_accidents(mut object: Value) -> Value {
    const ACCIDENTS: [&str; 19] = [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "observedGeneration",
        "activeGeneration",
        "managedFields",
        "lastTransitionTime",
        "topicId",
        "clusterIP",
        "clusterIPs",
        "deployment.kubernetes.io/revision",
        "sluice.dev/applied",
        // These tell of uids.
        "sluice.dev/objects",
        "objectsHash",
        "test/touched",
        "lag",
        "deadLetters",
        "readyReplicas",
    ];
    match &mut object {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                !ACCIDENTS.contains(&name.as_str()) || (name == "deadLetters" && value.is_object())
            });
            for value in fields.values_mut() {
                *value = without_accidents(value.take());
            }
            fields.retain(|_, value| !value.is_null() && *value != json!({}));
        }
        Value::Array(items) => {
            for item in items {
                *item = without_accidents(item.take());
            }
        }
        _ => {}
    }
    object
}
