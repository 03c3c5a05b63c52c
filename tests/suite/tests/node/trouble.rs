//! What keeps receivers and workers from running reaches the resource in plain words, and does not change with each retry.

use std::{collections::BTreeSet, thread, time::Duration};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{Namespace, Pod},
    },
    jiff::Timestamp,
};
use kube::{
    Api, Client, Resource,
    api::{ListParams, ObjectMeta, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sluice_cluster::Target;
use sluice_crds::{Integration, KafkaCluster, NamespacedName, PodSettings, Settings, Topic, Webhook};
use sluice_kafka::OutgoingRecord;
use sluice_model::{
    Cluster,
    children::{Configuration, DataPlane, Owner, SeenPod, trouble},
};
use sluice_suite::{install, shop::node, until, world};

/// Kubernetes starts a container that ended again after 10 s, then after 20 s.
const PATIENCE: Duration = Duration::from_mins(2);

/// A namespace of the node that the tests share.
struct Place {
    target: &'static Target,
    client: Client,
    namespace: String,
}

/// What a test that has passed leaves goes, and makes room on the node for the next one.
impl Drop for Place {
    fn drop(&mut self) {
        if !thread::panicking() {
            drop(self.target.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]));
        }
    }
}

impl Place {
    async fn open(name: &str) -> Self {
        let target = node().await.unwrap();
        let client = world::client(target.kubeconfig()).await.unwrap();
        let namespace = format!("{name}-{}", std::process::id());
        let metadata = ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() };
        let object = Namespace { metadata, ..Namespace::default() };
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        Self { target, client, namespace }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn apply(&self, mut manifest: Value) {
        manifest["metadata"]["namespace"] = json!(self.namespace);
        install::apply(self.target, &manifest).unwrap();
    }

    /// An Integration whose workers are to be like that.
    fn integration(&self, name: &str, resources: &Value) {
        self.apply(resource("Topic", "orders", &json!({})));
        let spec = json!({
            "source": {"topic": {"name": "orders"}},
            "sink": {"http": {"url": "http://api.example/"}},
            "worker": {"resources": resources},
        });
        self.apply(resource("Integration", name, &spec));
    }

    /// Waits until a condition of a resource begins like that; gives all of it.
    async fn says<K>(&self, name: &str, condition: fn(&K) -> String, beginning: &str) -> String
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let api = self.api::<K>();
        until(&format!("{name} says {beginning}"), PATIENCE, || async {
            let found = condition(&api.get(name).await.map_err(|error| error.to_string())?);
            if found.starts_with(beginning) { Ok(found) } else { Err(found) }
        })
        .await
        .unwrap()
    }
}

fn resource(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "sluice.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn of_integration(integration: &Integration) -> String {
    world::condition(&integration.status.clone().unwrap_or_default().conditions, "Ready")
}

fn secrets_of_integration(integration: &Integration) -> String {
    world::condition(&integration.status.clone().unwrap_or_default().conditions, "SecretsReady")
}

fn of_topic(topic: &Topic) -> String {
    world::condition(&topic.status.clone().unwrap_or_default().conditions, "Ready")
}

fn of_webhook(webhook: &Webhook) -> String {
    world::condition(&webhook.status.clone().unwrap_or_default().conditions, "Ready")
}

#[tokio::test]
async fn an_integration_whose_worker_no_node_takes_says_what_they_lack() {
    let place = Place::open("unschedulable").await;
    place.integration("greedy", &json!({"requests": {"cpu": "1000"}}));
    let says = place.says("greedy", of_integration, "False Unschedulable").await;
    assert_eq!(says, "False Unschedulable: workers: 0 of 1 available: no node takes the pod: Insufficient cpu");
}

#[tokio::test]
async fn an_integration_whose_namespace_may_have_no_more_pods_says_which_quota_is_used_up() {
    let place = Place::open("quota").await;
    let quota = json!({"hard": {"pods": "0"}});
    place.apply(json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": quota}));
    place.integration("full", &json!({}));
    let says = place.says("full", of_integration, "False QuotaExceeded").await;
    let expected = "the ResourceQuota \"few\" is used up: another pod needs pods=1, and the limit is pods=0";
    assert_eq!(says, format!("False QuotaExceeded: workers: 0 of 1 available: {expected}"));
}

#[tokio::test]
async fn an_integration_whose_worker_has_too_little_memory_says_so() {
    let place = Place::open("memory").await;
    place.apply(resource("Topic", "orders", &json!({})));
    place.says("orders", of_topic, "True").await;
    // More than the limit waits to be read, and nobody takes it.
    let connection = world::kafka_of(place.target).unwrap();
    let producer = world::producer(&connection).unwrap();
    let (topic, large) = (format!("{}.orders", place.namespace), json!({"large": "x".repeat(900_000)}).to_string());
    for _ in 0..40 {
        producer.send(OutgoingRecord::new(topic.as_str(), large.clone())).await.unwrap();
    }
    place.integration("small", &json!({"limits": {"memory": "16Mi"}}));
    let says = place.says("small", of_integration, "False OutOfMemory").await;
    let expected = "worker needs more memory than its limit of 16Mi and is killed; give it more";
    assert_eq!(says, format!("False OutOfMemory: workers: 0 of 1 available: {expected}"));
}

#[tokio::test]
async fn a_webhook_whose_secret_has_no_such_key_names_both() {
    let place = Place::open("keyless").await;
    place.apply(
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "signing"}, "stringData": {"old": "x"}}),
    );
    let spec = json!({
        "route": {"parentRefs": [{"name": "edge", "namespace": "gateways"}], "hostnames": ["keyless.example"]},
        "verify": {"preset": {"name": "GitHub", "secretRefs": [{"name": "signing", "key": "current"}]}},
    });
    place.apply(resource("Webhook", "github", &spec));
    let says = place.says("github", of_webhook, "False Blocked").await;
    assert!(says.contains("receiver says: ") && says.contains("key \"current\" of the Secret \"signing\""), "{says}");
}

