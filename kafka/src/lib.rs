//! The narrow, safe Kafka interface of the project: admin calls, a producer whose answers are certain, and settings.
//!
//! - [`client_config`] turns a [`KafkaConnection`] and its mounted credentials into librdkafka's settings.
//! - [`Admin`] describes and changes topics, configurations and consumer groups, many of them in each request.
//! - [`TopicAdmin`] does so for callers who each ask about one topic, and joins their calls.
//! - [`Producer`] writes records and says of each whether it is written, certainly not written, or unknown.
//! - [`BatchProducer`] writes many records and waits for all of them; [`TransactionalProducer`] commits offsets with them, or neither.
//! - [`consumer`] holds the settings of a consumer whose offsets belong to its caller.
//! - [`Renewed`] puts a new client in the place of one whose credentials were rotated.
//! - [`visit_group`] keeps the offsets of a group without members.
//!
//! `native` is the only module of the project with `unsafe`: what librdkafka has and the crate rdkafka does not wrap.

mod admin;
mod batch;
mod batching;
mod connection;
pub mod consumer;
mod error;
mod log;
mod native;
mod producer;
mod renewed;
mod running;
mod trouble;
mod visit;

pub use admin::{
    Admin, Broker, ClusterDescription, CommittedOffset, ConfigChange, ConfigEntry, ConfigSource, GroupDescription,
    GroupMember, GroupState, Made, NewTopic, OffsetAt, PartitionDescription, PerPartition, PerTopic, TopicDescription,
    TopicPartition,
};
pub use batch::{BatchProducer, Transaction, TransactionError, TransactionalProducer, Unwritten};
pub use batching::{Batching, Company, Deletion, Presence, TopicAdmin, TopicError};
pub use connection::{client_config, credentials_fingerprint};
pub use error::{Error, ErrorCode, KafkaError};
pub use log::write_log_line;
pub use producer::{Compression, Header, OutgoingRecord, Position, Producer, ProducerSettings, SendError};
pub use rdkafka::ClientConfig;
pub use renewed::Renewed;
pub use sluice_crds::KafkaConnection;
pub use visit::{VISIT, visit_group};
