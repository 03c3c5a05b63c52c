//! Schemas of Topics, on a real schema registry: what is registered, what is withheld, what is repaired, and what a registry that
//! does not answer keeps from going on. Each test has an operator of its own, beside all others.
#![allow(
    clippy::unwrap_used,
    clippy::default_trait_access,
    reason = "a test ends where something is not as it must be"
)]

mod access;
mod desk;
mod drift;
mod guard;
mod overtaken;
mod registration;
