//! What receivers and workers share about the world outside their pod.
//!
//! - [`Guard`]: calls reach only the addresses that the operator's configuration lets them reach.
//! - [`read_secret`]: mounted Secrets, and what is missing of them.
//! - [`Mounted`]: waits until mounted files change.
//! - [`Stamp`]: tells whether mounted files have changed.
#![warn(missing_docs)]

mod guard;
mod mounted;
mod secret;
mod stamp;

pub use guard::Guard;
pub use mounted::Mounted;
pub use secret::{Missing, read_secret};
pub use stamp::Stamp;
