//! Judges a Topic.

use sluice_crds::{Settings, Topic};

use super::Wanted;
use crate::{
    Cluster, Rejection,
    tenancy::{self, Named},
};

/// The longest name that Kafka takes.
const LONGEST_NAME: usize = 249;

/// The Kafka topic that should exist, or all that is wrong with the Topic.
pub fn validate(topic: &Topic, settings: &Settings) -> Result<Wanted, Vec<Rejection>> {
    let mut rejections = Vec::new();
    let cluster = Cluster::find(settings, &topic.spec.cluster, "spec.cluster").map_err(|r| rejections.push(r)).ok();
    let name = kafka_name(topic);
    let field = if topic.spec.topic_name.is_some() { "spec.topicName" } else { "metadata.name" };
    rejections.extend(illegal_name(topic, field, &name));
    let namespace = topic.metadata.namespace.as_deref().unwrap_or_default();
    rejections.extend(tenancy::judge(settings, namespace, field, Named::Topic(&name)));
    match cluster {
        Some(cluster) if rejections.is_empty() => Ok(Wanted {
            cluster,
            name,
            partitions: topic.spec.partitions,
            replicas: topic.spec.replicas.map(|replicas| replicas.try_into().unwrap_or(i16::MAX)),
            config: topic.spec.config.clone(),
            policy: topic.spec.management_policy,
        }),
        _ => Err(rejections),
    }
}

/// `spec.topicName`, by default `<namespace>.<name>`.
pub(super) fn kafka_name(topic: &Topic) -> String {
    let metadata = &topic.metadata;
    let default = || {
        let [namespace, name] = [&metadata.namespace, &metadata.name].map(|part| part.as_deref().unwrap_or_default());
        format!("{namespace}.{name}")
    };
    topic.spec.topic_name.clone().unwrap_or_else(default)
}

/// The schema and the CEL rules refuse most of it; the namespace is what they cannot see.
fn illegal_name(topic: &Topic, field: &str, name: &str) -> Option<Rejection> {
    if name.len() > LONGEST_NAME {
        let length = name.len();
        return Some(Rejection::invalid(
            field,
            format!(
                "the name {name:?} has {length} characters and Kafka allows {LONGEST_NAME}; set a shorter spec.topicName"
            ),
        ));
    }
    if name == "." || name == ".." || name.starts_with("__") {
        return Some(Rejection::invalid(field, format!("{name:?} is reserved by Kafka; choose another name")));
    }
    let ours = topic.status.as_ref().and_then(|status| status.topic_name.as_deref());
    ours.filter(|ours| *ours != name).map(|ours| {
        Rejection::invalid(
            field,
            format!("this Topic stands for {ours:?} and cannot change to {name:?}; make a new Topic"),
        )
    })
}

#[cfg(test)]
mod tests {
    use sluice_crds::{Reason, Settings, Topic};

    use super::validate;

    fn settings() -> Settings {
        let yaml = "{clusters: {default: {bootstrapServers: ['kafka:9092']}}, images: {receiver: r, worker: w}}";
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn topic(spec: &str) -> Topic {
        let yaml = format!(
            "{{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {{name: orders, namespace: shop}}, spec: {spec}}}"
        );
        serde_saphyr::from_str(&yaml).unwrap()
    }

    #[test]
    fn a_topic_is_named_after_its_namespace_and_itself() {
        assert_eq!(validate(&topic("{}"), &settings()).unwrap().name, "shop.orders");
        assert_eq!(validate(&topic("{topicName: legacy_orders}"), &settings()).unwrap().name, "legacy_orders");
    }

    #[test]
    fn all_complaints_come_together_each_with_its_field() {
        let rejections = validate(&topic("{cluster: east, topicName: __consumer_offsets}"), &settings()).unwrap_err();
        let fields: Vec<_> = rejections.iter().map(|r| (r.field.as_str(), r.reason)).collect();
        assert_eq!(fields, [("spec.cluster", Reason::Invalid), ("spec.topicName", Reason::Invalid)]);
        assert_eq!(
            rejections[0].message,
            "the operator's configuration has no Kafka cluster \"east\"; it has: default"
        );
    }

    #[test]
    fn with_tenancy_a_topic_stands_only_for_what_its_namespace_may_name() {
        let mut settings = settings();
        settings.tenancy = Some(sluice_crds::Tenancy::default());
        assert_eq!(validate(&topic("{}"), &settings).unwrap().name, "shop.orders");
        let rejection = validate(&topic("{topicName: billing.orders}"), &settings).unwrap_err().remove(0);
        assert_eq!((rejection.field.as_str(), rejection.reason), ("spec.topicName", Reason::OutsideTenancy));
    }

    #[test]
    fn a_topic_does_not_change_the_kafka_topic_it_stands_for() {
        let mut renamed = topic("{topicName: other}");
        renamed.status =
            Some(sluice_crds::TopicStatus { topic_name: Some("shop.orders".into()), ..Default::default() });
        assert_eq!(validate(&renamed, &settings()).unwrap_err()[0].field, "spec.topicName");
    }
}
