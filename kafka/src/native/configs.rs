//! `DescribeConfigs` and `IncrementalAlterConfigs` of topics: how they are asked and how their answers are read.

use std::{
    collections::BTreeMap,
    ffi::{CString, c_int},
    ptr,
};

use rdkafka_sys as sys;
use sys::{
    rd_kafka_AlterConfigOpType_t::{RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE, RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET},
    rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
    rd_kafka_admin_op_t::{RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS},
};

use super::{Call, Event, Owned, name, read, value};
use crate::{ConfigChange, ConfigEntry, ConfigSource, KafkaError, PerTopic};

type Resource = Owned<sys::rd_kafka_ConfigResource_t>;

// As numbers and not as rdkafka-sys' enums: see `read`.
unsafe extern "C" {
    fn rd_kafka_ConfigResource_error(resource: *const sys::rd_kafka_ConfigResource_t) -> c_int;
    fn rd_kafka_ConfigEntry_source(entry: *const sys::rd_kafka_ConfigEntry_t) -> c_int;
}

/// A topic whose configuration is asked for.
pub(crate) fn config_resource(topic: &str) -> Result<Resource, KafkaError> {
    let name = name(topic)?;
    // SAFETY: the name is a C string, which librdkafka copies; the object is ours to release.
    let resource = unsafe { Owned::take(sys::rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name.as_ptr())) };
    Ok(resource.expect("given a name it makes one"))
}

/// The same, of which only these keys are asked for; all of them where there are none.
pub(crate) fn config_resource_of(topic: &str, keys: &[String]) -> Result<Resource, KafkaError> {
    let resource = config_resource(topic)?;
    for key in keys {
        let key = name(key)?;
        // SAFETY: the resource is alive, the strings are copied; what is asked has no value.
        let code = unsafe { sys::rd_kafka_ConfigResource_set_config(resource.pointer(), key.as_ptr(), c"".as_ptr()) };
        debug_assert!(code as c_int == 0, "a key that is not empty is taken");
    }
    Ok(resource)
}

/// A topic whose configuration is to change.
pub(crate) fn changed_resource(topic: &str, changes: &[ConfigChange]) -> Result<Resource, KafkaError> {
    let resource = config_resource(topic)?;
    for change in changes {
        add_change(&resource, change)?;
    }
    Ok(resource)
}

fn add_change(resource: &Resource, change: &ConfigChange) -> Result<(), KafkaError> {
    let (key, operation, text) = match change {
        ConfigChange::Set { key, value: text } => (key, RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET, Some(value(text)?)),
        ConfigChange::Delete { key } => (key, RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE, None),
    };
    let key = name(key)?;
    let text = text.as_ref().map_or(ptr::null(), |text: &CString| text.as_ptr());
    // SAFETY: the resource is alive, the strings are copied; the error is ours to release.
    unsafe {
        read::result_of_owned(sys::rd_kafka_ConfigResource_add_incremental_config(
            resource.pointer(),
            key.as_ptr(),
            operation,
            text,
        ))
    }
}

pub(crate) fn describe_configs(call: Call<'_>, topics: &[Resource]) {
    let options = call.options(RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    let mut array = Owned::array(topics);
    // SAFETY: everything passed is alive during the call; librdkafka copies resources and options.
    unsafe {
        sys::rd_kafka_DescribeConfigs(call.client(), array.as_mut_ptr(), array.len(), options.pointer(), call.queue());
    }
}

pub(crate) fn alter_configs_incrementally(call: Call<'_>, topics: &[Resource]) {
    let options = call.options(RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS);
    let (mut array, client, queue) = (Owned::array(topics), call.client(), call.queue());
    // SAFETY: everything passed is alive during the call; librdkafka copies resources and options.
    unsafe {
        sys::rd_kafka_IncrementalAlterConfigs(client, array.as_mut_ptr(), array.len(), options.pointer(), queue);
    }
}

pub(crate) fn alterations(event: &Event) -> PerTopic<()> {
    // SAFETY: the event is alive and an answer to IncrementalAlterConfigs.
    unsafe {
        let result = sys::rd_kafka_event_IncrementalAlterConfigs_result(event.pointer());
        let topics = read::list(|length| sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, length));
        topics.iter().map(|topic| outcome(*topic)).collect()
    }
}

pub(crate) fn topic_configs(event: &Event) -> PerTopic<BTreeMap<String, ConfigEntry>> {
    // SAFETY: what is read of an entry lives during the call.
    described(event, |entry| unsafe { Some(config_entry(entry)) })
}

