//! What users can say to Sluice, and every type that crosses a process boundary.
#![warn(missing_docs)]

mod connection;

pub use connection::{KafkaConnection, SaslMechanism, SecurityProtocol};
