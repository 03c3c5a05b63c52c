//! The configuration of topics on a real broker: single keys change, all else stays as it is.
#![allow(clippy::unwrap_used, reason = "test code, also outside the functions that clippy knows as tests")]

mod broker;

use std::collections::BTreeMap;

use broker::{admin, created, fresh, plain_topic, until};
use sluice_kafka::{Admin, ConfigChange, ConfigEntry, ConfigSource, ErrorCode, NewTopic};

#[tokio::test]
async fn keys_are_set_and_deleted_and_no_other_key_changes() {
    let admin = admin();
    let config = [("retention.ms", "1000"), ("max.message.bytes", "2000")];
    let config = config.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let topic = created(&admin, NewTopic { config, ..plain_topic("config") }).await;
    let before = described(&admin, &topic).await;
    assert_eq!(own(&before), [("max.message.bytes", "2000"), ("retention.ms", "1000")].into());
    assert_eq!(before["max.message.bytes"].inherited.as_deref(), Some("1048588"));

    alter(&admin, &topic, vec![set("segment.bytes", "1048576"), delete("retention.ms")]).await;
    let after =
        until(async || described(&admin, &topic).await, |config| own(config).contains_key("segment.bytes")).await;
    assert_eq!(own(&after), [("max.message.bytes", "2000"), ("segment.bytes", "1048576")].into());
    assert_eq!(after["retention.ms"].value.as_deref(), Some("604800000"));

    let touched = ["retention.ms", "segment.bytes"];
    let rest = |mut config: BTreeMap<String, ConfigEntry>| {
        config.retain(|key, _| !touched.contains(&key.as_str()));
        config
    };
    assert_eq!(rest(after), rest(before));
}

#[tokio::test]
async fn an_inherited_value_says_so() {
    let admin = admin();
    let topic = created(&admin, plain_topic("inherited")).await;
    let config = described(&admin, &topic).await;
    let entry = &config["cleanup.policy"];
    let expected = ConfigEntry {
        value: Some("delete".into()),
        source: ConfigSource::Default,
        inherited: Some("delete".into()),
        read_only: false,
        sensitive: false,
    };
    assert_eq!(*entry, expected);
    assert!(own(&config).is_empty(), "{:?}", own(&config));
}

#[tokio::test]
async fn a_refused_change_leaves_the_topic_as_it_was_and_holds_up_no_other() {
    let admin = admin();
    let (bad, good, missing) =
        (created(&admin, plain_topic("bad")).await, created(&admin, plain_topic("good")).await, fresh("missing"));
    let answers = admin
        .alter_configs_incrementally(&[
            (&bad, vec![set("segment.bytes", "1048576"), set("retention.ms", "soon")]),
            (&good, vec![set("retention.ms", "5000")]),
            (&missing, vec![set("retention.ms", "5000")]),
        ])
        .await
        .unwrap();

    let refused = answers[&bad].as_ref().unwrap_err();
    assert_eq!(refused.code, ErrorCode::INVALID_CONFIG);
    assert!(refused.message.contains("Invalid value soon for configuration retention.ms"), "{refused}");
    assert_eq!(answers[&missing].as_ref().unwrap_err().code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(answers[&good], Ok(()));
    let changed = until(async || described(&admin, &good).await, |config| !own(config).is_empty()).await;
    assert_eq!(own(&changed), [("retention.ms", "5000")].into());
    assert!(own(&described(&admin, &bad).await).is_empty());
}

#[tokio::test]
async fn of_what_a_topic_has_of_its_own_only_the_named_keys_are_told() {
    let admin = admin();
    let topic = created(&admin, plain_topic("named-keys")).await;
    alter(&admin, &topic, vec![set("segment.bytes", "1048576"), set("retention.ms", "5000")]).await;
    until(async || described(&admin, &topic).await, |config| own(config).len() == 2).await;
    let told = async |keys: &[&str]| {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        let answers = admin.describe_own_configs(&[(topic.as_str(), keys)]).await.unwrap();
        answers[&topic].clone().unwrap()
    };
    let expected = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let (segment, retention) = (("segment.bytes", "1048576"), ("retention.ms", "5000"));
    assert_eq!(told(&["retention.ms", "cleanup.policy", "no.such.key"]).await, expected(&[retention]));
    assert_eq!(told(&["cleanup.policy"]).await, expected(&[]));
    assert_eq!(told(&[]).await, expected(&[retention, segment]));
}

#[tokio::test]
async fn a_missing_topic_has_no_configuration() {
    let missing = fresh("missing");
    let answers = admin().describe_configs(&[&missing]).await.unwrap();
    assert_eq!(answers[&missing].as_ref().unwrap_err().code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

async fn described(admin: &Admin, topic: &str) -> BTreeMap<String, ConfigEntry> {
    admin.describe_configs(&[topic]).await.unwrap().remove(topic).unwrap().unwrap()
}

async fn alter(admin: &Admin, topic: &str, changes: Vec<ConfigChange>) {
    let answers = admin.alter_configs_incrementally(&[(topic, changes)]).await.unwrap();
    assert_eq!(answers, [(topic.to_owned(), Ok(()))].into());
}

/// What is set on the topic itself.
fn own(config: &BTreeMap<String, ConfigEntry>) -> BTreeMap<&str, &str> {
    let of_topic = config.iter().filter(|(_, entry)| entry.source == ConfigSource::Topic);
    of_topic.map(|(key, entry)| (key.as_str(), entry.value.as_deref().unwrap())).collect()
}

fn set(key: &str, value: &str) -> ConfigChange {
    ConfigChange::Set { key: key.into(), value: value.into() }
}

fn delete(key: &str) -> ConfigChange {
    ConfigChange::Delete { key: key.into() }
}
