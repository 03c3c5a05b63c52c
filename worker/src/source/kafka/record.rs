//! librdkafka's messages as records.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use sluice_kafka::consumer::{BorrowedMessage, Headers as _, Message as _, Timestamp};
use sluice_pipeline::{Header, Record};

/// The names of topics, each kept once for all of its records.
#[derive(Default)]
pub(super) struct Topics(HashMap<String, Arc<str>>);

impl Topics {
    /// The message as a record of its own.
    pub(super) fn record(&mut self, message: &BorrowedMessage<'_>) -> Record {
        Record {
            topic: self.name(message.topic()),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
            log_append_time: matches!(message.timestamp(), Timestamp::LogAppendTime(_)),
            key: message.key().map(Bytes::copy_from_slice),
            value: message.payload().map(Bytes::copy_from_slice),
            headers: headers(message),
        }
    }

    fn name(&mut self, topic: &str) -> Arc<str> {
        if let Some(name) = self.0.get(topic) {
            return Arc::clone(name);
        }
        Arc::clone(self.0.entry(topic.to_owned()).or_insert_with(|| topic.into()))
    }
}

fn headers(message: &BorrowedMessage<'_>) -> Vec<Header> {
    let Some(headers) = message.headers() else { return Vec::new() };
    let owned = headers
        .iter()
        .map(|header| Header { name: header.key.to_owned(), value: header.value.map(Bytes::copy_from_slice) });
    owned.collect()
}
