//! An operator whose configuration does not fit its cluster: what keeps workers from running reaches their Integration. Alone in its process,
//! because the installed operator is put to rest: it would make the same workers with its own configuration.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use std::{fs, thread};

use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};
use sluice_cluster::Target;
use sluice_crds::Integration;
use sluice_suite::{
    install,
    install::ROLLOUT,
    operator::{SERVICE_ACCOUNT, allow_lease},
    shop::{node, secured_kafka},
    until,
    world::{client, condition, leave_to_us},
};
use tokio::sync::OnceCell;

/// A namespace of the node, with an operator that looks after it and nothing else.
struct Place {
    target: &'static Target,
    client: Client,
    namespace: String,
}

/// What a test that has passed leaves goes.
impl Drop for Place {
    fn drop(&mut self) {
        if !thread::panicking() {
            let operator = ["delete", "deployment,configmap", &self.namespace, "-n", SERVICE_ACCOUNT.0, "--wait=false"];
            drop(self.target.kubectl(&operator));
            drop(self.target.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]));
        }
    }
}

impl Place {
    /// Begins with a Topic and an Integration that reads it. The operator knows one Kafka cluster with these further fields, and this image.
    async fn open(name: &str, kafka: &Value, worker: &str) -> Self {
        static NOBODY_ELSE: OnceCell<()> = OnceCell::const_new();
        let target = node().await.unwrap();
        let client = client(target.kubeconfig()).await.unwrap();
        NOBODY_ELSE.get_or_init(|| async { leave_to_us(&client).await.unwrap() }).await;
        let place = Self { target, client, namespace: format!("{name}-{}", std::process::id()) };
        place.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place.namespace}}));
        place.operator(kafka, worker).await;
        place.apply(&place.resource("Topic", "orders", &json!({})));
        let sink = json!({"http": {"url": "http://api.example/"}});
        let spec = json!({"source": {"topic": {"name": "orders"}}, "sink": sink});
        place.apply(&place.resource("Integration", "to-api", &spec));
        place
    }

    fn apply(&self, manifest: &Value) {
        install::apply(self.target, manifest).unwrap();
    }

    fn resource(&self, kind: &str, name: &str, spec: &Value) -> Value {
        let metadata = json!({"name": name, "namespace": self.namespace});
        json!({"apiVersion": "sluice.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
    }

    /// The installed operator once more: beside it, as that is where its rights are, with another configuration.
    async fn operator(&self, kafka: &Value, worker: &str) {
        let (namespace, name) = (SERVICE_ACCOUNT.0, self.namespace.as_str());
        let mut cluster = json!({"bootstrapServers": ["kafka.kafka.svc:9092"]});
        cluster.as_object_mut().unwrap().extend(kafka.as_object().unwrap().clone());
        let images = json!({"receiver": "sluice/receiver:dev", "worker": worker});
        let config = json!({"clusters": {"default": cluster}, "images": images}).to_string();
        let metadata = json!({"name": name, "namespace": namespace});
        self.apply(
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"config.yaml": config}}),
        );
        allow_lease(&self.client, name).await.unwrap();

        let deployments = Api::<Deployment>::namespaced(self.client.clone(), namespace);
        let installed = deployments.get(SERVICE_ACCOUNT.1).await.unwrap();
        let mut spec = serde_json::to_value(installed.spec.unwrap()).unwrap();
        spec["replicas"] = json!(1);
        spec["selector"] = json!({"matchLabels": {"app": name}});
        spec["template"]["metadata"]["labels"] = json!({"app": name});
        let pod = &mut spec["template"]["spec"];
        named(&mut pod["containers"], "operator")["args"] = json!(["--namespace", name, "--namespaces", name]);
        named(&mut pod["volumes"], "config")["configMap"]["name"] = json!(name);
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec});
        let deployment: Deployment = serde_json::from_value(deployment).unwrap();
        deployments.create(&PostParams::default(), &deployment).await.unwrap();
        install::rolled_out(&self.client, namespace, name).await.unwrap();
    }

    /// Gives the Integration's workers this login and these authorities for Kafka, and makes them anew: what is mounted changes by itself
    /// within a minute or two.
    fn workers_have(&self, login: &Value, authorities: &str) {
        let metadata = |name: &str| json!({"name": name, "namespace": self.namespace});
        let (secret, config_map) = (metadata("kafka"), metadata("kafka-ca"));
        self.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": secret, "stringData": login}));
        let data = json!({"ca.crt": authorities});
        self.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": config_map, "data": data}));
        let workers = "app.kubernetes.io/name=sluice-worker";
        self.target.kubectl(&["delete", "pods", "-n", &self.namespace, "-l", workers, "--wait=false"]).unwrap();
    }

    /// Waits until the Integration's `Ready` begins like that and holds these words; gives all of it.
    async fn says(&self, beginning: &str, words: &str) -> String {
        let api = Api::<Integration>::namespaced(self.client.clone(), &self.namespace);
        until(&format!("the Integration says {beginning} ... {words}"), ROLLOUT, || async {
            let integration = api.get("to-api").await.map_err(|error| error.to_string())?;
            let ready = condition(&integration.status.unwrap_or_default().conditions, "Ready");
            if ready.starts_with(beginning) && ready.contains(words) { Ok(ready) } else { Err(ready) }
        })
        .await
        .unwrap()
    }
}

