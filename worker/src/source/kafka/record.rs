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
        let (key, value) = copied(message.key(), message.payload());
        Record {
            topic: self.name(message.topic()),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis(),
            log_append_time: matches!(message.timestamp(), Timestamp::LogAppendTime(_)),
            key,
            value,
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

/// Key and value in one piece of memory, of which they are parts.
fn copied(key: Option<&[u8]>, value: Option<&[u8]>) -> (Option<Bytes>, Option<Bytes>) {
    let (Some(key), Some(value)) = (key, value) else {
        return (key.map(Bytes::copy_from_slice), value.map(Bytes::copy_from_slice));
    };
    let both = Bytes::from([key, value].concat());
    (Some(both.slice(..key.len())), Some(both.slice(key.len()..)))
}

fn headers(message: &BorrowedMessage<'_>) -> Vec<Header> {
    let Some(headers) = message.headers() else { return Vec::new() };
    let owned = headers
        .iter()
        .map(|header| Header { name: header.key.to_owned(), value: header.value.map(Bytes::copy_from_slice) });
    owned.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_and_value_are_copied_as_they_are() {
        for key in [None, Some(b"".as_slice()), Some(b"key".as_slice())] {
            for value in [None, Some(b"".as_slice()), Some(b"value".as_slice())] {
                let (copied_key, copied_value) = copied(key, value);
                assert_eq!((copied_key.as_deref(), copied_value.as_deref()), (key, value));
            }
        }
    }
}
