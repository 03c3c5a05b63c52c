//! What happens to one record between its source and its sink: decode, filter, map, encode. Pure: the same record gives
//! the same verdict, wherever and whenever it is asked, without I/O, clock or randomness.
//!
//! [`Pipeline::compile`] judges the steps once, in the operator before any pod changes and again in the worker;
//! [`Pipeline::apply`] judges records. In `apply` nothing that a record contains makes it panic or run on without bound.
#![warn(missing_docs)]

mod compile_error;
mod complexity;
mod decode;
mod encode;
mod functions;
mod metadata;
mod pipeline;
mod record;
mod step;
mod target;
mod verdict;

pub use compile_error::CompileError;
pub use pipeline::Pipeline;
pub use record::{Header, Record};
pub use verdict::{Code, Rejection, Verdict};