#[tokio::test]
async fn an_integration_whose_sink_has_no_secret_names_it() {
    let place = Place::open("secretless").await;
    place.apply(resource("Topic", "orders", &json!({})));
    let auth = json!({"bearer": {"tokenRef": {"name": "api-token", "key": "token"}}});
    let spec = json!({
        "source": {"topic": {"name": "orders"}},
        "sink": {"http": {"url": "https://api.example/", "auth": auth}},
    });
    place.apply(resource("Integration", "keyless", &spec));
    let missing =
        "there is no Secret \"api-token\" in this namespace, or nothing in it; create it with the key \"token\"";
    let says = place.says("keyless", secrets_of_integration, "False SecretUnusable").await;
    assert!(says.contains(missing), "{says}");
    let says = place.says("keyless", of_integration, "False Blocked").await;
    assert!(says.contains("worker says: ") && says.contains(missing), "{says}");
}

/// The Deployment that Sluice would make, with another image: the operator has one image for all.
fn worker(place: &Place, name: &str, image: &str) {
    let owner = Owner {
        kind: "Integration",
        name: NamespacedName { namespace: place.namespace.clone(), name: name.to_owned() },
        uid: "none".to_owned(),
        generation: 1,
    };
    let settings =
        Settings { clusters: [("default".to_owned(), KafkaCluster::default())].into(), ..Settings::default() };
    let cluster = Cluster::find(&settings, "default", "").unwrap();
    let data_plane = DataPlane {
        component: "worker",
        image,
        replicas: 1,
        configuration: Configuration::Own { config_map: "nothing", cluster: &cluster },
        controls: None,
        secrets: Vec::new(),
        tracing: None,
        grace: Duration::from_secs(30),
        port: None,
        pods: &PodSettings::default(),
        resources: None,
        default_resources: ("10m", "16Mi", "128Mi"),
    };
    let mut deployment = data_plane.deployment(&owner).manifest;
    deployment["metadata"]["ownerReferences"] = json!([]);
    place.apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nothing"}}));
    place.apply(deployment);
}

/// All that is said about a Deployment's pods until `enough` of them; nothing at first is no trouble.
async fn said_until(place: &Place, name: &str, enough: impl Fn(&Pod) -> bool) -> BTreeSet<String> {
    let said = std::sync::Mutex::new(BTreeSet::new());
    until("the pod has come so far", PATIENCE, || async {
        let deployment = place.api::<Deployment>().get(name).await.map_err(|error| error.to_string())?;
        let pods = place.api::<Pod>().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let reached = pods.items.iter().any(&enough);
        let pods: Vec<_> = pods.items.into_iter().map(|pod| SeenPod { pod, says: None }).collect();
        let found = trouble(&deployment, &pods, Timestamp::now());
        let mut said = said.lock().unwrap();
        said.extend(found.map(|found| format!("{}: {}", found.reason, found.message)));
        if reached { Ok(()) } else { Err(format!("{said:?}")) }
    })
    .await
    .unwrap();
    said.into_inner().unwrap()
}

fn waits_because(pod: &Pod, because: &str) -> bool {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let reason = |status: &k8s_openapi::api::core::v1::ContainerStatus| {
        status.state.as_ref()?.waiting.as_ref()?.reason.as_deref().map(|reason| reason == because)
    };
    statuses.into_iter().flatten().filter_map(reason).any(|is| is)
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_told_in_the_same_words_at_each_attempt() {
    let place = Place::open("image").await;
    worker(&place, "pulled", "127.0.0.1:9/sluice/worker:none");
    let said = said_until(&place, "pulled-worker", |pod| waits_because(pod, "ImagePullBackOff")).await;
    let expected = "ImageUnavailable: image \"127.0.0.1:9/sluice/worker:none\" cannot be pulled: \
                    the registry cannot be reached from the node";
    assert_eq!(said, [expected.to_owned()].into());
}

#[tokio::test]
async fn a_crash_is_told_with_its_last_error_in_the_same_words_through_the_loop() {
    let place = Place::open("crash").await;
    worker(&place, "crashes", "sluice/worker:dev");
    let restarted = |pod: &Pod| {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        statuses.into_iter().flatten().any(|status| status.restart_count >= 1) && waits_because(pod, "CrashLoopBackOff")
    };
    let said = said_until(&place, "crashes-worker", restarted).await;
    let said: Vec<_> = said.into_iter().collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("Crashing: worker ends with exit code 1: sluice-worker: cannot read "), "{said:?}");
    assert!(said[0].contains("config.json"), "{said:?}");
}
