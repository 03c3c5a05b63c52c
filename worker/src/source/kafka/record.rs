//! librdkafka's messages as records.

use std::sync::Arc;

use bytes::Bytes;
use sluice_kafka::consumer::{BorrowedMessage, Headers as _, Message as _, Timestamp};
use sluice_pipeline::{Header, Record};

/// The names of topics, each kept once for all of its records. The one that was asked for last comes first: records of one topic come
/// in rows.
#[derive(Default)]
pub(super) struct Topics(Vec<Arc<str>>);

impl Topics {
    /// The message as a record of its own.
    pub(super) fn record(&mut self, message: &BorrowedMessage<'_>) -> Record {
        let (key, value) = copied(message.key(), message.payload());
        let timestamp = message.timestamp();
        Record {
            topic: self.name(message.topic()),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: timestamp.to_millis(),
            log_append_time: matches!(timestamp, Timestamp::LogAppendTime(_)),
            key,
            value,
            headers: headers(message),
        }
    }

    fn name(&mut self, topic: &str) -> Arc<str> {
        match self.0.iter().position(|name| **name == *topic) {
            Some(place) => self.0.swap(0, place),
            None => self.0.insert(0, topic.into()),
        }
        Arc::clone(&self.0[0])
    }
}

/// Key and value in one piece of memory, of which they are parts.
fn copied(key: Option<&[u8]>, value: Option<&[u8]>) -> (Option<Bytes>, Option<Bytes>) {
    let (Some(key), Some(value)) = (key, value) else {
        return (key.map(Bytes::copy_from_slice), value.map(Bytes::copy_from_slice));
    };
    let mut rest = Bytes::from([key, value].concat());
    (Some(rest.split_to(key.len())), Some(rest))
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
    fn a_name_is_kept_once_whatever_comes_between() {
        let mut topics = Topics::default();
        let names = ["a", "b", "c", "a", "c", "b"].map(|name| topics.name(name));
        assert_eq!(names.each_ref().map(|name| &**name), ["a", "b", "c", "a", "c", "b"]);
        for (first, second) in [(0, 3), (1, 5), (2, 4)] {
            assert!(Arc::ptr_eq(&names[first], &names[second]));
        }
        assert_eq!(topics.0.len(), 3);
    }

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
