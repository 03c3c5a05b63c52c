//! The spans of records, by OpenTelemetry's conventions for messaging with Kafka. A record's key is none of their attributes: it may be
//! a person's.

use opentelemetry::trace::SpanKind;

use super::{Beginning, Span};

const TOPIC: &str = "messaging.destination.name";
const PARTITION: &str = "messaging.destination.partition.id";
const OFFSET: &str = "messaging.kafka.offset";

/// A record is written, until Kafka has confirmed it.
pub fn send(topic: &str) -> Beginning {
    of(SpanKind::Producer, "send", topic)
}

/// What a consumer group does with a record.
pub fn process(topic: &str, partition: i32, offset: i64, group: &str) -> Beginning {
    of(SpanKind::Consumer, "process", topic)
        .with("messaging.consumer.group.name", group.to_owned())
        .with(PARTITION, partition.to_string())
        .with(OFFSET, offset)
}

fn of(kind: SpanKind, operation: &'static str, topic: &str) -> Beginning {
    Beginning::new(kind, format!("{operation} {topic}"))
        .with("messaging.system", "kafka")
        .with("messaging.operation.type", operation)
        .with("messaging.operation.name", operation)
        .with(TOPIC, topic.to_owned())
}

impl Span {
    /// Where the record is that was written.
    pub fn written(&mut self, partition: i32, offset: i64) {
        if self.is_recorded() {
            self.set(PARTITION, partition.to_string());
            self.set(OFFSET, offset);
        }
    }
}
