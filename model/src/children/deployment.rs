//! The Deployment of a data plane, and what its status says about it.

use std::{path::Path, time::Duration};

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentCondition},
        core::v1::ResourceRequirements,
    },
    jiff::Timestamp,
};
use serde_json::{Map, Value, json};
use sluice_crds::{PodSettings, Reason, Tracing, Variable, wire};

use super::{Child, ChildKind, Owner, SeenPod, Trouble, trouble};
use crate::{
    Cluster,
    cluster::{ca_folder, credentials_folder},
    collector,
};

/// The user and group of every container: `nonroot` of the distroless images.
const NON_ROOT: i64 = 65_532;
/// Where the authorities of the web are in the images; those of users are read beside them.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs";
/// The volumes for Kafka; those of many have numbers too.
const CREDENTIALS: &str = "kafka-credentials";
const AUTHORITIES: &str = "kafka-ca";

/// What is particular about a data plane's Deployment.
#[derive(Debug)]
pub struct DataPlane<'a> {
    /// `worker` or `receiver`: names the container and the component.
    pub component: &'static str,
    /// Image of the container.
    pub image: &'a str,
    /// Pods to run.
    pub replicas: i32,
    /// Where its configuration is.
    pub configuration: Configuration<'a>,
    /// Name of the ConfigMap with what it obeys without a restart.
    pub controls: Option<&'a str>,
    /// Names of the Secrets that its resource names.
    pub secrets: Vec<&'a str>,
    /// How it traces events.
    pub tracing: Option<&'a Tracing>,
    /// How long a pod may take to end.
    pub grace: Duration,
    /// Port of the endpoint that it serves, beside the status port.
    pub port: Option<u16>,
    /// What the user said about the pods.
    pub pods: &'a PodSettings,
    /// CPU and memory, where the user said something about them.
    pub resources: Option<&'a ResourceRequirements>,
    /// `cpu` and `memory` to request, and `memory` as limit, where the user said nothing.
    pub default_resources: (&'a str, &'a str, &'a str),
}

/// Where a data plane finds its configuration, and how it reaches Kafka.
#[derive(Debug)]
pub enum Configuration<'a> {
    /// It works for one resource.
    Own {
        /// Name of the ConfigMap.
        config_map: &'a str,
        /// The Kafka cluster that it uses.
        cluster: &'a Cluster,
    },
    /// It works for many Webhooks.
    Many {
        /// Names of the ConfigMaps, of which some need not exist.
        config_maps: Vec<String>,
        /// Names of the Secrets with credentials for Kafka.
        kafka_secrets: Vec<String>,
        /// Names of the ConfigMaps with authorities of brokers.
        kafka_authorities: Vec<String>,
    },
}

