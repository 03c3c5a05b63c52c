//! Stories that every run must bring to the same end, whatever happens on the way, and what that end looks like.
//!
//! - `state`: what exists at that end.

mod state;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use sluice_cluster::testing;
use sluice_crds::{APPROVE_ANNOTATION, Integration, KafkaConnection, Topic, Webhook};
use sluice_kafka::{NewTopic, OutgoingRecord};
use tokio::sync::OnceCell;

pub use state::{State, clear, comes_to, is_told, topic_ids};

use crate::{
    Stage, until,
    world::{PATIENCE, producer},
};

/// What a story is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Story {
    /// A Topic whose Kafka topic is deleted with it.
    Topic,
    /// A Webhook with all that it owns. Once an Ingress takes the place of its route, and its events are held against a schema and described.
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
    /// written after that waits for them, whatever happens. The Kafka topic is to go with the Topic, then not, then again, and it waits for
    /// the Integration.
    Group,
    /// A Webhook with receivers that another one comes to share. Their configurations stand in different ConfigMaps.
    Shared,
    /// A Topic whose partitions wait for approval, since somebody relies on the order of its records.
    Growth,
    /// A Topic whose Kafka topic somebody deletes.
    Lost,
    /// A Topic whose Kafka topic somebody deletes, to make another one in its place.
    Replaced,
    /// A Webhook that leaves receivers of its own, which run, for shared ones. These come beside them, and take over when those do not run any
    /// more.
    Joining,
    /// A Webhook that leaves shared receivers, which run, for some of its own. These come beside them, and take over when they run.
    Parting,
}

