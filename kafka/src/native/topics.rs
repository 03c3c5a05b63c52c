//! `CreateTopics`, `CreatePartitions`, `DeleteTopics`, `DescribeTopics`: how they are asked and how their answers are read.

use std::{
    ffi::{CStr, CString, c_char, c_int},
    ptr,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t::{
    RD_KAFKA_ADMIN_OP_CREATEPARTITIONS, RD_KAFKA_ADMIN_OP_CREATETOPICS, RD_KAFKA_ADMIN_OP_DELETETOPICS,
    RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
};

use super::{Call, Event, Owned, name, read, value};
use crate::{ErrorCode, KafkaError, NewTopic, PartitionDescription, PerTopic, TopicDescription};

// As numbers and not as rdkafka-sys' enum: see `read`.
unsafe extern "C" {
    fn rd_kafka_topic_result_error(result: *const sys::rd_kafka_topic_result_t) -> c_int;
}

const BROKERS_DEFAULT: c_int = -1;

pub(crate) fn new_topic(topic: &NewTopic) -> Result<Owned<sys::rd_kafka_NewTopic_t>, KafkaError> {
    let name = name(&topic.name)?;
    let partitions = topic.partitions.unwrap_or(1);
    let replicas = topic.replicas.map_or(BROKERS_DEFAULT, c_int::from);
    // SAFETY: the name is a C string, which librdkafka copies; the object is ours to release.
    let object = constructed(ErrorCode::INVALID_PARTITIONS, |reason, length| unsafe {
        sys::rd_kafka_NewTopic_new(name.as_ptr(), partitions, replicas, reason, length)
    })?;
    for (key, text) in &topic.config {
        let (key, text) = (super::name(key)?, value(text)?);
        // SAFETY: the object is alive, the strings are copied; the code is of librdkafka's own few for this call.
        let code = unsafe { sys::rd_kafka_NewTopic_set_config(object.pointer(), key.as_ptr(), text.as_ptr()) };
        // SAFETY: no message is passed.
        unsafe { read::result(code as c_int, ptr::null()) }?;
    }
    Ok(object)
}

pub(crate) fn new_partitions(topic: &str, total: i32) -> Result<Owned<sys::rd_kafka_NewPartitions_t>, KafkaError> {
    let name = name(topic)?;
    let total = usize::try_from(total).unwrap_or(0);
    // SAFETY: the name is a C string, which librdkafka copies; the object is ours to release.
    constructed(ErrorCode::INVALID_PARTITIONS, |reason, length| unsafe {
        sys::rd_kafka_NewPartitions_new(name.as_ptr(), total, reason, length)
    })
}

pub(crate) fn deleted_topic(topic: &str) -> Result<Owned<sys::rd_kafka_DeleteTopic_t>, KafkaError> {
    let name = name(topic)?;
    // SAFETY: the name is a C string, which librdkafka copies; the object is ours to release.
    Ok(unsafe { Owned::take(sys::rd_kafka_DeleteTopic_new(name.as_ptr())) }.expect("given a name it makes one"))
}

/// What a constructor made, or the reason that it wrote instead.
fn constructed<T: super::owned::Destroy>(
    code: ErrorCode,
    construct: impl FnOnce(*mut c_char, usize) -> *mut T,
) -> Result<Owned<T>, KafkaError> {
    let mut reason: [c_char; 256] = [0; 256];
    let object = construct(reason.as_mut_ptr(), reason.len());
    // SAFETY: every caller passes a constructor, whose object nobody else has.
    unsafe { Owned::take(object) }.ok_or_else(|| {
        // SAFETY: zeroed, and librdkafka ends what it writes with a NUL.
        KafkaError::local(code, unsafe { CStr::from_ptr(reason.as_ptr()) }.to_string_lossy())
    })
}

pub(crate) fn create_topics(call: Call<'_>, topics: &[Owned<sys::rd_kafka_NewTopic_t>]) {
    let options = call.options(RD_KAFKA_ADMIN_OP_CREATETOPICS).with_operation_timeout(call.timeout);
    let mut array = Owned::array(topics);
    // SAFETY: everything passed is alive during the call; librdkafka copies topics and options.
    unsafe {
        sys::rd_kafka_CreateTopics(call.client(), array.as_mut_ptr(), array.len(), options.pointer(), call.queue());
    }
}

pub(crate) fn create_partitions(call: Call<'_>, topics: &[Owned<sys::rd_kafka_NewPartitions_t>]) {
    let options = call.options(RD_KAFKA_ADMIN_OP_CREATEPARTITIONS).with_operation_timeout(call.timeout);
    let mut array = Owned::array(topics);
    // SAFETY: everything passed is alive during the call; librdkafka copies topics and options.
    unsafe {
        sys::rd_kafka_CreatePartitions(call.client(), array.as_mut_ptr(), array.len(), options.pointer(), call.queue());
    }
}

pub(crate) fn delete_topics(call: Call<'_>, topics: &[Owned<sys::rd_kafka_DeleteTopic_t>]) {
    let options = call.options(RD_KAFKA_ADMIN_OP_DELETETOPICS).with_operation_timeout(call.timeout);
    let mut array = Owned::array(topics);
    // SAFETY: everything passed is alive during the call; librdkafka copies topics and options.
    unsafe {
        sys::rd_kafka_DeleteTopics(call.client(), array.as_mut_ptr(), array.len(), options.pointer(), call.queue());
    }
}

pub(crate) fn creations(event: &Event) -> PerTopic<()> {
    // SAFETY: the event is alive and an answer to CreateTopics.
    unsafe {
        let result = sys::rd_kafka_event_CreateTopics_result(event.pointer());
        outcomes(&read::list(|length| sys::rd_kafka_CreateTopics_result_topics(result, length)))
    }
}

pub(crate) fn growths(event: &Event) -> PerTopic<()> {
    // SAFETY: the event is alive and an answer to CreatePartitions.
    unsafe {
        let result = sys::rd_kafka_event_CreatePartitions_result(event.pointer());
        outcomes(&read::list(|length| sys::rd_kafka_CreatePartitions_result_topics(result, length)))
    }
}

pub(crate) fn deletions(event: &Event) -> PerTopic<()> {
    // SAFETY: the event is alive and an answer to DeleteTopics.
    unsafe {
        let result = sys::rd_kafka_event_DeleteTopics_result(event.pointer());
        outcomes(&read::list(|length| sys::rd_kafka_DeleteTopics_result_topics(result, length)))
    }
}

/// # Safety
/// The results live during the call.
unsafe fn outcomes(results: &[*const sys::rd_kafka_topic_result_t]) -> PerTopic<()> {
    let outcome = |result: &*const _| {
        // SAFETY: the caller's promise; the strings live as long as the result.
        unsafe {
            let topic = read::text(sys::rd_kafka_topic_result_name(*result));
            let message = sys::rd_kafka_topic_result_error_string(*result);
            (topic, read::result(rd_kafka_topic_result_error(*result), message))
        }
    };
    results.iter().map(outcome).collect()
}

pub(crate) fn describe_topics(call: Call<'_>, topics: &[CString]) {
    let options = call.options(RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
    let mut names: Vec<_> = topics.iter().map(|topic| topic.as_ptr()).collect();
    // SAFETY: the names are C strings, which librdkafka copies; the collection is ours to release.
    let topics = unsafe { Owned::take(sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len())) };
    let topics = topics.expect("librdkafka makes a collection of any names");
    // SAFETY: everything passed is alive during the call; librdkafka copies collection and options.
    unsafe { sys::rd_kafka_DescribeTopics(call.client(), topics.pointer(), options.pointer(), call.queue()) };
}

pub(crate) fn topic_descriptions(event: &Event) -> PerTopic<TopicDescription> {
    // SAFETY: the event is alive and an answer to DescribeTopics, and everything read from it lives as long as it does.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event.pointer());
        let topics = read::list(|length| sys::rd_kafka_DescribeTopics_result_topics(result, length));
        topics.iter().map(|topic| topic_description(*topic)).collect()
    }
}

