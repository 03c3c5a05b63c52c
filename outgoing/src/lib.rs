//! What receivers and workers share about the world outside their pod.
//!
//! - [`Guard`]: calls reach only the addresses that the operator's configuration lets them reach.
//! - [`Stamp`]: tells whether mounted files have changed.
#![warn(missing_docs)]

mod guard;
mod stamp;

pub use guard::Guard;
pub use stamp::Stamp;