/// A part of a story; each ends at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chapter {
    /// The resource is made.
    Create,
    /// It is changed.
    Change,
    /// Something happens, or is asked for, that cannot be carried out, or not yet; or it is changed once more.
    Hold,
    /// What waits is approved, what is broken is mended, and what was changed once more is changed back. What was waited for happens.
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
            Self::Webhook | Self::Joining => webhook(stage, "stripe", "").await,
            Self::Parting => webhook(stage, "stripe", SHARING).await,
            Self::Shared => webhook(stage, "github", SHARING).await,
            Self::Integration => {
                topic(stage, "orders", "").await?;
                integration(stage, "", "").await
            }
            Self::Group => {
                let spec = "managementPolicy: CreateOnly, deletionPolicy: Delete, config: {retention.ms: '1000000'}";
                topic(stage, "orders", spec).await?;
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
            Self::Webhook => webhook(stage, "stripe", LARGE).await,
            Self::Shared => webhook(stage, "gitlab", SHARING).await,
            Self::Joining => pods_are_ready(stage, OWN_PODS, 1).await,
            Self::Parting => pods_are_ready(stage, SHARED_PODS, 2).await,
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
            Self::Group => {
                topic(stage, "orders", "managementPolicy: CreateOnly, deletionPolicy: Delete, partitions: 2").await
            }
            Self::Webhook => routed(stage, "stripe", INGRESS, DESCRIBED).await,
            Self::Joining => webhook(stage, "stripe", SHARING).await,
            Self::Parting => webhook(stage, "stripe", "").await,
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
            Self::Shared | Self::Schema => Ok(()),
        }
    }

    async fn release(self, stage: &Stage) -> anyhow::Result<()> {
        match self {
            Self::Integration => integration(stage, "", FILTERED).await,
            Self::Growth => approve(stage, "orders").await,
            Self::Approval => approve(stage, "kept").await,
            Self::Lost => approve(stage, "lost").await,
            Self::Replaced => approve(stage, "replaced").await,
            Self::Webhook => webhook(stage, "stripe", LARGE).await,
            // It is used.
            Self::Group => delete::<Topic>(stage, "orders").await,
            Self::Joining => pods_are_made_anew(stage, OWN_PODS).await,
            Self::Parting => pods_are_ready(stage, OWN_PODS, 1).await,
            Self::Topic | Self::Namespace | Self::Shared | Self::Schema => Ok(()),
        }
    }

    async fn delete(self, stage: &Stage) -> anyhow::Result<()> {
        match self {
            Self::Topic => delete::<Topic>(stage, "held").await,
            Self::Webhook | Self::Joining | Self::Parting => delete::<Webhook>(stage, "stripe").await,
            Self::Shared => {
                delete::<Webhook>(stage, "github").await?;
                delete::<Webhook>(stage, "gitlab").await
            }
            // Its Topic waits for that.
            Self::Group => delete::<Integration>(stage, "to-api").await,
            Self::Integration | Self::Growth => {
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

    /// Whether its first chapter is that of another story, where the operator is killed after each of its writes.
    pub fn begins_like_another(self) -> bool {
        matches!(self, Self::Joining | Self::Parting)
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
            (Self::Group, Chapter::Release, "Topic orders") => &["InUse"],
            (Self::Group, Chapter::Release, "Integration to-api") => &["DependencyNotReady"],
            (Self::Joining, Chapter::Change, "Webhook stripe")
            | (Self::Parting, Chapter::Release, "Webhook stripe") => &["RoutePending"],
            // They run, and nobody can ask them what they serve.
            (Self::Parting, Chapter::Change, "Webhook stripe") => &["Progressing"],
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
            (Self::Webhook, Chapter::Hold) => &[
                "Topic stripe",
                "Topic stripe-webhook-dead-letters",
                "Deployment stripe-receiver",
                "Ingress stripe-receiver",
                "ConfigMap stripe-openapi",
                "NetworkPolicy stripe-receiver",
            ],
            (Self::Webhook, _) => &[
                "Topic stripe",
                "Deployment stripe-receiver",
                "HTTPRoute stripe-receiver",
                "NetworkPolicy stripe-receiver",
            ],
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
            (Self::Joining | Self::Parting, Chapter::Hold) => {
                &["HTTPRoute stripe-receiver", "Deployment stripe-receiver", RECEIVERS]
            }
            (Self::Joining, Chapter::Release) | (Self::Parting, Chapter::Create | Chapter::Change) => {
                &["HTTPRoute stripe-receiver", RECEIVERS]
            }
            (Self::Joining | Self::Parting, _) => &["HTTPRoute stripe-receiver", "Deployment stripe-receiver"],
        }
    }

    /// What must not exist any more at the end of a chapter.
    fn must_be_gone(self, chapter: Chapter) -> &'static [&'static str] {
        match (self, chapter) {
            (Self::Webhook, Chapter::Hold) => &["HTTPRoute stripe-receiver", "PodDisruptionBudget stripe-receiver"],
            (Self::Webhook, Chapter::Release) => {
                &["Ingress stripe-receiver", "ConfigMap stripe-openapi", "Topic stripe-webhook-dead-letters"]
            }
            (Self::Joining, Chapter::Release) => &["Deployment stripe-receiver"],
            (Self::Parting, Chapter::Release) => &[RECEIVERS],
            _ => &[],
        }
    }

    /// Whether something stays where the resource is deleted.
    fn outlives_deletion(self, name: &str) -> bool {
        let goes = matches!((self, name), (Self::Topic | Self::Namespace, _) | (Self::Group, "Kafka topic orders"));
        !goes && (name.starts_with("Kafka topic ") || name == SUBJECT)
    }

    /// The Kafka topics of the story, without their namespace.
    const fn topics(self) -> &'static [&'static str] {
        match self {
            Self::Topic | Self::Namespace => &["held"],
            Self::Webhook => &["stripe", "stripe-webhook-dead-letters"],
            Self::Joining | Self::Parting => &["stripe"],
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
/// What Webhooks have beside route and verification.
const LARGE: &str = ", replicas: 3, limits: {body: 2Mi}";
const DESCRIBED: &str = ", limits: {body: 2Mi}, openApi: {}, validate: {jsonSchema: {inline: {type: object}}}";
const SHARING: &str = ", receiver: {mode: Shared}";
/// The ways by which requests come to a Webhook.
const GATEWAY: &str = "parentRefs: [{name: edge}]";
const INGRESS: &str = "ingress: {className: edge}, hostnames: [hooks.example]";
/// Labels of the pods of a Webhook's own receivers, and of shared ones.
const OWN_PODS: &str = "sluice.dev/webhook=stripe";
const SHARED_PODS: &str = "sluice.dev/receivers=sluice-receivers";
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
    let producer = producer(&connection)?;
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

/// A Webhook behind a gateway, whose spec has these further fields.
async fn webhook(stage: &Stage, name: &str, more: &str) -> anyhow::Result<()> {
    routed(stage, name, GATEWAY, more).await
}

/// A Webhook with this route, whose spec has these further fields.
async fn routed(stage: &Stage, name: &str, route: &str, more: &str) -> anyhow::Result<()> {
    let yaml = format!(
        "{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {{name: {name}}}, \
         spec: {{route: {{{route}}}, verify: {{none: {{}}}}{more}}}}}"
    );
    stage.apply::<Webhook>(&yaml).await.map(drop)
}

/// Says of pods what their node would say, if there were one: they are ready. Their Deployment counts them then.
async fn pods_are_ready(stage: &Stage, labels: &str, count: usize) -> anyhow::Result<()> {
    let (pods, theirs) = (stage.api::<Pod>(), ListParams::default().labels(labels));
    let names = until(&format!("there are {count} pods with the label {labels}"), PATIENCE, || async {
        let found = pods.list(&theirs).await.map_err(|error| error.to_string())?;
        let names: Vec<String> = found.iter().map(ResourceExt::name_any).collect();
        if names.len() == count { Ok(names) } else { Err(format!("{names:?}")) }
    })
    .await?;
    let ready = Patch::Merge(json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}));
    for name in names {
        pods.patch_status(&name, &PatchParams::default(), &ready).await?;
    }
    Ok(())
}

/// Deletes pods. Others come in their place, which are not ready.
async fn pods_are_made_anew(stage: &Stage, labels: &str) -> anyhow::Result<()> {
    let theirs = ListParams::default().labels(labels);
    stage.api::<Pod>().delete_collection(&DeleteParams::default(), &theirs).await?;
    Ok(())
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
