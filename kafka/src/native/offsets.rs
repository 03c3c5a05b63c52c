//! `ListOffsets`, `ListConsumerGroupOffsets` and `AlterConsumerGroupOffsets`: how they are asked and how their answers are read.

use std::{ffi::CString, ptr, slice};

use rdkafka::TopicPartitionList;
use rdkafka_sys as sys;
use sys::{
    rd_kafka_IsolationLevel_t::{RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED, RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED},
    rd_kafka_OffsetSpec_t::{RD_KAFKA_OFFSET_SPEC_EARLIEST, RD_KAFKA_OFFSET_SPEC_LATEST},
    rd_kafka_admin_op_t::{
        RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS,
        RD_KAFKA_ADMIN_OP_LISTOFFSETS,
    },
};

use super::{Call, Event, Owned, read};
use crate::{CommittedOffset, ErrorCode, KafkaError, OffsetAt, PerPartition, TopicPartition};

pub(crate) fn list_offsets(call: Call<'_>, partitions: &[(CString, i32)], at: OffsetAt) {
    let (spec, isolation) = match at {
        OffsetAt::Earliest => (RD_KAFKA_OFFSET_SPEC_EARLIEST as i64, RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED),
        OffsetAt::LastStable => (RD_KAFKA_OFFSET_SPEC_LATEST as i64, RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED),
        OffsetAt::Latest => (RD_KAFKA_OFFSET_SPEC_LATEST as i64, RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED),
        // Negative numbers are the other specifications.
        OffsetAt::Time(milliseconds) => (milliseconds.max(0), RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED),
    };
    let options = call.options(RD_KAFKA_ADMIN_OP_LISTOFFSETS).with_isolation(isolation);
    let list = partition_list(partitions.iter().map(|(topic, partition)| (topic, *partition, spec)));
    // SAFETY: everything passed is alive during the call; librdkafka copies list and options.
    unsafe { sys::rd_kafka_ListOffsets(call.client(), list.pointer(), options.pointer(), call.queue()) };
}

fn partition_list<'a>(
    offsets: impl ExactSizeIterator<Item = (&'a CString, i32, i64)>,
) -> Owned<sys::rd_kafka_topic_partition_list_t> {
    let size = i32::try_from(offsets.len()).unwrap_or(i32::MAX);
    // SAFETY: the list is ours to release; it grows where `size`, a hint, is too small.
    let list = unsafe { Owned::take(sys::rd_kafka_topic_partition_list_new(size)) }.expect("librdkafka never fails it");
    for (topic, partition, offset) in offsets {
        // SAFETY: the list is alive, the name is copied; the element lives until the list grows, after this line.
        unsafe {
            (*sys::rd_kafka_topic_partition_list_add(list.pointer(), topic.as_ptr(), partition)).offset = offset;
        }
    }
    list
}

pub(crate) fn listed_offsets(event: &Event) -> PerPartition<i64> {
    // SAFETY: the event is alive and an answer to ListOffsets, and everything read from it lives as long as it does.
    unsafe {
        let result = sys::rd_kafka_event_ListOffsets_result(event.pointer());
        let infos = read::list(|length| sys::rd_kafka_ListOffsets_result_infos(result, length));
        let offset = |info: &*const _| {
            let partition = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*info);
            let (name, error) = read::partition(partition);
            (name, error.and_then(|()| known((*partition).offset)))
        };
        infos.iter().map(offset).collect()
    }
}

/// Where a partition's leader did not answer, librdkafka leaves its own `RD_KAFKA_OFFSET_INVALID` and no error.
fn known(offset: i64) -> Result<i64, KafkaError> {
    const INVALID: i64 = -1001;
    let silent = || KafkaError::local(ErrorCode::TRANSPORT, "the partition's leader does not answer");
    if offset == INVALID { Err(silent()) } else { Ok(offset) }
}

/// Asks for all offsets that the group has committed.
pub(crate) fn list_group_offsets(call: Call<'_>, group: &CString) {
    let options = call.options(RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    // SAFETY: the name is a C string, which librdkafka copies; null means all partitions; the object is ours to release.
    let groups = unsafe {
        [Owned::take(sys::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), ptr::null()))
            .expect("given a name it makes one")]
    };
    let (mut array, client, queue) = (Owned::array(&groups), call.client(), call.queue());
    // SAFETY: everything passed is alive during the call; librdkafka copies groups and options.
    unsafe {
        sys::rd_kafka_ListConsumerGroupOffsets(client, array.as_mut_ptr(), array.len(), options.pointer(), queue);
    }
}

