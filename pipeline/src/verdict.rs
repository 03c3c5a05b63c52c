//! What a pipeline says about one record.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use sluice_crds::Format;

use crate::{HttpRequest, KafkaAddress, Record};

/// What becomes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is delivered.
    Deliver(Message),
    /// The filter of this name holds it back.
    Skip {
        /// Name of the step.
        step: String,
    },
    /// It cannot be processed, and never can with this pipeline.
    Reject(Rejection),
}

/// What is delivered of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The bytes: the record's own, where no step changed it. `None`: a request without a body, or a tombstone.
    pub value: Option<Bytes>,
    /// What the bytes are.
    pub media: Media,
    /// Where it goes, as far as the record decides it.
    pub envelope: Envelope,
}

impl Message {
    /// The memory that it takes beside that of its record, about.
    pub fn memory_beside(&self, record: &Record) -> usize {
        let is_made = |value: &&Bytes| record.value.as_ref().is_none_or(|own| own.as_ptr() != value.as_ptr());
        self.value.as_ref().filter(is_made).map_or(0, Bytes::len) + self.envelope.size()
    }
}

/// Where a message goes, as far as its record decides it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Envelope {
    /// The sink knows.
    None,
    /// The request that carries it.
    Http(Arc<HttpRequest>),
    /// Its place in a Kafka topic.
    Kafka(KafkaAddress),
}

impl Envelope {
    /// The memory that it takes beside the record's own, about.
    pub fn size(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Http(request) => request.size(),
            Self::Kafka(address) => address.size(),
        }
    }
}

/// What the bytes of a message are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// JSON.
    Json,
    /// UTF-8.
    Text,
    /// Anything.
    Bytes,
}

impl Media {
    /// The media type, as `Content-Type` tells it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Text => "text/plain; charset=utf-8",
            Self::Bytes => "application/octet-stream",
        }
    }
}

impl From<Format> for Media {
    /// What a record is that no step changed.
    fn from(format: Format) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::Text => Self::Text,
            Format::Bytes => Self::Bytes,
        }
    }
}

/// Why a record cannot be processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Where it failed: `decode`, or the step's name.
    pub stage: String,
    /// What kind of failure it is.
    pub code: Code,
    /// What is wrong, for people. It may quote the record.
    pub message: String,
}

impl Rejection {
    pub(crate) fn new(stage: impl Into<String>, code: Code, message: impl Into<String>) -> Self {
        Self { stage: stage.into(), code, message: message.into() }
    }
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The value is no UTF-8.
    InvalidUtf8,
    /// The value is no JSON.
    InvalidJson,
    /// The value is larger than is decoded.
    TooLarge,
    /// The value is nested too deeply.
    TooDeep,
    /// The record has no value and no step gave it one.
    NoValue,
    /// A step failed on the record.
    StepFailed,
    /// The value does not match a step's schema.
    SchemaMismatch,
    /// A step gave the record up with `abort`.
    Aborted,
    /// Decoding and the steps used up the record's share of work.
    TooMuchWork,
    /// A step made a value that JSON cannot hold.
    Unencodable,
    /// The record gives no request that can be sent: a path segment that is empty, a header with a line break.
    InvalidRequest,
    /// The record gives no place in a Kafka topic: a partition below 0, a key that is an object.
    InvalidAddress,
}

impl Code {
    /// The code as dead letters and metrics name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidUtf8 => "InvalidUtf8",
            Self::InvalidJson => "InvalidJson",
            Self::TooLarge => "TooLarge",
            Self::TooDeep => "TooDeep",
            Self::NoValue => "NoValue",
            Self::StepFailed => "StepFailed",
            Self::SchemaMismatch => "SchemaMismatch",
            Self::Aborted => "Aborted",
            Self::TooMuchWork => "TooMuchWork",
            Self::Unencodable => "Unencodable",
            Self::InvalidRequest => "InvalidRequest",
            Self::InvalidAddress => "InvalidAddress",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