impl DataPlane<'_> {
    /// The Deployment, named `<owner>-<component>`. It meets the Pod Security Standard `restricted`.
    pub fn deployment(&self, owner: &Owner) -> Child {
        let selector = owner.selector(self.component);
        let mut metadata = json!({"labels": selector});
        if let Some(labels) = metadata["labels"].as_object_mut() {
            labels.extend(self.pods.labels.iter().map(|(key, value)| (key.clone(), json!(value))));
        }
        if !self.pods.annotations.is_empty() {
            metadata["annotations"] = json!(self.pods.annotations);
        }
        let mut pod = self.pod();
        if let Some(pod) = pod.as_object_mut() {
            pod.extend(self.placement(&json!(selector)));
        }
        let body = json!({"spec": {
            "replicas": self.replicas,
            "selector": {"matchLabels": selector},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": metadata, "spec": pod},
        }});
        owner.child(ChildKind::Deployment, self.component, &owner.data_plane(self.component), body)
    }

    fn pod(&self) -> Value {
        let (volumes, mounts): (Vec<_>, Vec<_>) = self.volumes().into_iter().unzip();
        json!({
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": self.grace.as_secs() + u64::from(self.grace.subsec_nanos() > 0),
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": NON_ROOT,
                "runAsGroup": NON_ROOT,
                "fsGroup": NON_ROOT,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": self.component,
                "image": self.image,
                "imagePullPolicy": "IfNotPresent",
                "env": self.environment(),
                "ports": self.ports(),
                "resources": self.resources(),
                "livenessProbe": {
                    "httpGet": {"path": "/healthz", "port": "status"},
                    "periodSeconds": 10,
                    "failureThreshold": 3,
                },
                "readinessProbe": {
                    "httpGet": {"path": "/readyz", "port": "status"},
                    "periodSeconds": 2,
                    "failureThreshold": 2,
                },
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        })
    }

    /// Where pods run, and by whose rights, as the user said; nothing of it where nothing was said. `selector` finds the pods.
    fn placement(&self, selector: &Value) -> Map<String, Value> {
        let PodSettings { node_selector, tolerations, affinity, topology_spread_constraints, .. } = self.pods;
        let constraints = topology_spread_constraints.iter().cloned().map(|mut constraint| {
            if constraint["labelSelector"].is_null() {
                constraint["labelSelector"] = json!({"matchLabels": selector});
            }
            constraint
        });
        let all = [
            ("nodeSelector", json!(node_selector)),
            ("tolerations", json!(tolerations)),
            ("affinity", json!(affinity)),
            ("topologySpreadConstraints", constraints.collect()),
            ("priorityClassName", json!(self.pods.priority_class_name)),
            ("imagePullSecrets", json!(self.pods.image_pull_secrets)),
            ("serviceAccountName", json!(self.pods.service_account_name)),
            // Kubernetes copies the name there, and takes it back from there where it is left out.
            ("serviceAccount", json!(self.pods.service_account_name)),
        ];
        let is_said = |value: &Value| match value {
            Value::Array(values) => !values.is_empty(),
            Value::Object(values) => !values.is_empty(),
            value => !value.is_null(),
        };
        all.into_iter().filter(|(_, value)| is_said(value)).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn environment(&self) -> Vec<Value> {
        let mut environment = vec![json!({"name": "SLUICE_LOG_FORMAT", "value": "json"})];
        if let Some(tracing) = self.tracing {
            let variables = collector::environment(tracing).into_iter();
            environment.extend(variables.map(|(name, value)| json!({"name": name, "value": value})));
            environment.extend(tracing.headers_secret_name.iter().map(|name| {
                let key = json!({"name": name, "key": "headers", "optional": true});
                json!({"name": collector::OF_HEADERS, "valueFrom": {"secretKeyRef": key}})
            }));
        }
        if matches!(self.configuration, Configuration::Many { .. }) {
            environment.push(json!({"name": "SLUICE_WEBHOOKS", "value": wire::WEBHOOKS_FOLDER}));
        }
        if self.pods.ca_config_map_ref.is_some() {
            let folders = format!("{SYSTEM_AUTHORITIES}:{}", wire::AUTHORITIES_FOLDER);
            environment.push(json!({"name": "SSL_CERT_DIR", "value": folders}));
        }
        environment.extend(self.pods.env.iter().map(variable));
        environment
    }

    fn ports(&self) -> Value {
        let status = json!({"name": "status", "containerPort": wire::STATUS_PORT, "protocol": "TCP"});
        match self.port {
            Some(port) => json!([{"name": "http", "containerPort": port, "protocol": "TCP"}, status]),
            None => json!([status]),
        }
    }

    fn resources(&self) -> Value {
        let (cpu, memory, limit) = self.default_resources;
        match self.resources {
            Some(resources) => serde_json::to_value(resources).expect("requirements are plain data"),
            None => json!({"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": limit}}),
        }
    }

    /// Volumes, each with its mount. Secrets are optional: the data plane says which one is missing, and starts to use it when it comes.
    fn volumes(&self) -> Vec<(Value, Value)> {
        let mut volumes = match &self.configuration {
            Configuration::Own { config_map, .. } => {
                vec![volume("config", json!({"configMap": {"name": config_map}}), wire::CONFIG_FOLDER)]
            }
            Configuration::Many { config_maps, .. } => {
                let source = |name| json!({"configMap": {"name": name, "optional": true}});
                let sources: Vec<_> = config_maps.iter().map(source).collect();
                vec![volume("webhooks", json!({"projected": {"sources": sources}}), wire::WEBHOOKS_FOLDER)]
            }
        };
        if let Some(name) = self.controls {
            volumes.push(volume("controls", json!({"configMap": {"name": name}}), wire::CONTROLS_FOLDER));
        }
        volumes.extend(self.kafka());
        volumes.extend(self.tracing.into_iter().flat_map(of_tracing));
        if let Some(reference) = &self.pods.ca_config_map_ref {
            // Not optional: what is called cannot be trusted without, and Kubernetes says what is missing.
            let items = json!([{"key": reference.key, "path": "ca.crt"}]);
            let source = json!({"configMap": {"name": reference.name, "items": items}});
            volumes.push(volume("authorities", source, wire::AUTHORITIES_FOLDER));
        }
        for (index, name) in self.secrets.iter().enumerate() {
            let source = json!({"secret": {"secretName": name, "optional": true}});
            volumes.push(volume(&format!("secret-{index}"), source, &format!("{}/{name}", wire::SECRETS_FOLDER)));
        }
        volumes
    }

    /// What Kafka's clients need: credentials and authorities, each in a folder that is named like where they come from.
    fn kafka(&self) -> Vec<(Value, Value)> {
        let secret = |volume_name: String, name: &String| {
            let source = json!({"secret": {"secretName": name, "optional": true}});
            volume(&volume_name, source, &text(&credentials_folder(name)))
        };
        let authorities = |volume_name: String, name: &String| {
            let source = json!({"configMap": {"name": name, "optional": true}});
            volume(&volume_name, source, &text(&ca_folder(name)))
        };
        match &self.configuration {
            Configuration::Own { cluster, .. } => {
                let credentials = cluster.secret_name.iter().map(|name| secret(CREDENTIALS.to_owned(), name));
                let all = cluster.ca_config_map_name.iter().map(|name| authorities(AUTHORITIES.to_owned(), name));
                credentials.chain(all).collect()
            }
            Configuration::Many { kafka_secrets, kafka_authorities, .. } => {
                let credentials = kafka_secrets.iter().enumerate();
                let credentials = credentials.map(|(index, name)| secret(format!("{CREDENTIALS}-{index}"), name));
                let all = kafka_authorities.iter().enumerate();
                let all = all.map(|(index, name)| authorities(format!("{AUTHORITIES}-{index}"), name));
                credentials.chain(all).collect()
            }
        }
    }
}

