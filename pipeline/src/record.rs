//! A record as it was read: what steps can see of it, and what a dead letter keeps of it.

use std::sync::Arc;

use bytes::Bytes;

/// A record as it was read. Cheap to clone: the bytes are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Name of the topic that holds it.
    pub topic: Arc<str>,
    /// Its partition in the topic.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// When it was written, in milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// Whether the broker set the timestamp when it took the record, instead of who wrote it.
    pub log_append_time: bool,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers, in order; a name may occur more than once.
    pub headers: Vec<Header>,
}

/// One header of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The header's name.
    pub name: String,
    /// The header's value.
    pub value: Option<Bytes>,
}

/// What a record takes beside its bytes, about.
const OVERHEAD: usize = 512;

impl Record {
    /// The memory that it takes, in bytes, about.
    pub fn memory(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(|header| header.name.len() + length(&header.value)).sum();
        length(&self.key) + length(&self.value) + headers + OVERHEAD
    }

    /// The values of all headers of this name, in order.
    pub fn headers_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.headers.iter().filter(move |header| header.name == name);
        named.filter_map(|header| header.value.as_deref())
    }

    /// The value of the last header of this name, as Kafka's own `lastHeader` finds it.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().rev().find(|header| header.name == name)?.value.as_ref()
    }
}