/// What a worker that runs and waits says.
const BLOCKED: &str = "False Blocked: workers: 0 of 1 available: worker says: ";

/// The one of that name in a list.
fn named<'a>(list: &'a mut Value, name: &str) -> &'a mut Value {
    list.as_array_mut().unwrap().iter_mut().find(|item| item["name"] == name).unwrap()
}

#[tokio::test]
async fn workers_that_are_sent_to_a_kafka_that_nobody_knows_are_blocked_and_say_so() {
    let elsewhere = json!({"clients": {"bootstrapServers": ["kafka.invalid:9092"]}});
    let place = Place::open("unresolvable", &elsewhere, "sluice/worker:dev").await;
    place.says(BLOCKED, "Failed to resolve 'kafka.invalid:9092'").await;
}

#[tokio::test]
async fn workers_that_kafka_does_not_let_in_are_blocked_and_say_what_to_check() {
    let Some(kafka) = secured_kafka().await.unwrap() else {
        println!("a cluster elsewhere has no such broker");
        return;
    };
    let clients = json!({
        "bootstrapServers": [kafka.login_bootstrap()],
        "securityProtocol": "SASL_SSL",
        "saslMechanism": "SCRAM-SHA-512",
        "secretName": "kafka",
        "caConfigMapName": "kafka-ca",
    });
    let place = Place::open("locked-out", &json!({"clients": clients}), "sluice/worker:dev").await;
    let stranger = rcgen::generate_simple_self_signed(["stranger".to_owned()]).unwrap().cert.pem();
    let genuine = fs::read_to_string(kafka.authority()).unwrap();
    let login = json!({"username": "alice", "password": "outdated"});
    for (authorities, words) in [
        (stranger, "TLS with Kafka fails; check the authorities in `ca`"),
        (genuine, "Kafka does not accept the login; check `username` and `password`"),
    ] {
        place.workers_have(&login, &authorities);
        let says = place.says(BLOCKED, words).await;
        assert!(!says.contains("outdated"), "the password is nobody's business: {says}");
    }
}

#[tokio::test]
async fn an_image_of_workers_that_is_nowhere_is_named() {
    let image = "127.0.0.1:9/sluice/worker:none";
    let place = Place::open("imageless", &json!({}), image).await;
    let says = place.says("False ImageUnavailable", "").await;
    let expected = format!("image \"{image}\" cannot be pulled: the registry cannot be reached from the node");
    assert_eq!(says, format!("False ImageUnavailable: workers: 0 of 1 available: {expected}"));
}
