//! A producer of librdkafka that runs, and how it ends.

use std::{ops::Deref, thread, time::Duration};

use rdkafka::{
    ClientConfig,
    config::FromClientConfigAndContext as _,
    error::KafkaResult,
    producer::{Producer as _, ProducerContext, ThreadedProducer},
};

use crate::native;

/// A producer that runs. Its end takes librdkafka up to a second and happens on a thread of its own.
pub(crate) struct Running<C: ProducerContext + 'static> {
    /// `None` only while being dropped.
    producer: Option<ThreadedProducer<C>>,
}

impl<C: ProducerContext + 'static> Running<C> {
    pub(crate) fn start(config: &ClientConfig, context: C) -> KafkaResult<Self> {
        Ok(Self { producer: Some(ThreadedProducer::from_config_and_context(config, context)?) })
    }

    /// Blocks until all records are reported, and says whether they are.
    pub(crate) fn flush(&self, patience: Duration) -> bool {
        native::flush(self.client(), patience)
    }
}

impl<C: ProducerContext + 'static> Deref for Running<C> {
    type Target = ThreadedProducer<C>;

    fn deref(&self) -> &ThreadedProducer<C> {
        self.producer.as_ref().expect("taken only by drop")
    }
}

impl<C: ProducerContext + 'static> Drop for Running<C> {
    fn drop(&mut self) {
        let producer = self.producer.take();
        // Without a further thread it ends on this one.
        drop(thread::Builder::new().name("kafka-close".into()).spawn(move || drop(producer)));
    }
}
