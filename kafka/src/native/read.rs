//! Copies strings, lists and codes out of librdkafka's memory.

use std::{
    ffi::{CStr, c_char, c_int},
    slice,
};

use rdkafka_sys as sys;

use super::Owned;
use crate::{Broker, ErrorCode, KafkaError, TopicPartition};

// The same functions are in rdkafka-sys, where they return Rust enums. A code that the enum does not list, from a newer
// broker, would be undefined behaviour there; C's `int` is what they really return and take.
unsafe extern "C" {
    fn rd_kafka_err2name(code: c_int) -> *const c_char;
    fn rd_kafka_err2str(code: c_int) -> *const c_char;
    fn rd_kafka_error_code(error: *const sys::rd_kafka_error_t) -> c_int;
}

/// Kafka's name of a code, `ERROR_<number>` for one that librdkafka does not know.
pub(crate) fn code_name(code: ErrorCode) -> String {
    // SAFETY: takes any number and returns a static string, or one in a buffer of the calling thread, copied here.
    let name = unsafe { text(rd_kafka_err2name(code.number())) };
    if name.starts_with("ERR_") { format!("ERROR_{}", code.number()) } else { name }
}

/// What a code means, in librdkafka's words.
pub(crate) fn code_description(code: ErrorCode) -> String {
    // SAFETY: takes any number and returns a static string, or one in a buffer of the calling thread, copied here.
    unsafe { text(rd_kafka_err2str(code.number())) }
}

/// A copy of a C string; empty for null.
///
/// # Safety
/// `pointer` is null or a C string that lives during the call.
pub(super) unsafe fn text(pointer: *const c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe { optional_text(pointer) }.unwrap_or_default()
}

/// A copy of a C string; `None` for null.
///
/// # Safety
/// `pointer` is null or a C string that lives during the call.
pub(super) unsafe fn optional_text(pointer: *const c_char) -> Option<String> {
    // SAFETY: not null, and a C string by the caller's promise.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

/// The elements of a list that one of librdkafka's functions gives out together with its length. None is null: where a broker answers about
/// fewer things than it was asked about, librdkafka leaves holes in the list.
///
/// # Safety
/// `list` writes the length of the array that it returns, and the array lives during the call.
pub(super) unsafe fn list<T>(list: impl FnOnce(*mut usize) -> *mut *const T) -> Vec<*const T> {
    let mut length = 0;
    let elements = list(&raw mut length);
    if elements.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise.
    let elements = unsafe { slice::from_raw_parts(elements, length) };
    elements.iter().copied().filter(|element| !element.is_null()).collect()
}

/// `Ok`, or the error with these parts; a message that only repeats the code's own description is kept, it reads better.
///
/// # Safety
/// `message` is null or a C string that lives during the call.
pub(super) unsafe fn result(code: c_int, message: *const c_char) -> Result<(), KafkaError> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    Err(KafkaError { code: ErrorCode::from_number(code), message: unsafe { text(message) } })
}

/// What a borrowed error object says; null is success.
///
/// # Safety
/// `error` is null or lives during the call.
pub(super) unsafe fn result_of(error: *const sys::rd_kafka_error_t) -> Result<(), KafkaError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: not null, alive by the caller's promise; the string lives as long as the error.
    unsafe { result(rd_kafka_error_code(error), sys::rd_kafka_error_string(error)) }
}

/// What an error object says that a call handed over; null is success.
///
/// # Safety
/// `error` is null or nobody else's.
pub(super) unsafe fn result_of_owned(error: *mut sys::rd_kafka_error_t) -> Result<(), KafkaError> {
    // SAFETY: the caller's promise.
    match unsafe { Owned::take(error) } {
        None => Ok(()),
        // SAFETY: owned, therefore alive.
        Some(error) => unsafe { result_of(error.pointer()) },
    }
}

/// A broker.
///
/// # Safety
/// `node` is not null and lives during the call.
pub(super) unsafe fn broker(node: *const sys::rd_kafka_Node_t) -> Broker {
    // SAFETY: the caller's promise; the strings live as long as the node.
    unsafe {
        Broker {
            id: sys::rd_kafka_Node_id(node),
            host: text(sys::rd_kafka_Node_host(node)),
            port: sys::rd_kafka_Node_port(node),
            rack: optional_text(sys::rd_kafka_Node_rack(node)),
        }
    }
}

/// The elements of a list of partitions.
///
/// # Safety
/// `partitions` is null or lives as long as `'a`.
pub(super) unsafe fn partitions<'a>(
    partitions: *const sys::rd_kafka_topic_partition_list_t,
) -> impl Iterator<Item = *const sys::rd_kafka_topic_partition_t> + 'a {
    // SAFETY: the caller's promise; `elems` holds `cnt` elements.
    let (first, count) = match unsafe { partitions.as_ref() } {
        None => (std::ptr::null_mut(), 0),
        Some(list) => (list.elems, usize::try_from(list.cnt).unwrap_or(0)),
    };
    // SAFETY: below `cnt`, so inside the array.
    (0..count).map(move |index| unsafe { first.add(index) }.cast_const())
}

/// Name and number of a partition, and its error.
///
/// # Safety
/// `partition` is not null and lives during the call.
pub(super) unsafe fn partition(
    partition: *const sys::rd_kafka_topic_partition_t,
) -> (TopicPartition, Result<(), KafkaError>) {
    // SAFETY: the caller's promise. `err` is read as the number that it is: see the top of the file.
    unsafe {
        let name = TopicPartition { topic: text((*partition).topic), partition: (*partition).partition };
        let code = (&raw const (*partition).err).cast::<c_int>().read();
        (name, result(code, std::ptr::null()))
    }
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::*;

    #[test]
    fn what_a_broker_did_not_answer_is_left_out_of_a_list() {
        let answers = [ptr::null(), ptr::from_ref(&1), ptr::null(), ptr::from_ref(&2)];
        let mut elements = answers;
        let pointer = elements.as_mut_ptr();
        // SAFETY: the array has as many elements as are written, and lives to the end of the test.
        let found = unsafe {
            list(|length| {
                *length = answers.len();
                pointer
            })
        };
        assert_eq!(found, [answers[1], answers[3]]);
    }
}
