//! What exists at the end of a chapter, without what differs from run to run.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    time::Duration,
};

use anyhow::Context;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};
use serde_json::{Map, Value, json};
use sluice_crds::{APPROVE_ANNOTATION, ChangeKind, PendingChange, Topic, wire::SharedWebhook};

use super::{Chapter, GROUP, NAMESPACE, SUBJECT, Story, registry};
use crate::{Stage, until};

/// A run that is disturbed waits for timeouts and backoffs, and Kubernetes collects what has no owner when it comes to it.
const PATIENCE: Duration = Duration::from_mins(4);

/// What exists at rest: objects by kind and name, and Kafka topics.
pub type State = BTreeMap<String, Value>;

/// Waits until the resources say all that they can say without pods and gateways, and what must exist does, and nothing else; gives what
/// exists.
pub async fn is_told(stage: &Stage, story: Story, chapter: Chapter) -> anyhow::Result<State> {
    until(&format!("{story:?}: {chapter:?} is told"), PATIENCE, || async {
        let now = what_exists(stage, &[story]).await.map_err(|error| format!("{error:#}"))?;
        let is_settled = |name: &str, object: &Value| has_said(object, story.may_say(chapter, name));
        let unsettled: Vec<_> = now.iter().filter(|(name, object)| !is_settled(name, object)).collect();
        let missing: Vec<_> = story.must_exist(chapter).iter().filter(|name| !now.contains_key(**name)).collect();
        let left: Vec<_> = story.must_be_gone(chapter).iter().filter(|name| now.contains_key(**name)).collect();
        let is_deleted = chapter != Chapter::Delete || now.keys().all(|name| story.outlives_deletion(name));
        if unsettled.is_empty() && missing.is_empty() && left.is_empty() && is_deleted {
            Ok(now)
        } else {
            Err(format!("not settled {unsettled:?}, missing {missing:?}, left {left:?}, there are {:?}", now.keys()))
        }
    })
    .await
}

/// Whether a resource has said one of these about its newest spec: reasons of its condition `Ready`. None are asked for of what has no such
/// condition.
fn has_said(object: &Value, reasons: &[&str]) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    let reason = ready.and_then(|ready| ready["reason"].as_str()).unwrap_or_default();
    reasons.is_empty() || (object["status"]["isCurrent"] == true && reasons.contains(&reason))
}

