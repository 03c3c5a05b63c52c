//! Objects of librdkafka that are released exactly once.

use std::{mem, ptr::NonNull};

use rdkafka_sys as sys;

/// A pointer that nobody else has; the object is destroyed with it.
pub(crate) struct Owned<T: Destroy>(NonNull<T>);

/// A type of librdkafka with a function that releases it.
///
/// # Safety
/// `destroy` takes a pointer that came from the type's own constructor, once, from any thread.
pub(crate) unsafe trait Destroy {
    unsafe fn destroy(pointer: *mut Self);
}

// SAFETY: librdkafka's objects are plain allocations without ties to the thread that made them.
unsafe impl<T: Destroy> Send for Owned<T> {}

impl<T: Destroy> Owned<T> {
    /// Takes what a constructor returned; `None` for its null.
    ///
    /// # Safety
    /// `pointer` is null or comes from the constructor of `T`, and nobody else will destroy it.
    pub(super) unsafe fn take(pointer: *mut T) -> Option<Self> {
        NonNull::new(pointer).map(Self)
    }

    /// Leaves it to whoever has taken it, who destroys it.
    pub(super) fn give(self) {
        mem::forget(self);
    }

    pub(super) fn pointer(&self) -> *mut T {
        self.0.as_ptr()
    }

    /// The array that librdkafka's calls take; it may be used as long as `objects` live.
    pub(super) fn array(objects: &[Self]) -> Vec<*mut T> {
        objects.iter().map(Self::pointer).collect()
    }
}

impl<T: Destroy> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `take` made us the only owner, and drop runs once.
        unsafe { T::destroy(self.pointer()) }
    }
}

macro_rules! destroyed_by {
    ($($object:ident => $destroy:ident),* $(,)?) => {$(
        // SAFETY: the function is librdkafka's own for this type and may be called on any thread.
        unsafe impl Destroy for sys::$object {
            unsafe fn destroy(pointer: *mut Self) {
                // SAFETY: the caller's promise is the function's own.
                unsafe { sys::$destroy(pointer) }
            }
        }
    )*};
}

destroyed_by! {
    rd_kafka_queue_t => rd_kafka_queue_destroy,
    rd_kafka_event_t => rd_kafka_event_destroy,
    rd_kafka_headers_t => rd_kafka_headers_destroy,
    rd_kafka_error_t => rd_kafka_error_destroy,
    rd_kafka_AdminOptions_t => rd_kafka_AdminOptions_destroy,
    rd_kafka_NewTopic_t => rd_kafka_NewTopic_destroy,
    rd_kafka_DeleteTopic_t => rd_kafka_DeleteTopic_destroy,
    rd_kafka_DeleteGroup_t => rd_kafka_DeleteGroup_destroy,
    rd_kafka_NewPartitions_t => rd_kafka_NewPartitions_destroy,
    rd_kafka_TopicCollection_t => rd_kafka_TopicCollection_destroy,
    rd_kafka_ConfigResource_t => rd_kafka_ConfigResource_destroy,
    rd_kafka_topic_partition_list_t => rd_kafka_topic_partition_list_destroy,
    rd_kafka_ListConsumerGroupOffsets_t => rd_kafka_ListConsumerGroupOffsets_destroy,
    rd_kafka_AlterConsumerGroupOffsets_t => rd_kafka_AlterConsumerGroupOffsets_destroy,
    rd_kafka_consumer_group_metadata_t => rd_kafka_consumer_group_metadata_destroy,
}
