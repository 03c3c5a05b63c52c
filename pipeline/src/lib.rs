//! What happens to one record between its source and its sink: decode, filter, map, validate, encode. Pure: the same record
//! gives the same verdict, wherever and whenever it is asked, without I/O, clock or randomness; only what takes too much CPU
//! is rejected by the caller's measure. [`Contract`] is the same schema check without a pipeline round it.
//!
//! [`Pipeline::compile`] judges the steps once, in the operator before any pod changes and again in the worker;
//! [`Pipeline::apply`] judges records. In `apply` nothing that a record contains makes it panic or run on without bound.
#![warn(missing_docs)]

mod address;
mod budget;
mod calls;
mod compile_error;
mod complexity;
mod contract;
mod decode;
mod encode;
mod expansion;
mod expression;
mod functions;
mod growth;
mod metadata;
mod pieces;
mod pipeline;
mod printable;
mod program;
mod record;
mod request;
mod schema;
mod step;
mod target;
mod template;
mod texts;
mod token_bucket;
mod verdict;
mod work;

pub use address::KafkaAddress;
pub use budget::{CpuTime, Meter};
pub use compile_error::{CompileError, Part, Place};
pub use contract::Contract;
pub use pipeline::Pipeline;
pub use printable::printable;
pub use record::{Header, Record};
pub use request::HttpRequest;
pub use token_bucket::{Rate, TokenBucket};
pub use verdict::{Code, Envelope, Media, Message, Rejection, Verdict};
