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
use sluice_kafka::{NewTopic, OutgoingRecord, Producer, ProducerSettings};
use tokio::sync::OnceCell;

pub use state::{State, clear, comes_to, is_told, topic_ids};

use crate::{Stage, until, world::PATIENCE};

/// What a story is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Story {
    /// A Topic whose Kafka topic is deleted with it.
    Topic,
    /// A Webhook with all that it owns.
    Webhook,
    /// An Integration with all that it owns, and the Topic that it reads. Once its spec is broken, and the former one goes on.
    Integration,
    /// A Topic with a setting that waits for approval.
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
    /// A Topic whose partitions wait for approval, since somebody relies on the order of its records.
    Growth,
    /// A Topic whose Kafka topic somebody deletes.
    Lost,
    /// A Topic whose Kafka topic somebody deletes, to make another one in its place.
    Replaced,
}

/// A part of a story; each ends at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chapter {
    /// The resource is made.
    Create,
    /// It is changed.
    Change,
    /// Something happens, or is asked for, that cannot be carried out, or not yet.
    Hold,
    /// What waits is approved, and what is broken is mended.
    Release,
    /// It is deleted.
    Delete,
}

impl Story {
    /// Those that are told together in one namespace, with nothing but an API server and Kafka.
    pub const TOGETHER: [Self; 5] = [Self::Topic, Self::Webhook, Self::Integration, Self::Approval, Self::Shared];

    /// Does what a user does in a chapter.
    pub async fn tell(self, chapter: Chapter, stage: &Stage) -> anyhow::Result<()> {
        match chapter {
            Chapter::Create => self.create(stage).await,
            Chapter::Change => self.change(stage).await,
            Chapter::Hold => self.hold(stage).await,
            Chapter::Release => self.release(stage).await,
            Chapter::Delete => self.delete(stage).await,
        }
    }

    async fn create(self, stage: &Stage) -> anyhow::Result<()> {
        match self {
            Self::Topic | Self::Namespace => {
                topic(stage, "held", "deletionPolicy: Delete, partitions: 2, config: {retention.ms: '1000000'}").await
            }
            Self::Webhook => webhook(stage, "stripe", "").await,
            Self::Shared => webhook(stage, "github", ", receiver: {mode: Shared}").await,
            Self::Integration => {
                topic(stage, "orders", "").await?;
                integration(stage, "", "").await
            }
            Self::Group => {
                topic(stage, "orders", "managementPolicy: CreateOnly, config: {retention.ms: '1000000'}").await?;
                integration(stage, ", startFrom: Latest", ", deletionPolicy: Delete").await
            }
            Self::Growth => topic(stage, "orders", "").await,
            Self::Approval => topic(stage, "kept", KEPT_FOR_EVER).await,
            Self::Lost => topic(stage, "lost", KEPT_FOR_EVER).await,
            Self::Replaced => topic(stage, "replaced", KEPT_FOR_EVER).await,
            Self::Schema => typed(stage, "Backward", "").await,
        }
    }

