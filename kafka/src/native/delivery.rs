//! What became of a produced record: librdkafka knows whether the record may be in the log, rdkafka does not pass it on.

use std::{ffi::c_int, time::Duration};

use rdkafka::{ClientContext, client::Client, message::BorrowedMessage};
use rdkafka_sys as sys;

use crate::{ErrorCode, KafkaError};

// As a number and not as rdkafka-sys' enum: see `read`.
unsafe extern "C" {
    fn rd_kafka_message_status(message: *const sys::rd_kafka_message_t) -> c_int;
    fn rd_kafka_flush(client: *mut sys::rd_kafka_t, milliseconds: c_int) -> c_int;
}

/// Whether a record that was not confirmed is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was never sent, or a broker refused it.
    NotWritten,
    /// It was sent, and no answer came.
    Unknown,
}

/// What is said of a record that a broker finds invalid.
const INVALID: &str = "the topic does not take the record as it is; a compacted topic takes none without a key";

/// The fate of a record whose delivery report is an error, and the error.
///
/// The broker's own words are not told. `rd_kafka_message_produce_errstr` gives a pointer into the broker's answer, which librdkafka 2.12.1
/// has freed by then: the report has a copy of the answer, to which no record points.
pub(crate) fn failure(message: &BorrowedMessage<'_>) -> (Fate, KafkaError) {
    const NOT_PERSISTED: c_int = 0;
    let pointer = message.ptr();
    // SAFETY: the message is alive as long as its borrow; `err` is read as the number that it is: see `read`.
    let (status, code) =
        unsafe { (rd_kafka_message_status(pointer), (&raw const (*pointer).err).cast::<c_int>().read()) };
    let fate = if status == NOT_PERSISTED { Fate::NotWritten } else { Fate::Unknown };
    let code = ErrorCode::from_number(code);
    let message = if code == ErrorCode::INVALID_RECORD { INVALID } else { "" };
    (fate, KafkaError { code, message: message.to_owned() })
}

/// Waits until all records of a producer are reported, each to its end, and sends at once what lingers meanwhile; says whether they are.
/// Reports are taken on another thread. rdkafka's own wait takes them itself, and looks every 100 ms only when there is another.
pub(crate) fn flush<C: ClientContext>(client: &Client<C>, patience: Duration) -> bool {
    let patience = c_int::try_from(patience.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: the client is alive. Of a producer that gives its reports as events, as all of rdkafka's do, this takes no event.
    let error = unsafe { rd_kafka_flush(client.native_ptr(), patience) };
    error == ErrorCode::NONE.number()
}

/// Makes a producer fail for good, as if its own state and the broker's contradicted each other.
#[cfg(test)]
pub(crate) fn fail_for_good<C: ClientContext>(client: &Client<C>) {
    let code = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
    // SAFETY: the client is alive and the reason a C string; the function is librdkafka's own for tests.
    unsafe { sys::rd_kafka_test_fatal_error(client.native_ptr(), code, c"on purpose".as_ptr()) };
}
