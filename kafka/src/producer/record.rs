//! A record to be written, and where it landed.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;

/// A record to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingRecord {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition; where absent, Kafka's Java clients' choice: murmur2 of the key, a random one without a key.
    pub partition: Option<i32>,
    /// What belongs together; an empty key is not the same as none.
    pub key: Option<Bytes>,
    /// The content; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// In order; names may repeat.
    pub headers: Vec<Header>,
    /// Milliseconds since 1970; the time of sending where absent.
    pub timestamp: Option<i64>,
}

/// A header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name. Most records use the same few.
    pub name: Cow<'static, str>,
    /// Its value; null and empty differ.
    pub value: Option<Bytes>,
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The partition's number.
    pub partition: i32,
    /// The record's offset in it.
    pub offset: i64,
}

impl OutgoingRecord {
    /// A record with only a value.
    pub fn new(topic: impl Into<Arc<str>>, value: impl Into<Bytes>) -> Self {
        let value = Some(value.into());
        Self { topic: topic.into(), partition: None, key: None, value, headers: Vec::new(), timestamp: None }
    }

    /// Puts headers in the place of all that have these names.
    pub fn replace_headers(&mut self, names: &[&str], headers: impl IntoIterator<Item = (&'static str, String)>) {
        self.headers.retain(|header| !names.contains(&&*header.name));
        self.headers.extend(headers.into_iter().map(|(name, value)| Header::new(name, value)));
    }

    /// The values of all headers of this name.
    pub fn headers_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.headers.iter().filter(move |header| header.name == name);
        named.filter_map(|header| header.value.as_deref())
    }

    /// How many bytes it has itself. A request has some more for each record.
    pub(crate) fn bytes(&self) -> usize {
        let length = |bytes: Option<&Bytes>| bytes.map_or(0, Bytes::len);
        let headers = self.headers.iter().map(|header| header.name.len() + length(header.value.as_ref()));
        length(self.key.as_ref()) + length(self.value.as_ref()) + headers.sum::<usize>()
    }
}

impl Header {
    /// A header with a value.
    pub fn new(name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) -> Self {
        Self { name: name.into(), value: Some(value.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_headers_stand_once_and_the_others_stay() {
        let headers = ["traceparent", "tenant", "traceparent", "tracestate"].map(|name| Header::new(name, "old"));
        let mut record = OutgoingRecord { headers: headers.to_vec(), ..OutgoingRecord::new("orders", "value") };
        assert_eq!(record.headers_named("traceparent").count(), 2);
        record.replace_headers(&["traceparent", "tracestate"], [("traceparent", "new".to_owned())]);
        let expected = [("tenant", "old"), ("traceparent", "new")];
        assert_eq!(record.headers, expected.map(|(name, value)| Header::new(name, value)));
    }
}
