//! Stories that every run must bring to the same end, whatever happens on the way, and what that end looks like.
//!
//! - `state`: what exists at that end.

mod state;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::json;
use sluice_cluster::testing;
use sluice_crds::{APPROVE_ANNOTATION, Integration, KafkaConnection, Topic, Webhook};
use sluice_kafka::{OutgoingRecord, Producer, ProducerSettings};
use tokio::sync::OnceCell;

pub use state::{State, clear, comes_to, is_told, topic_ids};

use crate::Stage;

/// What a story is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Story {
    /// A Topic whose Kafka topic is deleted with it.
    Topic,
    /// A Webhook with all that it owns.
    Webhook,
    /// An Integration with all that it owns, and the Topic that it reads.
    Integration,
    /// A Topic whose change waits for approval.
    Approval,
    /// A Topic with a schema, in a registry.
    Schema,
    /// A Topic whose Kafka topic is deleted with it, in a namespace that is deleted.
    Namespace,
    /// An Integration whose consumer group is begun before its workers come and deleted with it, and a Topic that is only created. What is
    /// written after that waits for them, whatever happens.
    Group,
    /// A Webhook with receivers that another one comes to share. Their configurations stand in different ConfigMaps.
    Shared,
}

/// A part of a story; each ends at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chapter {
    /// The resource is made.
    Create,
    /// It is changed.
    Change,
    /// What waits is approved.
    Approve,
    /// It is deleted.
    Delete,
}

impl Story {
    /// Those that can be told together in one namespace, with nothing but an API server and Kafka.
    pub const TOGETHER: [Self; 5] = [Self::Topic, Self::Webhook, Self::Integration, Self::Approval, Self::Shared];

    /// Does what a user does in a chapter.
    pub async fn tell(self, chapter: Chapter, stage: &Stage) -> anyhow::Result<()> {
        match (self, chapter) {
            (Self::Approval, Chapter::Approve) => approve(stage, "kept").await,
            (_, Chapter::Approve) => Ok(()),
            (Self::Topic | Self::Namespace, Chapter::Create) => {
                topic(stage, "held", "deletionPolicy: Delete, partitions: 2, config: {retention.ms: '1000000'}").await
            }
            (Self::Topic | Self::Namespace, Chapter::Change) => {
                let config = "config: {segment.bytes: '1048576'}";
                topic(stage, "held", &format!("deletionPolicy: Delete, partitions: 3, replicas: 2, {config}")).await
            }
            (Self::Topic, Chapter::Delete) => delete::<Topic>(stage, "held").await,
            (Self::Webhook, Chapter::Create) => webhook(stage, "stripe", "").await,
            (Self::Webhook, Chapter::Change) => webhook(stage, "stripe", ", replicas: 3, limits: {body: 2Mi}").await,
            (Self::Webhook, Chapter::Delete) => delete::<Webhook>(stage, "stripe").await,
            (Self::Shared, Chapter::Create) => webhook(stage, "github", ", receiver: {mode: Shared}").await,
            (Self::Shared, Chapter::Change) => webhook(stage, "gitlab", ", receiver: {mode: Shared}").await,
            (Self::Shared, Chapter::Delete) => {
                delete::<Webhook>(stage, "github").await?;
                delete::<Webhook>(stage, "gitlab").await
            }
            (Self::Integration, Chapter::Create) => {
                topic(stage, "orders", "").await?;
                integration(stage, "", "").await
            }
            (Self::Integration, Chapter::Change) => {
                integration(stage, "", ", replicas: 2, steps: [{name: all, filter: 'true'}]").await
            }
            (Self::Group, Chapter::Create) => {
                topic(stage, "orders", "managementPolicy: CreateOnly, config: {retention.ms: '1000000'}").await?;
                integration(stage, ", startFrom: Latest", ", deletionPolicy: Delete").await
            }
            (Self::Group, Chapter::Change) => {
                write(stage, "orders", Duration::ZERO).await?;
                topic(stage, "orders", "managementPolicy: CreateOnly, partitions: 2").await?;
                integration(stage, ", startFrom: Latest", ", deletionPolicy: Delete, replicas: 2").await
            }
            (Self::Integration | Self::Group, Chapter::Delete) => {
                delete::<Integration>(stage, "to-api").await?;
                delete::<Topic>(stage, "orders").await
            }
            (Self::Approval, Chapter::Create) => topic(stage, "kept", "config: {retention.ms: '-1'}").await,
            (Self::Approval, Chapter::Change) => {
                // A shorter retention would delete it.
                write(stage, "kept", Duration::from_hours(1)).await?;
                topic(stage, "kept", "config: {retention.ms: '60000', segment.bytes: '1048576'}").await
            }
            (Self::Approval, Chapter::Delete) => delete::<Topic>(stage, "kept").await,
            (Self::Schema, Chapter::Create) => typed(stage, "Backward", "").await,
            (Self::Schema, Chapter::Change) => {
                typed(stage, "Full", r#", {"name": "amount", "type": "int", "default": 0}"#).await
            }
            (Self::Schema, Chapter::Delete) => delete::<Topic>(stage, "typed").await,
            (Self::Namespace, Chapter::Delete) => {
                let namespaces = Api::<Namespace>::all(stage.client.clone());
                namespaces.delete(&stage.namespace, &DeleteParams::default()).await?;
                Ok(())
            }
        }
    }

    /// The reason of a Topic's condition `Ready` at the end of a chapter.
    fn topics_say(self, chapter: Chapter) -> &'static str {
        match (self, chapter) {
            // Sluice moves no partitions, so nothing approves more copies.
            (Self::Topic | Self::Namespace, Chapter::Change | Chapter::Approve) | (Self::Approval, Chapter::Change) => {
                "Withheld"
            }
            _ => "InSync",
        }
    }