    async fn change(self, stage: &Stage) -> anyhow::Result<()> {
        match self {
            Self::Topic | Self::Namespace => topic(stage, "held", GROWN).await,
            Self::Webhook => webhook(stage, "stripe", ", replicas: 3, limits: {body: 2Mi}").await,
            Self::Shared => webhook(stage, "gitlab", ", receiver: {mode: Shared}").await,
            Self::Integration => integration(stage, "", FILTERED).await,
            Self::Group => {
                write(stage, "orders", Duration::ZERO).await?;
                topic(stage, "orders", "managementPolicy: CreateOnly, partitions: 2").await?;
                integration(stage, ", startFrom: Latest", ", deletionPolicy: Delete, replicas: 2").await
            }
            // It uses the Topic, whether it can be carried out or not; so it owns nothing.
            Self::Growth => integration(stage, "", BROKEN).await,
            Self::Schema => typed(stage, "Full", r#", {"name": "amount", "type": "int", "default": 0}"#).await,
            Self::Approval | Self::Lost | Self::Replaced => Ok(()),
        }
    }

    async fn hold(self, stage: &Stage) -> anyhow::Result<()> {
        match self {
            // Sluice moves no partitions, so nothing approves more copies.
            Self::Topic | Self::Namespace => topic(stage, "held", &format!("{GROWN}, replicas: 2")).await,
            Self::Integration => integration(stage, "", BROKEN).await,
            Self::Growth => topic(stage, "orders", "partitions: 2").await,
            Self::Approval => {
                // A shorter retention would delete it.
                write(stage, "kept", Duration::from_hours(1)).await?;
                topic(stage, "kept", "config: {retention.ms: '60000', segment.bytes: '1048576'}").await
            }
            Self::Lost => {
                self.loses_topic(stage).await?;
                stage.touch::<Topic>("lost").await.map(drop)
            }
            Self::Replaced => {
                self.loses_topic(stage).await?;
                self.gets_topic(stage, "replaced").await?;
                stage.touch::<Topic>("replaced").await.map(drop)
            }
            Self::Webhook | Self::Shared | Self::Group | Self::Schema => Ok(()),
        }
    }

    async fn release(self, stage: &Stage) -> anyhow::Result<()> {
        match self {
            Self::Integration => integration(stage, "", FILTERED).await,
            Self::Growth => approve(stage, "orders").await,
            Self::Approval => approve(stage, "kept").await,
            Self::Lost => approve(stage, "lost").await,
            Self::Replaced => approve(stage, "replaced").await,
            Self::Topic | Self::Namespace | Self::Webhook | Self::Shared | Self::Group | Self::Schema => Ok(()),
        }
    }

    async fn delete(self, stage: &Stage) -> anyhow::Result<()> {
        match self {
            Self::Topic => delete::<Topic>(stage, "held").await,
            Self::Webhook => delete::<Webhook>(stage, "stripe").await,
            Self::Shared => {
                delete::<Webhook>(stage, "github").await?;
                delete::<Webhook>(stage, "gitlab").await
            }
            Self::Integration | Self::Group | Self::Growth => {
                delete::<Integration>(stage, "to-api").await?;
                delete::<Topic>(stage, "orders").await
            }
            Self::Approval => delete::<Topic>(stage, "kept").await,
            Self::Lost => delete::<Topic>(stage, "lost").await,
            Self::Replaced => delete::<Topic>(stage, "replaced").await,
            Self::Schema => delete::<Topic>(stage, "typed").await,
            Self::Namespace => {
                let namespaces = Api::<Namespace>::all(stage.client.clone());
                namespaces.delete(&stage.namespace, &DeleteParams::default()).await?;
                Ok(())
            }
        }
    }

    /// Somebody else deletes its Kafka topic.
    async fn loses_topic(self, stage: &Stage) -> anyhow::Result<()> {
        clear(stage, &[self]).await?;
        self.has_topics(stage, 0).await
    }

    /// Somebody else makes its Kafka topic.
    async fn gets_topic(self, stage: &Stage, name: &str) -> anyhow::Result<()> {
        let name = format!("{}.{name}", stage.namespace);
        let topic = NewTopic { name: name.clone(), partitions: Some(1), replicas: None, config: [].into() };
        stage.kafka.create_topics(&[topic]).await?.remove(&name).context("Kafka says nothing of it")??;
        self.has_topics(stage, 1).await
    }

    /// Waits until Kafka shows so many of its topics.
    async fn has_topics(self, stage: &Stage, count: usize) -> anyhow::Result<()> {
        until(&format!("{self:?} has {count} topics in Kafka"), PATIENCE, || async {
            let ids = topic_ids(stage, &[self]).await.map_err(|error| format!("{error:#}"))?;
            if ids.len() == count { Ok(()) } else { Err(format!("{ids:?}")) }
        })
        .await
    }

    /// Whether another Kafka topic comes into the place of the one before.
    pub fn replaces_topic(self, chapter: Chapter) -> bool {
        matches!((self, chapter), (Self::Lost, Chapter::Release) | (Self::Replaced, Chapter::Hold))
    }

    /// What a resource may say at the end of a chapter: reasons of its condition `Ready`; none where it has no such condition.
    fn may_say(self, chapter: Chapter, name: &str) -> &'static [&'static str] {
        match (self, chapter, name) {
            (Self::Topic | Self::Namespace, Chapter::Hold | Chapter::Release, "Topic held")
            | (Self::Growth, Chapter::Hold, "Topic orders")
            | (_, Chapter::Hold, "Topic kept" | "Topic lost" | "Topic replaced") => &["Withheld"],
            (Self::Integration, Chapter::Hold, "Integration to-api") | (Self::Growth, _, "Integration to-api") => {
                &["Invalid"]
            }
            _ if name.starts_with("Topic ") => &["InSync"],
            _ if name.starts_with("Webhook ") => &["RoutePending", "Unavailable"],
            _ if name.starts_with("Integration ") => &["Unavailable"],
            _ => &[],
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
            (Self::Growth, _) => &["Topic orders", "Kafka topic orders"],
            (Self::Lost, Chapter::Hold) => &["Topic lost"],
            (Self::Lost, _) => &["Topic lost", "Kafka topic lost"],
            (Self::Replaced, _) => &["Topic replaced", "Kafka topic replaced"],
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
            Self::Growth => &["orders"],
            Self::Lost => &["lost"],
            Self::Replaced => &["replaced"],
        }
    }
}

impl Chapter {
    /// All of them, in their order.
    pub const ALL: [Self; 5] = [Self::Create, Self::Change, Self::Hold, Self::Release, Self::Delete];
}

/// Specs of Topics.
const GROWN: &str = "deletionPolicy: Delete, partitions: 3, config: {segment.bytes: '1048576'}";
const KEPT_FOR_EVER: &str = "config: {retention.ms: '-1'}";
/// What Integrations have beside source and sink.
const FILTERED: &str = ", replicas: 2, steps: [{name: all, filter: 'true'}]";
const BROKEN: &str = ", replicas: 3, steps: [{name: all, map: '.a = upcase('}]";

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
