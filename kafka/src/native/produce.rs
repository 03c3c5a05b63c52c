//! Hands records to a producer, which sends their values from where they are. rdkafka has librdkafka copy each.

use std::{
    ffi::{c_int, c_void},
    ptr,
};

use bytes::Bytes;
use rdkafka::{client::Client, producer::ProducerContext, util::IntoOpaque};
use rdkafka_sys::{self as sys, rd_kafka_vtype_t as vtype};

use super::{name, owned::Owned};
use crate::{ErrorCode, Header, KafkaError, OutgoingRecord};

// As a number and not as rdkafka-sys' enum: see `read`.
unsafe extern "C" {
    fn rd_kafka_producev(client: *mut sys::rd_kafka_t, ...) -> c_int;
}

/// What comes back with the report of a record, and the value, which stays where it is until then.
pub(crate) struct Sent<T> {
    pub(crate) report: T,
    value: Option<Bytes>,
}

/// Puts a record into the queue of a producer. An error gives `report` back.
pub(crate) fn produce<C, T>(client: &Client<C>, record: &OutgoingRecord, report: T) -> Result<(), (KafkaError, T)>
where
    C: ProducerContext<DeliveryOpaque = Box<Sent<T>>>,
    T: Send + Sync,
{
    const ANY_PARTITION: i32 = -1;
    const NOW: i64 = 0;
    let topic = match name(&record.topic) {
        Ok(topic) => topic,
        Err(error) => return Err((error, report)),
    };
    let headers = headers(&record.headers);
    let sent = Box::new(Sent { report, value: record.value.clone() });
    let (value, value_length) = place(sent.value.as_ref());
    let (key, key_length) = place(record.key.as_ref());
    let opaque = sent.into_ptr();
    // SAFETY: each tag is followed by what librdkafka reads for it, and the last one ends them. Topic, key and headers live until the call ends;
    // it copies the first two, and takes the headers where it succeeds. The value is not copied: `opaque` keeps it until the record is reported,
    // after which librdkafka does not read it any more.
    let code = unsafe {
        rd_kafka_producev(
            client.native_ptr(),
            vtype::RD_KAFKA_VTYPE_TOPIC,
            topic.as_ptr(),
            vtype::RD_KAFKA_VTYPE_PARTITION,
            record.partition.unwrap_or(ANY_PARTITION),
            vtype::RD_KAFKA_VTYPE_VALUE,
            value,
            value_length,
            vtype::RD_KAFKA_VTYPE_KEY,
            key,
            key_length,
            vtype::RD_KAFKA_VTYPE_OPAQUE,
            opaque,
            vtype::RD_KAFKA_VTYPE_TIMESTAMP,
            record.timestamp.unwrap_or(NOW),
            vtype::RD_KAFKA_VTYPE_HEADERS,
            headers.as_ref().map_or(ptr::null_mut(), Owned::pointer),
            vtype::RD_KAFKA_VTYPE_END,
        )
    };
    if code == ErrorCode::NONE.number() {
        if let Some(headers) = headers {
            headers.give();
        }
        return Ok(());
    }
    // SAFETY: it is the pointer from above, which librdkafka did not take.
    let sent = unsafe { Box::<Sent<T>>::from_ptr(opaque) };
    Err((KafkaError::of_code(ErrorCode::from_number(code)), sent.report))
}

fn headers(headers: &[Header]) -> Option<Owned<sys::rd_kafka_headers_t>> {
    if headers.is_empty() {
        return None;
    }
    // SAFETY: nobody else has what the constructor returns.
    let native = unsafe { Owned::take(sys::rd_kafka_headers_new(headers.len())) }?;
    for Header { name, value } in headers {
        let (value, length) = place(value.as_ref());
        // SAFETY: both lengths are those of what the pointers lead to, which the call copies.
        unsafe {
            sys::rd_kafka_header_add(
                native.pointer(),
                name.as_ptr().cast(),
                name.len().cast_signed(),
                value,
                length.cast_signed(),
            );
        }
    }
    Some(native)
}

/// Where bytes are, and how many: nowhere is not the same as none of them.
fn place(bytes: Option<&Bytes>) -> (*mut c_void, usize) {
    bytes.map_or((ptr::null_mut(), 0), |bytes| (bytes.as_ptr().cast_mut().cast(), bytes.len()))
}
