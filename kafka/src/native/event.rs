//! One event of librdkafka's queue: the answer to a call, an error of the connection, or a line for the log.

use std::ffi::{CStr, c_char, c_int};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka_sys as sys;

use super::{Owned, Ticket, read};
use crate::KafkaError;

// As numbers and not as rdkafka-sys' enum: see `read`.
unsafe extern "C" {
    fn rd_kafka_event_error(event: *mut sys::rd_kafka_event_t) -> c_int;
}

/// An event; what is read from it lives no longer.
pub(crate) struct Event(Owned<sys::rd_kafka_event_t>);

/// What to do with an event.
pub(crate) enum EventKind {
    /// Hand it to whoever holds the ticket.
    Answer(Ticket),
    /// The connection is in trouble.
    Trouble(KafkaError),
    /// Write it to the log.
    LogLine { level: RDKafkaLogLevel, facility: String, line: String },
}

impl Event {
    pub(super) fn new(event: Owned<sys::rd_kafka_event_t>) -> Self {
        Self(event)
    }

    pub(super) fn pointer(&self) -> *mut sys::rd_kafka_event_t {
        self.0.pointer()
    }

    pub(crate) fn kind(&self) -> EventKind {
        // SAFETY: the event is alive.
        match unsafe { sys::rd_kafka_event_type(self.pointer()) } {
            sys::RD_KAFKA_EVENT_LOG => self.log_line(),
            sys::RD_KAFKA_EVENT_ERROR => EventKind::Trouble(self.error()),
            // SAFETY: the event is alive; the ticket is a number in a pointer's clothes and never followed.
            _ => EventKind::Answer(Ticket(unsafe { sys::rd_kafka_event_opaque(self.pointer()) }.addr())),
        }
    }

    /// What the answer says about the request as a whole.
    pub(crate) fn whole_request(&self) -> Result<(), KafkaError> {
        // SAFETY: the event is alive, and its message with it.
        unsafe { read::result(rd_kafka_event_error(self.pointer()), sys::rd_kafka_event_error_string(self.pointer())) }
    }

    fn error(&self) -> KafkaError {
        self.whole_request().err().unwrap_or_else(|| KafkaError::local(crate::ErrorCode::NONE, ""))
    }

    fn log_line(&self) -> EventKind {
        let (mut facility, mut line): (*const c_char, *const c_char) = (c"".as_ptr(), c"".as_ptr());
        let mut level = 0;
        // SAFETY: the event is alive and a log event; the strings live as long as it does.
        let copied = |text| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
        // SAFETY: as above; the three places are ours.
        unsafe { sys::rd_kafka_event_log(self.pointer(), &raw mut facility, &raw mut line, &raw mut level) };
        EventKind::LogLine { level: log_level(level), facility: copied(facility), line: copied(line) }
    }
}

/// Syslog's levels, which librdkafka uses.
fn log_level(level: c_int) -> RDKafkaLogLevel {
    match level {
        ..=2 => RDKafkaLogLevel::Critical,
        3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5 => RDKafkaLogLevel::Notice,
        6 => RDKafkaLogLevel::Info,
        _ => RDKafkaLogLevel::Debug,
    }
}
