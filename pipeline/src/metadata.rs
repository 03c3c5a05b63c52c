//! What steps see of a record beside its value: `%key`, `%headers`, `%topic`, `%partition`, `%offset`, `%timestamp`.

use bytes::Bytes;
use chrono::DateTime;
use vrl::value::{KeyString, Kind, ObjectMap, Value, kind::Collection};

use crate::Record;

/// The types of the metadata. Its names are a closed set: a misspelt one is a complaint of the compiler.
pub(crate) fn kind() -> Kind {
    let texts = Collection::empty().with_unknown(Kind::bytes().or_null());
    Kind::object(
        Collection::empty()
            .with_known("key", Kind::bytes().or_null())
            .with_known("headers", Kind::object(texts))
            .with_known("topic", Kind::bytes())
            .with_known("partition", Kind::integer())
            .with_known("offset", Kind::integer())
            .with_known("timestamp", Kind::timestamp().or_null()),
    )
}

/// The names of the metadata.
pub(crate) const NAMES: [&str; 6] = ["key", "headers", "topic", "partition", "offset", "timestamp"];

/// The metadata of a record. Of several headers with one name the last one counts.
pub(crate) fn value(record: &Record) -> Value {
    let headers: ObjectMap = record
        .headers
        .iter()
        .map(|header| (KeyString::from(header.name.as_str()), text(header.value.as_ref())))
        .collect();
    let timestamp = record.timestamp.and_then(DateTime::from_timestamp_millis);
    let fields: [Value; NAMES.len()] = [
        text(record.key.as_ref()),
        Value::Object(headers),
        Value::from(&*record.topic),
        Value::from(record.partition),
        Value::from(record.offset),
        timestamp.map_or(Value::Null, Value::from),
    ];
    NAMES.into_iter().map(KeyString::from).zip(fields).collect()
}

fn text(bytes: Option<&Bytes>) -> Value {
    bytes.map_or(Value::Null, |bytes| Value::from(bytes.clone()))
}
