//! Which generation of its group a consumer belongs to.

use std::ffi::CStr;

use rdkafka::{ClientContext, client::Client};
use rdkafka_sys as sys;

use super::Owned;

/// The generation in which a consumer is a member of its group; `None` while it is none.
pub(crate) fn generation<C: ClientContext>(client: &Client<C>) -> Option<i32> {
    // SAFETY: the client is alive; the metadata is ours to release.
    let metadata = unsafe { Owned::take(sys::rd_kafka_consumer_group_metadata(client.native_ptr())) }?;
    // SAFETY: the metadata is alive.
    let generation = unsafe { sys::rd_kafka_consumer_group_metadata_generation_id(metadata.pointer()) };
    // SAFETY: the metadata is alive, and its member id is a text that ends with a zero.
    let member = unsafe { CStr::from_ptr(sys::rd_kafka_consumer_group_metadata_member_id(metadata.pointer())) };
    // One whose session is over keeps its generation, and has no id.
    (generation >= 0 && !member.is_empty()).then_some(generation)
}
