//! `DescribeConsumerGroups`, `ListConsumerGroups`, `DeleteGroups`: how they are asked and how their answers are read.

use std::{
    collections::BTreeMap,
    ffi::{CString, c_int},
};

use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t::{
    RD_KAFKA_ADMIN_OP_DELETEGROUPS, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS,
};

use super::{Call, Event, Owned, name, read};
use crate::{GroupDescription, GroupMember, GroupState, KafkaError};

// As a number and not as rdkafka-sys' enum: see `read`.
unsafe extern "C" {
    fn rd_kafka_ConsumerGroupDescription_state(group: *const sys::rd_kafka_ConsumerGroupDescription_t) -> c_int;
    fn rd_kafka_ConsumerGroupListing_state(group: *const sys::rd_kafka_ConsumerGroupListing_t) -> c_int;
}

pub(crate) fn describe_groups(call: Call<'_>, groups: &[CString]) {
    let options = call.options(RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
    let mut names: Vec<_> = groups.iter().map(|group| group.as_ptr()).collect();
    let (client, queue) = (call.client(), call.queue());
    // SAFETY: everything passed is alive during the call; librdkafka copies names and options.
    unsafe {
        sys::rd_kafka_DescribeConsumerGroups(client, names.as_mut_ptr(), names.len(), options.pointer(), queue);
    }
}

pub(crate) fn group_descriptions(event: &Event) -> BTreeMap<String, Result<GroupDescription, KafkaError>> {
    // SAFETY: the event is alive and an answer to DescribeConsumerGroups, and all that is read lives as long as it does.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event.pointer());
        let groups = read::list(|length| sys::rd_kafka_DescribeConsumerGroups_result_groups(result, length));
        groups.iter().map(|group| group_description(*group)).collect()
    }
}

/// # Safety
/// `group` is not null and lives during the call.
unsafe fn group_description(
    group: *const sys::rd_kafka_ConsumerGroupDescription_t,
) -> (String, Result<GroupDescription, KafkaError>) {
    // SAFETY: the caller's promise; members and strings live as long as the group, and indices are below the count.
    unsafe {
        let name = read::text(sys::rd_kafka_ConsumerGroupDescription_group_id(group));
        let error = read::result_of(sys::rd_kafka_ConsumerGroupDescription_error(group));
        let members = 0..sys::rd_kafka_ConsumerGroupDescription_member_count(group);
        let description = error.map(|()| GroupDescription {
            state: state(rd_kafka_ConsumerGroupDescription_state(group)),
            members: members.map(|index| member(sys::rd_kafka_ConsumerGroupDescription_member(group, index))).collect(),
        });
        (name, description)
    }
}

/// # Safety
/// `member` is not null and lives during the call.
unsafe fn member(member: *const sys::rd_kafka_MemberDescription_t) -> GroupMember {
    // SAFETY: the caller's promise; assignment and strings live as long as the member.
    unsafe {
        let assignment = sys::rd_kafka_MemberDescription_assignment(member);
        let partitions =
            if assignment.is_null() { std::ptr::null() } else { sys::rd_kafka_MemberAssignment_partitions(assignment) };
        GroupMember {
            client_id: read::text(sys::rd_kafka_MemberDescription_client_id(member)),
            host: read::text(sys::rd_kafka_MemberDescription_host(member)),
            partitions: read::partitions(partitions).map(|partition| read::partition(partition).0).collect(),
        }
    }
}

pub(crate) fn list_groups(call: Call<'_>) {
    let options = call.options(RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS);
    // SAFETY: client, options and queue are alive; librdkafka copies the options.
    unsafe { sys::rd_kafka_ListConsumerGroups(call.client(), options.pointer(), call.queue()) };
}

/// The groups of all brokers, or what one of them answered instead.
pub(crate) fn group_list(event: &Event) -> Result<BTreeMap<String, GroupState>, KafkaError> {
    // SAFETY: the event is alive and an answer to ListConsumerGroups, and all that is read lives as long as it does.
    unsafe {
        let result = sys::rd_kafka_event_ListConsumerGroups_result(event.pointer());
        let errors = read::list(|length| sys::rd_kafka_ListConsumerGroups_result_errors(result, length));
        errors.iter().try_for_each(|error| read::result_of(*error))?;
        let groups = read::list(|length| sys::rd_kafka_ListConsumerGroups_result_valid(result, length));
        let listed = |group: &*const sys::rd_kafka_ConsumerGroupListing_t| {
            let name = read::text(sys::rd_kafka_ConsumerGroupListing_group_id(*group));
            (name, state(rd_kafka_ConsumerGroupListing_state(*group)))
        };
        Ok(groups.iter().map(listed).collect())
    }
}

/// The numbers of `rd_kafka_consumer_group_state_t`.
fn state(number: c_int) -> GroupState {
    match number {
        1 => GroupState::PreparingRebalance,
        2 => GroupState::CompletingRebalance,
        3 => GroupState::Stable,
        4 => GroupState::Dead,
        5 => GroupState::Empty,
        _ => GroupState::Other,
    }
}

pub(crate) fn deleted_group(group: &str) -> Result<Owned<sys::rd_kafka_DeleteGroup_t>, KafkaError> {
    let name = name(group)?;
    // SAFETY: the name is a C string, which librdkafka copies; the object is ours to release.
    Ok(unsafe { Owned::take(sys::rd_kafka_DeleteGroup_new(name.as_ptr())) }.expect("given a name it makes one"))
}

pub(crate) fn delete_groups(call: Call<'_>, groups: &[Owned<sys::rd_kafka_DeleteGroup_t>]) {
    let options = call.options(RD_KAFKA_ADMIN_OP_DELETEGROUPS);
    let mut array = Owned::array(groups);
    // SAFETY: everything passed is alive during the call; librdkafka copies groups and options.
    unsafe {
        sys::rd_kafka_DeleteGroups(call.client(), array.as_mut_ptr(), array.len(), options.pointer(), call.queue());
    }
}

pub(crate) fn group_deletions(event: &Event) -> BTreeMap<String, Result<(), KafkaError>> {
    let outcome = |result: &*const sys::rd_kafka_group_result_t| {
        // SAFETY: the result is one of the list below, which lives as long as the event, and so do its name and error.
        unsafe {
            let name = read::text(sys::rd_kafka_group_result_name(*result));
            (name, read::result_of(sys::rd_kafka_group_result_error(*result)))
        }
    };
    // SAFETY: the event is alive and an answer to DeleteGroups, and the list lives as long as it does.
    let results = unsafe {
        let result = sys::rd_kafka_event_DeleteGroups_result(event.pointer());
        read::list(|length| sys::rd_kafka_DeleteGroups_result_groups(result, length))
    };
    results.iter().map(outcome).collect()
}