/// Waits until everything whose name matters is as it should be; says what differs.
pub async fn comes_to(
    stage: &Stage,
    stories: &[Story],
    wanted: &State,
    matters: impl Fn(&str) -> bool,
) -> anyhow::Result<()> {
    until("everything is as in a run that nothing disturbed", PATIENCE, || async {
        let now = what_exists(stage, stories).await.map_err(|error| format!("{error:#}"))?;
        let mut names: Vec<&String> = wanted.keys().chain(now.keys()).filter(|name| matters(name)).collect();
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

const KINDS: [(&str, &str, &str); 10] = [
    ("sluice.dev", "v1alpha1", "Topic"),
    ("sluice.dev", "v1alpha1", "Webhook"),
    ("sluice.dev", "v1alpha1", "Integration"),
    ("", "v1", "ConfigMap"),
    ("", "v1", "Service"),
    ("apps", "v1", "Deployment"),
    ("policy", "v1", "PodDisruptionBudget"),
    ("networking.k8s.io", "v1", "NetworkPolicy"),
    ("networking.k8s.io", "v1", "Ingress"),
    ("gateway.networking.k8s.io", "v1", "HTTPRoute"),
];

/// What exists now, without what differs from run to run.
async fn what_exists(stage: &Stage, stories: &[Story]) -> anyhow::Result<State> {
    let mut found = Vec::new();
    for kind in KINDS {
        found.extend(objects(&stage.client, &stage.namespace, kind).await?);
    }
    found.extend(kafka_topics(stage, stories).await?);
    if stories.contains(&Story::Schema) {
        found.extend(subject(stage).await?);
    }
    if stories.contains(&Story::Group) {
        found.extend(group(stage).await?);
    }
    if stories.contains(&Story::Namespace) {
        let namespace = Api::<Namespace>::all(stage.client.clone()).get_opt(&stage.namespace).await?;
        found.extend(namespace.map(|_| (NAMESPACE.to_owned(), json!({}))));
    }
    let mut text = without_uids(&without_places(&serde_json::to_string(&found)?, stage));
    for hash in found.iter().flat_map(|(_, object)| hashes(object)) {
        text = text.replace(&hash, "HASH");
    }
    for id in found.iter().flat_map(|(_, object)| lost_ids(object)) {
        text = text.replace(&id, "ID");
    }
    let found: Vec<(String, Value)> = serde_json::from_str(&text)?;
    for (name, object) in &found {
        if let Some(name) = name.strip_prefix("ConfigMap ").filter(|_| object["immutable"] == true) {
            text = text.replace(name, &renamed(name, object));
        }
    }
    let found: Vec<(String, Value)> = serde_json::from_str(&text)?;
    Ok(found.into_iter().collect())
}

/// The text without where a run takes place: its namespace, and its way to Kafka.
fn without_places(text: &str, stage: &Stage) -> String {
    text.replace(&stage.namespace, "NAMESPACE").replace(&stage.bootstrap, "BOOTSTRAP")
}

/// The text without the uids in the configurations of receivers: those of Kubernetes are gone already.
fn without_uids(text: &str) -> String {
    const NAMED: &str = r#"\"uid\":\""#;
    let mut parts = text.split(NAMED);
    let mut left = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find('\\').unwrap_or_default();
        left.extend([NAMED, "UID", &part[end..]]);
    }
    left
}

/// Hashes of what says where the run takes place: of a change that waits, and of what shared receivers are told.
fn hashes(object: &Value) -> Vec<String> {
    let pending = object["status"]["pending"]["hash"].as_str().map(str::to_owned);
    let texts = object["data"].as_object().into_iter().flat_map(Map::values).filter_map(Value::as_str);
    let told = texts.filter_map(|text| serde_json::from_str::<SharedWebhook>(text).ok());
    pending.into_iter().chain(told.map(|webhook| webhook.revision)).collect()
}

/// Kafka's ids in a change that waits: of a topic that is gone, and of the one that came into its place.
fn lost_ids(object: &Value) -> Vec<String> {
    let pending = object["status"]["pending"]["changes"].clone();
    let changes: Vec<PendingChange> = serde_json::from_value(pending).unwrap_or_default();
    let ids = |PendingChange { change, from, to, .. }| match change {
        ChangeKind::Recreate => vec![from],
        ChangeKind::Adopt => vec![from, to],
        _ => vec![],
    };
    changes.into_iter().flat_map(ids).collect()
}

/// A configuration is named by a hash of its content, which says where the run takes place: the name by the hash of the rest.
fn renamed(name: &str, object: &Value) -> String {
    let mut hasher = DefaultHasher::new();
    object["data"].to_string().hash(&mut hasher);
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
            if kind == "Topic" {
                // The registry counts all schemas.
                object["status"]["schema"]["id"].take();
            } else {
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
    let topics = stage.api::<Topic>();
    let mut found = Vec::new();
    for (name, described) in stage.kafka.describe_topics(&names).await? {
        let (Some(described), Some(Ok(config))) = (described?, configs.remove(&name)) else { continue };
        let name = name.rsplit_once('.').map_or(name.as_str(), |(_, name)| name);
        let recorded = topics.get_opt(name).await?.and_then(|topic| topic.status?.topic_id);
        let is_recorded = recorded.map(|id| id == described.id);
        let shape = json!({"partitions": described.partitions.len(), "config": config, "isRecorded": is_recorded});
        found.push((format!("Kafka topic {name}"), shape));
    }
    Ok(found)
}

/// Kafka's ids of the topics that exist, by their names.
pub async fn topic_ids(stage: &Stage, stories: &[Story]) -> anyhow::Result<BTreeMap<String, String>> {
    let names = kafka_names(stage, stories);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut ids = BTreeMap::new();
    for (name, described) in stage.kafka.describe_topics(&names).await? {
        ids.extend(described?.map(|topic| (name, topic.id)));
    }
    Ok(ids)
}

/// How far the story's consumer group has come, where there is one.
async fn group(stage: &Stage) -> anyhow::Result<Option<(String, Value)>> {
    let mut offsets = BTreeMap::new();
    for (partition, committed) in stage.kafka.group_offsets(&format!("{}.to-api", stage.namespace)).await? {
        offsets.insert(partition.to_string(), committed?.offset);
    }
    Ok((!offsets.is_empty()).then(|| (GROUP.to_owned(), json!(offsets))))
}

/// What the registry has of the story's subject.
async fn subject(stage: &Stage) -> anyhow::Result<Option<(String, Value)>> {
    let (registry, subject) = (registry().await?, format!("{}.typed-value", stage.namespace));
    let ask = async |path: String| -> anyhow::Result<Option<Value>> {
        let answer = reqwest::get(format!("{registry}/{path}")).await?;
        if answer.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(answer.error_for_status()?.json().await?))
    };
    let level = ask(format!("config/{subject}")).await?.map(|config| config["compatibilityLevel"].clone());
    let versions = ask(format!("subjects/{subject}/versions")).await?;
    let newest = ask(format!("subjects/{subject}/versions/latest")).await?.map(|newest| newest["schema"].clone());
    let is_there = level.is_some() || versions.is_some();
    let found = json!({"compatibility": level, "versions": versions, "newest": newest});
    Ok(is_there.then(|| (SUBJECT.to_owned(), found)))
}

/// The object without what differs from run to run: ids, versions, times, what Kubernetes adds, and numbers that are asked for
/// now and then.
fn without_accidents(mut object: Value) -> Value {
    const ACCIDENTS: [&str; 25] = [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        // That it is being deleted is told by `deletionGracePeriodSeconds` as well.
        "deletionTimestamp",
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
        APPROVE_ANNOTATION,
        // When a change was held back first.
        "since",
        "lag",
        "worstPartition",
        "oldestWaiting",
        "drainedIn",
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