/// # Safety
/// `topic` is not null and lives during the call.
unsafe fn topic_description(
    topic: *const sys::rd_kafka_TopicDescription_t,
) -> (String, Result<TopicDescription, KafkaError>) {
    // SAFETY: the caller's promise; everything read lives as long as the topic.
    unsafe {
        let name = read::text(sys::rd_kafka_TopicDescription_name(topic));
        let error = read::result_of(sys::rd_kafka_TopicDescription_error(topic));
        let description = error.map(|()| TopicDescription {
            id: topic_id(sys::rd_kafka_TopicDescription_topic_id(topic)),
            internal: sys::rd_kafka_TopicDescription_is_internal(topic) != 0,
            partitions: read::list(|length| sys::rd_kafka_TopicDescription_partitions(topic, length))
                .iter()
                .map(|partition| partition_description(*partition))
                .collect(),
        });
        (name, description)
    }
}

/// # Safety
/// `id` is not null and lives during the call.
unsafe fn topic_id(id: *const sys::rd_kafka_Uuid_t) -> String {
    // SAFETY: the caller's promise.
    let (most, least) =
        unsafe { (sys::rd_kafka_Uuid_most_significant_bits(id), sys::rd_kafka_Uuid_least_significant_bits(id)) };
    spelt(most, least)
}

/// Kafka's own spelling of an id: librdkafka's `rd_kafka_Uuid_base64str` writes `+` and `/` where Kafka has `-` and `_`.
fn spelt(most: i64, least: i64) -> String {
    BASE64_URL_SAFE_NO_PAD.encode([most.to_be_bytes(), least.to_be_bytes()].as_flattened())
}

/// # Safety
/// `partition` is not null and lives during the call.
unsafe fn partition_description(partition: *const sys::rd_kafka_TopicPartitionInfo_t) -> PartitionDescription {
    // SAFETY: the caller's promise; nodes live as long as the partition. Without a leader librdkafka has no node, or one with -1.
    unsafe {
        let leader = sys::rd_kafka_TopicPartitionInfo_leader(partition);
        let leader = (!leader.is_null()).then(|| sys::rd_kafka_Node_id(leader)).filter(|id| *id >= 0);
        let ids = |nodes: &[*const _]| nodes.iter().map(|node| sys::rd_kafka_Node_id(*node)).collect();
        PartitionDescription {
            partition: sys::rd_kafka_TopicPartitionInfo_partition(partition),
            leader,
            replicas: ids(&read::list(|length| sys::rd_kafka_TopicPartitionInfo_replicas(partition, length))),
            in_sync: ids(&read::list(|length| sys::rd_kafka_TopicPartitionInfo_isr(partition, length))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_spelt_as_kafka_spells_it() {
        assert_eq!(spelt(-6_181_492_265_944_071_381, -8_441_531_898_739_834_060), "qjbtiPqUQyuK2ad2l3vDNA");
        assert_eq!(spelt(-1, -1), "_____________________w");
    }
}