/// What the collector of traces is known by, and what it is shown.
fn of_tracing(tracing: &Tracing) -> impl Iterator<Item = (Value, Value)> {
    let Tracing { ca_config_map_name, client_secret_name, .. } = tracing;
    let authorities = ca_config_map_name.iter().map(|name| {
        let source = json!({"configMap": {"name": name, "optional": true}});
        volume("tracing-ca", source, wire::TRACING_CA_FOLDER)
    });
    let client = client_secret_name.iter().map(|name| {
        let source = json!({"secret": {"secretName": name, "optional": true}});
        volume("tracing-client", source, wire::TRACING_CLIENT_FOLDER)
    });
    authorities.chain(client)
}

fn variable(variable: &Variable) -> Value {
    let Variable { name, value, secret_ref } = variable;
    match secret_ref {
        Some(secret) => {
            json!({"name": name, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": secret.key}}})
        }
        None => json!({"name": name, "value": value}),
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn volume(name: &str, mut source: Value, path: &str) -> (Value, Value) {
    source["name"] = json!(name);
    (source, json!({"name": name, "mountPath": path, "readOnly": true}))
}

/// What a Deployment's status says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Availability {
    /// Pods that exist.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Whether every wanted pod is available and runs the newest template.
    pub complete: bool,
    /// Whether Kubernetes gave up waiting: 10 minutes without progress.
    pub overdue: bool,
    /// Why it is not complete, by class.
    pub reason: Reason,
    /// What is going on, for people.
    pub message: String,
    /// When pods last became available or ceased to be, or a rollout moved on, as Kubernetes noted it.
    pub changed: Option<Timestamp>,
}

/// What a Deployment's status and its pods say; an old status, from before the last change, says nothing about it. The pods of one
/// that is complete need not be known.
pub fn availability(deployment: &Deployment, pods: &[SeenPod], now: Timestamp) -> Availability {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let status = deployment.status.clone().unwrap_or_default();
    let is_current = status.observed_generation >= deployment.metadata.generation;
    let [replicas, ready, updated, available] =
        [status.replicas, status.ready_replicas, status.updated_replicas, status.available_replicas]
            .map(Option::unwrap_or_default);
    let is_overdue = |condition: &DeploymentCondition| condition.type_ == "Progressing" && condition.status == "False";
    let overdue = status.conditions.iter().flatten().any(is_overdue);
    let complete = is_current && updated >= wanted && available >= wanted && replicas == wanted;
    let numbers = format!("{available} of {wanted} available");
    let trouble = if complete { None } else { trouble(deployment, pods, now) };
    let (reason, message) = match trouble {
        Some(Trouble { reason, message }) => (reason, format!("{numbers}: {message}")),
        None if complete => (Reason::Satisfied, numbers),
        None => (Reason::Unavailable, numbers),
    };
    let changed = changed(status.conditions.as_deref().unwrap_or_default());
    Availability { replicas, ready, complete, overdue, reason, message, changed }
}

/// Of the progress each note counts: the last one is of the end.
fn changed(conditions: &[DeploymentCondition]) -> Option<Timestamp> {
    let time = |condition: &DeploymentCondition| {
        let time = match condition.type_.as_str() {
            "Available" => condition.last_transition_time.as_ref(),
            "Progressing" => condition.last_update_time.as_ref(),
            _ => None,
        };
        time.map(|time| time.0)
    };
    conditions.iter().filter_map(time).max()
}

#[cfg(test)]
mod tests {
    use sluice_crds::{NamespacedName, Settings};

    use super::*;

    /// The template of a receiver, where this is added to the configuration and said about its pods.
    fn template(more: &str, pods: &str) -> Value {
        let settings =
            format!("{{clusters: {{default: {{bootstrapServers: [k]}}}}, images: {{receiver: r, worker: w}}{more}}}");
        let settings: Settings = serde_saphyr::from_str(&settings).unwrap();
        let name = NamespacedName { namespace: "shop".into(), name: "github".into() };
        let owner = Owner { kind: "Webhook", name, uid: "u".into(), generation: 1 };
        let data_plane = DataPlane {
            component: "receiver",
            image: &settings.images.receiver,
            replicas: 1,
            configuration: Configuration::Own {
                config_map: "config",
                cluster: &Cluster::find(&settings, "default", "").unwrap(),
            },
            controls: None,
            secrets: Vec::new(),
            tracing: settings.tracing.as_ref(),
            grace: Duration::from_secs(30),
            port: None,
            pods: &serde_saphyr::from_str(pods).unwrap(),
            resources: None,
            default_resources: ("10m", "16Mi", "128Mi"),
        };
        data_plane.deployment(&owner).manifest["spec"]["template"].clone()
    }

    #[test]
    fn what_is_said_about_pods_stands_beside_what_sluice_says() {
        let labels = json!({"app.kubernetes.io/name": "sluice-receiver", "sluice.dev/webhook": "github"});
        let plain = template("", "{}");
        assert_eq!(plain["metadata"], json!({"labels": labels}));
        let pods = "{labels: {team: shop}, annotations: {a: b}, nodeSelector: {disk: ssd}, tolerations: [{operator: Exists}], \
                    affinity: {podAffinity: {}}, priorityClassName: high, imagePullSecrets: [{name: pull}], \
                    serviceAccountName: shop, caConfigMapRef: {name: ca, key: own.pem}, topologySpreadConstraints: \
                    [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}], \
                    env: [{name: HTTPS_PROXY, secretRef: {name: proxy, key: url}}, {name: NO_PROXY, value: .svc}]}";
        let found = template("", pods);
        let mut all = labels.clone();
        all["team"] = json!("shop");
        assert_eq!(found["metadata"], json!({"labels": all, "annotations": {"a": "b"}}));
        let mut expected = plain["spec"].clone();
        let constraint = json!({
            "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": labels},
        });
        for (name, value) in [
            ("nodeSelector", json!({"disk": "ssd"})),
            ("tolerations", json!([{"operator": "Exists"}])),
            ("affinity", json!({"podAffinity": {}})),
            ("topologySpreadConstraints", json!([constraint])),
            ("priorityClassName", json!("high")),
            ("imagePullSecrets", json!([{"name": "pull"}])),
            ("serviceAccountName", json!("shop")),
            ("serviceAccount", json!("shop")),
        ] {
            expected[name] = value;
        }
        let secret = json!({"secretKeyRef": {"name": "proxy", "key": "url"}});
        expected["containers"][0]["env"] = json!([
            {"name": "SLUICE_LOG_FORMAT", "value": "json"},
            {"name": "SSL_CERT_DIR", "value": "/etc/ssl/certs:/etc/sluice/authorities"},
            {"name": "HTTPS_PROXY", "valueFrom": secret},
            {"name": "NO_PROXY", "value": ".svc"},
        ]);
        let source = json!({"name": "ca", "items": [{"key": "own.pem", "path": "ca.crt"}]});
        let mount = json!({"name": "authorities", "mountPath": "/etc/sluice/authorities", "readOnly": true});
        let push = |list: &mut Value, element| list.as_array_mut().unwrap().push(element);
        push(&mut expected["volumes"], json!({"name": "authorities", "configMap": source}));
        push(&mut expected["containers"][0]["volumeMounts"], mount);
        assert_eq!(found["spec"], expected);
    }

    #[test]
    fn a_data_plane_traces_by_the_variables_of_the_configuration() {
        let environment = |more: &str| template(more, "{}")["spec"]["containers"][0]["env"].clone();
        let log = json!({"name": "SLUICE_LOG_FORMAT", "value": "json"});
        assert_eq!(environment(""), json!([log]));
        let tracing = ", tracing: {environment: {OTEL_TRACES_SAMPLER_ARG: '0.1', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://c:4318'}, headersSecretName: otlp}";
        let secret = json!({"secretKeyRef": {"name": "otlp", "key": "headers", "optional": true}});
        let expected = json!([
            log,
            {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://c:4318"},
            {"name": "OTEL_TRACES_SAMPLER_ARG", "value": "0.1"},
            {"name": "OTEL_EXPORTER_OTLP_HEADERS", "valueFrom": secret},
        ]);
        assert_eq!(environment(tracing), expected);
    }

    #[test]
    fn the_files_by_which_a_collector_is_reached_are_mounted_beside_the_variables_that_name_them() {
        let (plain, mounted) = (
            template("", "{}"),
            template(", tracing: {environment: {}, caConfigMapName: ca, clientSecretName: own}", "{}"),
        );
        let added = |list: &str| {
            let [before, after] = [&plain, &mounted].map(|template| {
                let spec = &template["spec"];
                let list = if list == "volumes" { &spec[list] } else { &spec["containers"][0][list] };
                list.as_array().unwrap().clone()
            });
            Value::Array(after.into_iter().filter(|element| !before.contains(element)).collect())
        };
        let expected = json!([
            {"name": "tracing-ca", "configMap": {"name": "ca", "optional": true}},
            {"name": "tracing-client", "secret": {"secretName": "own", "optional": true}},
        ]);
        assert_eq!(added("volumes"), expected);
        let expected = json!([
            {"name": "tracing-ca", "mountPath": "/etc/sluice/tracing/ca", "readOnly": true},
            {"name": "tracing-client", "mountPath": "/etc/sluice/tracing/client", "readOnly": true},
        ]);
        assert_eq!(added("volumeMounts"), expected);
        let expected = json!([
            {"name": "OTEL_EXPORTER_OTLP_CERTIFICATE", "value": "/etc/sluice/tracing/ca/ca.crt"},
            {"name": "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "value": "/etc/sluice/tracing/client/tls.crt"},
            {"name": "OTEL_EXPORTER_OTLP_CLIENT_KEY", "value": "/etc/sluice/tracing/client/tls.key"},
        ]);
        assert_eq!(added("env"), expected);
    }
}