    /// What must exist at the end of a chapter, by the names of [`State`].
    fn must_exist(self, chapter: Chapter) -> &'static [&'static str] {
        match (self, chapter) {
            (_, Chapter::Delete) => &[],
            (Self::Topic, _) => &["Topic held", "Kafka topic held"],
            (Self::Webhook, _) => &["Topic stripe", "Deployment stripe-receiver", "HTTPRoute stripe-receiver"],
            (Self::Integration, _) => &["Topic to-api-dead-letters", "Deployment to-api-worker", "Kafka topic orders"],
            (Self::Approval, _) => &["Topic kept", "Kafka topic kept"],
            (Self::Schema, _) => &["Topic typed", "Kafka topic typed", SUBJECT],
            (Self::Namespace, _) => &[NAMESPACE, "Topic held", "Kafka topic held"],
            (Self::Group, _) => &["Topic to-api-dead-letters", "Deployment to-api-worker", "Kafka topic orders", GROUP],
            // Which ConfigMap a configuration stands in follows from the name of its Webhook.
            (Self::Shared, Chapter::Create) => {
                &["HTTPRoute github-receiver", "ConfigMap sluice-receivers-0", RECEIVERS]
            }
            (Self::Shared, _) => &["HTTPRoute gitlab-receiver", "ConfigMap sluice-receivers-13", RECEIVERS],
        }
    }

    /// Whether something stays where the resource is deleted.
    fn outlives_deletion(self, name: &str) -> bool {
        let is_kept = !matches!(self, Self::Topic | Self::Namespace);
        is_kept && (name.starts_with("Kafka topic ") || name == SUBJECT)
    }

    /// The Kafka topics of the story, without their namespace.
    const fn topics(self) -> &'static [&'static str] {
        match self {
            Self::Topic | Self::Namespace => &["held"],
            Self::Webhook => &["stripe", "stripe-webhook-dead-letters"],
            Self::Integration | Self::Group => &["orders", "to-api-dead-letters"],
            Self::Approval => &["kept"],
            Self::Schema => &["typed"],
            Self::Shared => &["github", "gitlab"],
        }
    }
}

impl Chapter {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Create, Self::Change, Self::Approve, Self::Delete];
}

/// What a state calls the subject of a schema, the namespace, a consumer group, and receivers that are shared.
const SUBJECT: &str = "Subject typed";
const NAMESPACE: &str = "Namespace";
const GROUP: &str = "Consumer group to-api";
const RECEIVERS: &str = "Deployment sluice-receivers";

async fn topic(stage: &Stage, name: &str, spec: &str) -> anyhow::Result<()> {
    stage.apply_topic(name, spec).await.map(drop)
}

/// A Topic with a schema of records that have these fields beside their id.
async fn typed(stage: &Stage, compatibility: &str, fields: &str) -> anyhow::Result<()> {
    let schema =
        format!(r#"{{"type": "record", "name": "Order", "fields": [{{"name": "id", "type": "string"}}{fields}]}}"#);
    let spec = format!("schema: {{format: Avro, compatibility: {compatibility}, definition: {{inline: '{schema}'}}}}");
    topic(stage, "typed", &spec).await
}

/// Writes a record as it was written so long ago.
async fn write(stage: &Stage, topic: &str, age: Duration) -> anyhow::Result<()> {
    let connection = KafkaConnection { bootstrap_servers: vec![stage.bootstrap.clone()], ..KafkaConnection::default() };
    let producer = Producer::connect(&connection, &ProducerSettings::default())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let then = now.checked_sub(age).context("no clock is that wrong")?;
    let name = format!("{}.{topic}", stage.namespace);
    let timestamp = Some(then.as_millis().try_into()?);
    producer.send(OutgoingRecord { timestamp, ..OutgoingRecord::new(name.as_str(), "a record") }).await?;
    Ok(())
}

/// Approves what a Topic waits for.
async fn approve(stage: &Stage, name: &str) -> anyhow::Result<()> {
    let topics = stage.api::<Topic>();
    let pending = topics.get(name).await?.status.and_then(|status| status.pending).context("nothing waits")?;
    let patch = json!({"metadata": {"annotations": {(APPROVE_ANNOTATION): pending.hash}}});
    topics.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

/// Address of the schema registry that tests share; it is started where a story needs it.
pub async fn registry() -> anyhow::Result<&'static str> {
    static ADDRESS: OnceCell<String> = OnceCell::const_new();
    let start = || async { anyhow::Ok(tokio::task::spawn_blocking(testing::shared_schema_registry).await?) };
    Ok(ADDRESS.get_or_try_init(start).await?.as_str())
}

async fn webhook(stage: &Stage, name: &str, more: &str) -> anyhow::Result<()> {
    let yaml = format!(
        "{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {{name: {name}}}, \
         spec: {{route: {{parentRefs: [{{name: edge}}]}}, verify: {{none: {{}}}}{more}}}}}"
    );
    stage.apply::<Webhook>(&yaml).await.map(drop)
}

/// An Integration whose source and spec have these further fields.
async fn integration(stage: &Stage, of_source: &str, more: &str) -> anyhow::Result<()> {
    let source = format!("{{topic: {{name: orders}}{of_source}}}");
    let yaml = format!(
        "{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {{name: to-api}}, \
         spec: {{source: {source}, sink: {{http: {{url: 'http://api.example/'}}}}{more}}}}}"
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