/// Only what was set on the topics themselves; the rest is not copied.
pub(crate) fn own_topic_configs(event: &Event) -> PerTopic<BTreeMap<String, String>> {
    // SAFETY: what is read of an entry lives during the call.
    described(event, |entry| unsafe {
        let is_own = source(rd_kafka_ConfigEntry_source(entry)) == ConfigSource::Topic;
        is_own.then(|| read::optional_text(sys::rd_kafka_ConfigEntry_value(entry))).flatten()
    })
}

/// What `read` makes of each entry, by topic and key. It gets entries that are not null and live during the call.
fn described<T>(
    event: &Event,
    read: impl Fn(*const sys::rd_kafka_ConfigEntry_t) -> Option<T>,
) -> PerTopic<BTreeMap<String, T>> {
    // SAFETY: the event is alive and an answer to DescribeConfigs, and everything read from it lives as long as it does.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConfigs_result(event.pointer());
        let topics = read::list(|length| sys::rd_kafka_DescribeConfigs_result_resources(result, length));
        let described = |topic: &*const _| {
            let (name, error) = outcome(*topic);
            (name, error.map(|()| entries(*topic, &read)))
        };
        topics.iter().map(described).collect()
    }
}

/// # Safety
/// `topic` is not null and lives during the call.
unsafe fn outcome(topic: *const sys::rd_kafka_ConfigResource_t) -> (String, Result<(), KafkaError>) {
    // SAFETY: the caller's promise; the strings live as long as the topic.
    unsafe {
        let message = sys::rd_kafka_ConfigResource_error_string(topic);
        let error = read::result(rd_kafka_ConfigResource_error(topic), message);
        (read::text(sys::rd_kafka_ConfigResource_name(topic)), error)
    }
}

/// # Safety
/// `topic` is not null and lives during the call.
unsafe fn entries<T>(
    topic: *const sys::rd_kafka_ConfigResource_t,
    read: impl Fn(*const sys::rd_kafka_ConfigEntry_t) -> Option<T>,
) -> BTreeMap<String, T> {
    // SAFETY: the caller's promise; entries and strings live as long as the topic.
    unsafe {
        let entries = read::list(|length| sys::rd_kafka_ConfigResource_configs(topic, length));
        let key = |entry| read::text(sys::rd_kafka_ConfigEntry_name(entry));
        // The key only where there is a value: most entries are not wanted.
        entries.iter().filter_map(|entry| read(*entry).map(|value| (key(*entry), value))).collect()
    }
}

/// # Safety
/// `entry` is not null and lives during the call.
unsafe fn config_entry(entry: *const sys::rd_kafka_ConfigEntry_t) -> ConfigEntry {
    // SAFETY: the caller's promise.
    unsafe {
        ConfigEntry {
            value: read::optional_text(sys::rd_kafka_ConfigEntry_value(entry)),
            source: source(rd_kafka_ConfigEntry_source(entry)),
            inherited: inherited(entry),
            read_only: sys::rd_kafka_ConfigEntry_is_read_only(entry) > 0,
            sensitive: sys::rd_kafka_ConfigEntry_is_sensitive(entry) > 0,
        }
    }
}

/// The synonyms of an entry are all values that were given for it, the strongest first.
///
/// # Safety
/// `entry` is not null and lives during the call.
unsafe fn inherited(entry: *const sys::rd_kafka_ConfigEntry_t) -> Option<String> {
    // SAFETY: the caller's promise; synonyms and their values live as long as the entry.
    unsafe {
        let synonyms = read::list(|length| sys::rd_kafka_ConfigEntry_synonyms(entry, length));
        let is_own = |synonym: &&*const _| source(rd_kafka_ConfigEntry_source(**synonym)) == ConfigSource::Topic;
        synonyms.iter().filter(|synonym| !is_own(synonym)).find_map(|synonym| {
            let value = read::optional_text(sys::rd_kafka_ConfigEntry_value(*synonym))?;
            Some(in_the_topics_unit(&read::text(sys::rd_kafka_ConfigEntry_name(*synonym)), value))
        })
    }
}

/// Brokers may give in hours or minutes, under a name that ends so, what topics give in milliseconds.
fn in_the_topics_unit(name: &str, value: String) -> String {
    let unit = match name.rsplit('.').next() {
        Some("hours") => 3_600_000,
        Some("minutes") => 60_000,
        _ => return value,
    };
    match value.parse::<i64>() {
        Ok(number) if number >= 0 => number.saturating_mul(unit).to_string(),
        _ => value,
    }
}

/// The numbers of `DescribeConfigsResponse.ConfigSource`.
fn source(number: c_int) -> ConfigSource {
    match number {
        1 => ConfigSource::Topic,
        2 => ConfigSource::Broker,
        3 => ConfigSource::AllBrokers,
        4 => ConfigSource::BrokerFile,
        5 => ConfigSource::Default,
        _ => ConfigSource::Other,
    }
}
