//! Whatever happens on the way to the API server and to Kafka, and after whichever write the operator ends, what comes of it is that of a
//! run that nothing disturbed. Alone in its process, because each run has an operator of its own.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test ends where something is not as it must be, and tells how far it went"
)]

mod faults;
mod kafka;
mod killed;
mod meanwhile;
mod overtaken;
mod run;
