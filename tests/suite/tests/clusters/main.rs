//! Kafka clusters that are not like the one that tests share, and that one under two names. Each test has an operator of its own, whose
//! configuration names them, and no other operator works beside these.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod alias;
mod copies;
mod deaf;
mod drift;
mod outage;

use tokio::sync::Mutex;

/// Tests here hold times against promises, and start brokers: one runs at a time.
static ALONE: Mutex<()> = Mutex::const_new(());
