//! All `unsafe` of the project: what librdkafka has and the crate rdkafka does not wrap, as safe functions over plain values.
//!
//! - `owned`: every object of librdkafka is released exactly once.
//! - `client`: the client, its queue of events and the options of a call. Calls do not wait; each answer is an `Event`.
//! - `event`: one answer, and what it says about the request as a whole.
//! - `read`: strings, lists and codes, copied out of librdkafka's memory.
//! - `cluster`, `topics`, `configs`, `offsets`, `groups`: for each admin call, how it is asked and how its answer is read.
//! - `produce`: hands a record to a producer.
//! - `delivery`: what became of it.
//! - `membership`: the generation of a consumer's group.
#![allow(unsafe_code, reason = "calls into C; each block says why it is sound")]

mod client;
mod cluster;
mod configs;
mod delivery;
mod event;
mod groups;
mod membership;
mod offsets;
mod owned;
mod produce;
mod read;
mod topics;

use std::ffi::CString;

pub(crate) use client::{Call, Client, Ticket};
pub(crate) use cluster::*;
pub(crate) use configs::*;
#[cfg(test)]
pub(crate) use delivery::fail_for_good;
pub(crate) use delivery::{Fate, failure, flush};
pub(crate) use event::{Event, EventKind};
pub(crate) use groups::*;
pub(crate) use membership::generation;
pub(crate) use offsets::*;
use owned::Owned;
pub(crate) use produce::{Sent, produce};
pub(crate) use read::{code_description, code_name};
pub(crate) use topics::*;

use crate::{ErrorCode, KafkaError};

/// A name, as C reads it. Empty names and NUL bytes are refused here: librdkafka would fail the whole request for one of them.
pub(crate) fn name(text: &str) -> Result<CString, KafkaError> {
    if text.is_empty() {
        return Err(KafkaError::local(ErrorCode::INVALID_ARGUMENT, "the name is empty"));
    }
    value(text)
}

/// A text that may be empty, as C reads it.
pub(crate) fn value(text: &str) -> Result<CString, KafkaError> {
    CString::new(text)
        .map_err(|_| KafkaError::local(ErrorCode::INVALID_ARGUMENT, format!("{text:?} contains a NUL character")))
}
