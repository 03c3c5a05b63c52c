//! librdkafka's client for admin calls: its queue of events, and what every call carries.

use std::{
    ffi::{CStr, c_char, c_int},
    ptr,
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    client::{Client as SafeClient, DefaultClientContext},
    types::RDKafkaType,
};
use rdkafka_sys as sys;
use sys::{rd_kafka_IsolationLevel_t, rd_kafka_admin_op_t};

use super::{Event, Owned, read};
use crate::Error;

/// A client whose events are all in one queue.
pub(crate) struct Client {
    /// Before the client, so that it is released first, as librdkafka asks.
    queue: Owned<sys::rd_kafka_queue_t>,
    client: SafeClient<DefaultClientContext>,
}

/// Tells whose answer an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ticket(pub(crate) usize);

/// A call on its way: the client and what all calls have in common.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) client: &'a Client,
    pub(crate) ticket: Ticket,
    pub(crate) timeout: Duration,
}

/// The options of one call.
pub(super) struct Options(Owned<sys::rd_kafka_AdminOptions_t>);

// SAFETY: librdkafka's clients and queues may be used from any thread at once (its INTRODUCTION.md, "Thread safety").
unsafe impl Sync for Client {}

/// The consumer group that admin clients belong to in name: they never join it, read or commit.
///
/// Without a group librdkafka crashes when it asks the wrong coordinator for another group's offsets, as happens while a
/// broker starts: <https://github.com/confluentinc/librdkafka/issues/5040>.
const GROUP: &str = "sluice-admin";

impl Client {
    pub(crate) fn new(config: &ClientConfig) -> Result<Self, Error> {
        let mut config = config.clone();
        config.set("group.id", GROUP);
        let native = config.create_native_config()?;
        // SAFETY: the configuration is alive and not yet a client's.
        unsafe { sys::rd_kafka_conf_set_events(native.ptr(), sys::RD_KAFKA_EVENT_ERROR) };
        let client = SafeClient::new(&config, native, RDKafkaType::RD_KAFKA_CONSUMER, DefaultClientContext)?;
        // SAFETY: the client is alive; the reference to its main queue is ours to release.
        let queue = unsafe { Owned::take(sys::rd_kafka_queue_get_main(client.native_ptr())) };
        Ok(Self { queue: queue.expect("every client has a main queue"), client })
    }

    /// Waits for the next event; `None` when `wake` was called.
    pub(crate) fn next_event(&self) -> Option<Event> {
        const FOR_EVER: c_int = -1;
        // SAFETY: the queue is alive; the event is ours to release.
        unsafe { Owned::take(sys::rd_kafka_queue_poll(self.queue.pointer(), FOR_EVER)) }.map(Event::new)
    }

    /// Ends the present or the next wait of `next_event`.
    pub(crate) fn wake(&self) {
        // SAFETY: the queue is alive.
        unsafe { sys::rd_kafka_queue_yield(self.queue.pointer()) };
    }
}

impl Call<'_> {
    pub(super) fn client(&self) -> *mut sys::rd_kafka_t {
        self.client.client.native_ptr()
    }

    pub(super) fn queue(&self) -> *mut sys::rd_kafka_queue_t {
        self.client.queue.pointer()
    }

    /// Options with the call's ticket and its timeout, which bounds the whole of it: finding the broker, sending, waiting.
    pub(super) fn options(&self, operation: rd_kafka_admin_op_t) -> Options {
        // SAFETY: the client is alive; the options are ours to release.
        let options = unsafe { Owned::take(sys::rd_kafka_AdminOptions_new(self.client(), operation)) };
        let options = Options(options.expect("rdkafka-sys lists only operations that its librdkafka has"));
        // SAFETY: the options are alive; the ticket is a number, never followed.
        unsafe {
            sys::rd_kafka_AdminOptions_set_opaque(options.pointer(), ptr::without_provenance_mut(self.ticket.0));
        }
        let milliseconds = c_int::try_from(self.timeout.as_millis()).unwrap_or(c_int::MAX);
        options.set(milliseconds, sys::rd_kafka_AdminOptions_set_request_timeout);
        options
    }
}

/// A setter of librdkafka's options.
type Setter =
    unsafe extern "C" fn(*mut sys::rd_kafka_AdminOptions_t, c_int, *mut c_char, usize) -> sys::rd_kafka_resp_err_t;

impl Options {
    pub(super) fn pointer(&self) -> *mut sys::rd_kafka_AdminOptions_t {
        self.0.pointer()
    }

    /// The broker may take as long as the call itself: it answers once the change is known to the controller.
    pub(super) fn with_operation_timeout(self, timeout: Duration) -> Self {
        let milliseconds = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        self.set(milliseconds, sys::rd_kafka_AdminOptions_set_operation_timeout);
        self
    }

    pub(super) fn with_isolation(self, level: rd_kafka_IsolationLevel_t) -> Self {
        // SAFETY: the options are alive; the error is ours to release.
        let set =
            unsafe { read::result_of_owned(sys::rd_kafka_AdminOptions_set_isolation_level(self.pointer(), level)) };
        set.expect("only asked of calls that know isolation levels");
        self
    }

    fn set(&self, value: c_int, setter: Setter) {
        let mut reason: [c_char; 256] = [0; 256];
        // SAFETY: the options are alive; `reason` is as long as it says.
        let code = unsafe { setter(self.pointer(), value, reason.as_mut_ptr(), reason.len()) };
        // SAFETY: zeroed, and librdkafka ends what it writes with a NUL.
        let reason = unsafe { CStr::from_ptr(reason.as_ptr()) };
        assert!(code as c_int == 0, "an option that the call does not have: {}", reason.to_string_lossy());
    }
}
