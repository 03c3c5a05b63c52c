//! What a pipeline says about one record.

use std::fmt;

use bytes::Bytes;

/// What becomes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is delivered as these bytes: its own, where no step changed it.
    Deliver(Bytes),
    /// The filter of this name holds it back.
    Skip {
        /// Name of the step.
        step: String,
    },
    /// It cannot be processed, and never can with this pipeline.
    Reject(Rejection),
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
    /// The value is nested too deeply.
    TooDeep,
    /// The record has no value and no step gave it one.
    NoValue,
    /// A step failed on the record.
    StepFailed,
    /// A step gave the record up with `abort`.
    Aborted,
    /// A step used up its share of work.
    TooMuchWork,
    /// A step made a value that JSON cannot hold.
    Unencodable,
}

impl Code {
    /// The code as dead letters and metrics name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidUtf8 => "InvalidUtf8",
            Self::InvalidJson => "InvalidJson",
            Self::TooDeep => "TooDeep",
            Self::NoValue => "NoValue",
            Self::StepFailed => "StepFailed",
            Self::Aborted => "Aborted",
            Self::TooMuchWork => "TooMuchWork",
            Self::Unencodable => "Unencodable",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
