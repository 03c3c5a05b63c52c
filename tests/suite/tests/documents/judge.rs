//! What the operator says of a manifest when all that it names is there and ready.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sluice_crds::{Integration, Settings, Topic, TopicReference, TopicStatus, Webhook, wire::SinkConfig};
use sluice_model::{Rejection, integration, topic, webhook};

use crate::places::Place;

/// The configuration of the operator: one Kafka cluster and one schema registry, both called `default`.
const SETTINGS: &str = "{clusters: {default: {bootstrapServers: ['kafka.kafka.svc:9092']}}, \
                        schemaRegistries: {default: {url: 'http://registry.kafka.svc:8081'}}, \
                        images: {receiver: r, worker: w}}";

/// What the operator would say is wrong with a manifest; nothing of kinds that are not Sluice's.
pub(crate) fn complaint(place: &Place, object: &Value) -> Option<String> {
    if !object["apiVersion"].as_str().is_some_and(|version| version.starts_with("sluice.dev/")) {
        return None;
    }
    let settings: Settings = serde_saphyr::from_str(SETTINGS).unwrap();
    let judged = match object["kind"].as_str().unwrap_or_default() {
        "Topic" => typed::<Topic>(object).map(|topic| judge_topic(place, &topic, &settings)),
        "Webhook" => typed::<Webhook>(object).map(|webhook| judge_webhook(place, &webhook, &settings)),
        "Integration" => {
            typed::<Integration>(object).map(|integration| judge_integration(place, &integration, &settings))
        }
        kind => Err(format!("there is no kind {kind:?}")),
    };
    match judged {
        Err(undecodable) => Some(undecodable),
        Ok(Err(rejections)) => Some(rejections.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        Ok(Ok(secrets)) => secrets.iter().find_map(|file| missing_secret(place, file)),
    }
}

fn typed<K: DeserializeOwned>(object: &Value) -> Result<K, String> {
    serde_json::from_value(object.clone()).map_err(|error| error.to_string())
}

/// The files of the Secrets that are needed, or all that is wrong.
type Judged = Result<Vec<PathBuf>, Vec<Rejection>>;

fn judge_topic(place: &Place, topic: &Topic, settings: &Settings) -> Judged {
    let wanted = topic::validate(topic, settings)?;
    let Some(schema) = &topic.spec.schema else { return Ok(Vec::new()) };
    let config_maps = place.config_maps();
    let data = topic.spec.schema_config_map().and_then(|name| config_maps.get(name));
    let schema = topic::wanted_schema(topic, schema, &wanted.name, settings, data);
    schema.map(|_| Vec::new()).map_err(|rejection| vec![rejection])
}

fn judge_webhook(place: &Place, webhook: &Webhook, settings: &Settings) -> Judged {
    let spec = &webhook.spec;
    let references = webhook::References {
        topic: place.referred(spec.topic_ref.as_ref()),
        dead_letters: place.referred(spec.dead_letters_ref()),
        config_maps: place.config_maps(),
        ..webhook::References::default()
    };
    let endpoint = webhook::validate(webhook, &references, settings)?;
    Ok(endpoint.verification.secrets().iter().chain(&endpoint.deduplication_redis).cloned().collect())
}

fn judge_integration(place: &Place, integration: &Integration, settings: &Settings) -> Judged {
    let spec = &integration.spec;
    let webhook = spec.source.webhook.as_ref().and_then(|reference| place.webhook(&reference.name));
    let references = integration::References {
        source: match &webhook {
            Some(webhook) => place.topic_of(webhook),
            None => place.referred(spec.source.topic.as_ref()),
        },
        webhook,
        sink: place.referred(spec.sink_topic()),
        dead_letters: place.referred(spec.dead_letters.topic_ref.as_ref()),
        config_maps: place.config_maps(),
        ..integration::References::default()
    };
    match integration::validate(integration, &references, settings)?.sink {
        SinkConfig::Http(http) => Ok(http.secrets().cloned().collect()),
        SinkConfig::Kafka(_) => Ok(Vec::new()),
    }
}

/// What is said of a Secret that an example needs and does not have.
fn missing_secret(place: &Place, file: &Path) -> Option<String> {
    let text = |part: Option<&OsStr>| part.and_then(OsStr::to_str).unwrap_or_default().to_owned();
    let (name, key) = (text(file.parent().and_then(Path::file_name)), text(file.file_name()));
    let secret = place.find("Secret", &name);
    let has_key = |secret: &Value| ["stringData", "data"].iter().any(|field| secret[field][&key].is_string());
    let is_missing = place.is_whole && !secret.is_some_and(has_key);
    is_missing.then(|| format!("{} has no Secret {name:?} with a key {key:?}", place.name))
}

impl Place {
    /// The object of that kind and name.
    fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        let mut objects = self.manifests.iter().map(|manifest| &manifest.object);
        objects.find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }

    /// The Topic that is referred to, as Kafka has it.
    fn referred(&self, reference: Option<&TopicReference>) -> Option<Topic> {
        let name = &reference?.name;
        let topic =
            self.find("Topic", name).cloned().or_else(|| (!self.is_whole).then(|| bare("Topic", name, &json!({}))));
        Some(created(typed(&topic?).unwrap()))
    }

    fn webhook(&self, name: &str) -> Option<Webhook> {
        let spec = json!({"route": {"parentRefs": [{"name": "edge"}]}, "verify": {"none": {}}});
        let made = || (!self.is_whole).then(|| bare("Webhook", name, &spec));
        self.find("Webhook", name).cloned().or_else(made).map(|webhook| typed(&webhook).unwrap())
    }

    /// The Topic that holds a Webhook's events: the one that it names, or its own.
    fn topic_of(&self, webhook: &Webhook) -> Option<Topic> {
        if webhook.spec.topic_ref.is_some() {
            return self.referred(webhook.spec.topic_ref.as_ref());
        }
        let own = bare("Topic", webhook.metadata.name.as_ref()?, &json!({}));
        Some(created(typed(&own).unwrap()))
    }

    /// The data of all ConfigMaps, by name.
    fn config_maps(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let objects = self.manifests.iter().map(|manifest| &manifest.object);
        let config_maps = objects.filter(|object| object["kind"] == "ConfigMap");
        let named = config_maps.map(|object| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            (name, serde_json::from_value(object["data"].clone()).unwrap())
        });
        named.collect()
    }
}

fn bare(kind: &str, name: &str, spec: &Value) -> Value {
    let metadata = json!({"name": name, "namespace": "shop"});
    json!({"apiVersion": "sluice.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

/// A Topic that Kafka has.
fn created(topic: Topic) -> Topic {
    let [namespace, name] =
        [&topic.metadata.namespace, &topic.metadata.name].map(|text| text.as_deref().unwrap_or_default());
    let topic_name = topic.spec.topic_name.clone().unwrap_or_else(|| format!("{namespace}.{name}"));
    let status =
        TopicStatus { topic_name: Some(topic_name), topic_id: Some("id".to_owned()), ..TopicStatus::default() };
    Topic { status: Some(status), ..topic }
}
