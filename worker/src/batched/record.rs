//! What a Kafka sink writes of a record.

use std::{collections::BTreeSet, sync::Arc};

use sluice_kafka::{Header, OutgoingRecord};
use sluice_pipeline::{Envelope, KafkaAddress, Message, Record};

/// The record that is written: the one that was read, with what the steps and the sink made of it.
pub(crate) fn written(topic: &Arc<str>, record: &Record, message: &Message) -> OutgoingRecord {
    let Envelope::Kafka(KafkaAddress { key, partition, headers }) = &message.envelope else {
        unreachable!("the pipeline of a Kafka sink gives addresses")
    };
    let named: BTreeSet<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let kept = record.headers.iter().filter(|header| !named.contains(header.name.as_str()));
    let kept = kept.map(|header| Header { name: header.name.clone().into(), value: header.value.clone() });
    let made = headers.iter().filter_map(|(name, value)| Some(Header::new(name.clone(), value.clone()?)));
    OutgoingRecord {
        topic: Arc::clone(topic),
        partition: *partition,
        key: key.clone(),
        value: message.value.clone(),
        headers: kept.chain(made).collect(),
        timestamp: record.timestamp,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sluice_pipeline::{Header as Read, Media};

    use super::*;

    #[test]
    fn a_record_keeps_what_nobody_changes() {
        let header =
            |name: &str, value: &str| Read { name: name.to_owned(), value: Some(Bytes::from(value.to_owned())) };
        let record = Record {
            topic: "orders".into(),
            partition: 3,
            offset: 7,
            timestamp: Some(1_700_000_000_000),
            log_append_time: false,
            key: Some("a".into()),
            value: Some("old".into()),
            headers: vec![
                header("traceparent", "00-1"),
                header("tenant", "x"),
                header("tenant", "y"),
                header("gone", "z"),
            ],
        };
        let headers = vec![("tenant".to_owned(), Some("shop".to_owned())), ("gone".to_owned(), None)];
        let address = KafkaAddress { key: Some("b".into()), partition: None, headers };
        let message = Message { value: None, media: Media::Json, envelope: Envelope::Kafka(address) };
        let expected = OutgoingRecord {
            topic: "entries".into(),
            partition: None,
            key: Some("b".into()),
            value: None,
            headers: vec![Header::new("traceparent", "00-1"), Header::new("tenant", "shop")],
            timestamp: Some(1_700_000_000_000),
        };
        assert_eq!(written(&"entries".into(), &record, &message), expected);
    }
}