/// What the one group that was asked for has committed; an error is the group's, not a partition's.
pub(crate) fn group_offsets(event: &Event) -> Result<PerPartition<CommittedOffset>, KafkaError> {
    // SAFETY: the event is alive and an answer to ListConsumerGroupOffsets, and all that is read lives as long as it does.
    unsafe {
        let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event.pointer());
        let groups = read::list(|length| sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, length));
        let Some(group) = groups.first() else { return Ok(PerPartition::new()) };
        read::result_of(sys::rd_kafka_group_result_error(*group))?;
        let partitions = read::partitions(sys::rd_kafka_group_result_partitions(*group));
        Ok(partitions.filter_map(|partition| committed(partition)).collect())
    }
}

/// Commits offsets for a group as nobody in it, in one request. At least one.
pub(crate) fn alter_group_offsets(call: Call<'_>, group: &CString, offsets: &[(CString, i32, i64)]) {
    let options = call.options(RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS);
    let list = partition_list(offsets.iter().map(|(topic, partition, offset)| (topic, *partition, *offset)));
    // SAFETY: name and list are alive, and librdkafka copies both; the object is ours to release.
    let groups = unsafe {
        [Owned::take(sys::rd_kafka_AlterConsumerGroupOffsets_new(group.as_ptr(), list.pointer()))
            .expect("given a name it makes one")]
    };
    let (mut array, client, queue) = (Owned::array(&groups), call.client(), call.queue());
    // SAFETY: everything passed is alive during the call; librdkafka copies groups and options.
    unsafe {
        sys::rd_kafka_AlterConsumerGroupOffsets(client, array.as_mut_ptr(), array.len(), options.pointer(), queue);
    }
}

/// What was committed for the one group, partition by partition.
pub(crate) fn altered_group_offsets(event: &Event) -> Result<PerPartition<()>, KafkaError> {
    // SAFETY: the event is alive and an answer to AlterConsumerGroupOffsets, and all that is read lives as long as it does.
    unsafe {
        let result = sys::rd_kafka_event_AlterConsumerGroupOffsets_result(event.pointer());
        let groups = read::list(|length| sys::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, length));
        let Some(group) = groups.first() else { return Ok(PerPartition::new()) };
        read::result_of(sys::rd_kafka_group_result_error(*group))?;
        let partitions = read::partitions(sys::rd_kafka_group_result_partitions(*group));
        Ok(partitions.map(|partition| read::partition(partition)).collect())
    }
}

/// What a consumer's list says is committed. rdkafka's own reader panics where the metadata is no UTF-8.
pub(crate) fn committed_in(list: &TopicPartitionList) -> PerPartition<CommittedOffset> {
    // SAFETY: the list is alive, and what is read from it is copied.
    unsafe { read::partitions(list.ptr()).filter_map(|partition| committed(partition)).collect() }
}

/// `None` for a partition without a commit.
///
/// # Safety
/// `partition` is not null and lives during the call.
unsafe fn committed(
    partition: *const sys::rd_kafka_topic_partition_t,
) -> Option<(TopicPartition, Result<CommittedOffset, KafkaError>)> {
    // SAFETY: the caller's promise; the metadata is as long as its size says.
    unsafe {
        let (name, error) = read::partition(partition);
        let offset = (*partition).offset;
        if error.is_ok() && offset < 0 {
            return None;
        }
        let metadata = match (*partition).metadata.cast::<u8>() {
            bytes if bytes.is_null() => String::new(),
            bytes => String::from_utf8_lossy(slice::from_raw_parts(bytes, (*partition).metadata_size)).into_owned(),
        };
        Some((name, error.map(|()| CommittedOffset { offset, metadata })))
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::Offset;

    use super::*;

    #[test]
    fn metadata_that_is_no_text_is_read_without_harm() {
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition("orders", 3);
        element.set_offset(Offset::Offset(7)).unwrap();
        element.set_metadata("abc");
        list.add_partition("orders", 4);
        // SAFETY: the first element has the three bytes that were just set.
        unsafe { *(*(*list.ptr()).elems).metadata.cast::<u8>() = 0xff };
        let expected = CommittedOffset { offset: 7, metadata: "\u{fffd}bc".to_owned() };
        let partition = TopicPartition { topic: "orders".into(), partition: 3 };
        assert_eq!(committed_in(&list), [(partition, Ok(expected))].into());
    }
}
