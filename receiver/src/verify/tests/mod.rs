//! The schemes against their providers' own examples, and against every way to get a request wrong.
//!
//! - `request`: a request to verify, and one of each scheme that is genuine.
//! - `examples`: what the providers' documentation shows.
//! - `forged`: what differs from a genuine request in any way.
//! - `tokens`: JSON Web Tokens.
//! - `anything`: whatever bytes a sender writes.

mod anything;
mod examples;
mod forged;
mod request;
mod tokens;
