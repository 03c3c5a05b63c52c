//! What a dead letter says of itself: in Sluice's words, or in those that tools for Kafka Connect or Spring read.

use bytes::Bytes;
use chrono::SecondsFormat;
use sluice_crds::{HeaderStyle, wire::SourceConfig};
use sluice_kafka::Header;
use sluice_pipeline::{Record, printable};

use super::{ErrorClass, Failed};
use crate::config::Job;

/// What all dead letters of a worker have in common.
pub(super) struct Origin {
    integration: String,
    generation: i64,
    group: String,
}

/// Header that counts how often a record was sent back from the dead letters.
const REPLAY_COUNT: &str = "sluice-replay-count";

impl Origin {
    pub(super) fn of(job: &Job) -> Self {
        let SourceConfig::Kafka { group, .. } = &job.config.source;
        Self { integration: job.config.integration.to_string(), generation: job.generation, group: group.clone() }
    }
}

/// The headers that say why a record is a dead letter.
pub(super) fn reasons(style: HeaderStyle, origin: &Origin, record: &Record, failed: &Failed) -> Vec<Header> {
    let headers = match style {
        HeaderStyle::Sluice => sluice(origin, record, failed),
        HeaderStyle::KafkaConnect => kafka_connect(origin, record, failed),
        HeaderStyle::Spring => spring(origin, record, failed),
    };
    headers.into_iter().map(|(name, value)| Header::new(name, value)).collect()
}

type Named = (&'static str, Bytes);

fn sluice(origin: &Origin, record: &Record, failed: &Failed) -> Vec<Named> {
    let replays = record.header(REPLAY_COUNT).cloned().unwrap_or_else(|| Bytes::from_static(b"0"));
    vec![
        ("sluice-error-class", failed.class.name().into()),
        ("sluice-error-stage", failed.stage.clone().into()),
        ("sluice-error-code", failed.code.clone().into()),
        ("sluice-error-message", printable(&failed.message).into()),
        ("sluice-attempts", failed.attempts.to_string().into()),
        ("sluice-first-failed-at", failed.first_failed_at.to_rfc3339_opts(SecondsFormat::Millis, true).into()),
        ("sluice-original-topic", topic(record)),
        ("sluice-original-partition", record.partition.to_string().into()),
        ("sluice-original-offset", record.offset.to_string().into()),
        ("sluice-original-timestamp", record.timestamp.map(|millis| millis.to_string()).unwrap_or_default().into()),
        ("sluice-integration", origin.integration.clone().into()),
        ("sluice-generation", origin.generation.to_string().into()),
        (REPLAY_COUNT, replays),
    ]
}

/// As Kafka's `DeadLetterQueueReporter` writes them: all values are texts. A class is one of ours, and its trace has no frames.
fn kafka_connect(origin: &Origin, record: &Record, failed: &Failed) -> Vec<Named> {
    let class = class(failed);
    let message = printable(&format!("{}: {}", failed.code, failed.message));
    let stage = match failed.class {
        ErrorClass::Data if failed.stage == "decode" => "VALUE_CONVERTER",
        ErrorClass::Data => "TRANSFORMATION",
        ErrorClass::Delivery => "TASK_PUT",
    };
    vec![
        ("__connect.errors.topic", topic(record)),
        ("__connect.errors.partition", record.partition.to_string().into()),
        ("__connect.errors.offset", record.offset.to_string().into()),
        ("__connect.errors.connector.name", origin.integration.clone().into()),
        ("__connect.errors.task.id", "0".into()),
        ("__connect.errors.stage", stage.into()),
        ("__connect.errors.class.name", failed.stage.clone().into()),
        ("__connect.errors.exception.class.name", class.clone().into()),
        ("__connect.errors.exception.message", message.clone().into()),
        ("__connect.errors.exception.stacktrace", format!("{class}: {message}\n").into()),
    ]
}

/// As Spring's `DeadLetterPublishingRecoverer` writes them: numbers are binary, as Java's `ByteBuffer` puts them.
fn spring(origin: &Origin, record: &Record, failed: &Failed) -> Vec<Named> {
    let class = class(failed);
    let message = printable(&format!("{}: {}", failed.stage, failed.message));
    let timestamp_type = match (record.timestamp, record.log_append_time) {
        (None, _) => "NoTimestampType",
        (Some(_), false) => "CreateTime",
        (Some(_), true) => "LogAppendTime",
    };
    vec![
        ("kafka_dlt-exception-fqcn", class.clone().into()),
        ("kafka_dlt-exception-cause-fqcn", format!("sluice.{}", failed.code).into()),
        ("kafka_dlt-exception-message", message.clone().into()),
        ("kafka_dlt-exception-stacktrace", format!("{class}: {message}\n").into()),
        ("kafka_dlt-original-topic", topic(record)),
        ("kafka_dlt-original-partition", binary(record.partition.to_be_bytes())),
        ("kafka_dlt-original-offset", binary(record.offset.to_be_bytes())),
        ("kafka_dlt-original-timestamp", binary(record.timestamp.unwrap_or(-1).to_be_bytes())),
        ("kafka_dlt-original-timestamp-type", timestamp_type.into()),
        ("kafka_dlt-original-consumer-group", origin.group.clone().into()),
    ]
}

fn topic(record: &Record) -> Bytes {
    Bytes::copy_from_slice(record.topic.as_bytes())
}

fn binary<const N: usize>(bytes: [u8; N]) -> Bytes {
    Bytes::copy_from_slice(&bytes)
}

/// The class of the error, as if it were one of Java's.
fn class(failed: &Failed) -> String {
    format!("sluice.{}", failed.class.name())
}

impl ErrorClass {
    fn name(self) -> &'static str {
        match self {
            Self::Data => "DataError",
            Self::Delivery => "DeliveryError",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::DateTime;

    use super::*;
    use crate::dead_letters::ErrorClass;

    fn origin() -> Origin {
        Origin { integration: "shop/to-ledger".into(), generation: 7, group: "shop.to-ledger".into() }
    }

    fn record() -> Record {
        Record {
            topic: Arc::from("shop.orders"),
            partition: 258,
            offset: 0x0102_0304_0506_0708,
            timestamp: Some(1_795_478_400_123),
            log_append_time: true,
            key: None,
            value: None,
            headers: vec![],
        }
    }

    fn failed(class: ErrorClass, stage: &str, code: &str) -> Failed {
        let first_failed_at = DateTime::from_timestamp_millis(1_795_478_401_000).unwrap();
        Failed {
            class,
            stage: stage.into(),
            code: code.into(),
            message: "wr\u{f6}ng".into(),
            attempts: 3,
            first_failed_at,
        }
    }

    /// Names and bytes, as a consumer sees them.
    fn of(style: HeaderStyle, record: &Record, failed: &Failed) -> Vec<(String, Vec<u8>)> {
        reasons(style, &origin(), record, failed)
            .into_iter()
            .map(|header| (header.name.into_owned(), header.value.unwrap().to_vec()))
            .collect()
    }

    fn expected(headers: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect()
    }

    #[test]
    fn sluice_s_own_headers_are_texts() {
        let letter = of(HeaderStyle::Sluice, &record(), &failed(ErrorClass::Delivery, "http", "503"));
        assert_eq!(
            letter,
            expected(&[
                ("sluice-error-class", b"DeliveryError"),
                ("sluice-error-stage", b"http"),
                ("sluice-error-code", b"503"),
                ("sluice-error-message", "wr\u{f6}ng".as_bytes()),
                ("sluice-attempts", b"3"),
                ("sluice-first-failed-at", b"2026-11-24T00:00:01.000Z"),
                ("sluice-original-topic", b"shop.orders"),
                ("sluice-original-partition", b"258"),
                ("sluice-original-offset", b"72623859790382856"),
                ("sluice-original-timestamp", b"1795478400123"),
                ("sluice-integration", b"shop/to-ledger"),
                ("sluice-generation", b"7"),
                ("sluice-replay-count", b"0"),
            ])
        );
    }

    #[test]
    fn kafka_connect_s_headers_are_texts_with_its_stages() {
        let letter = of(HeaderStyle::KafkaConnect, &record(), &failed(ErrorClass::Data, "amount", "StepFailed"));
        assert_eq!(
            letter,
            expected(&[
                ("__connect.errors.topic", b"shop.orders"),
                ("__connect.errors.partition", b"258"),
                ("__connect.errors.offset", b"72623859790382856"),
                ("__connect.errors.connector.name", b"shop/to-ledger"),
                ("__connect.errors.task.id", b"0"),
                ("__connect.errors.stage", b"TRANSFORMATION"),
                ("__connect.errors.class.name", b"amount"),
                ("__connect.errors.exception.class.name", b"sluice.DataError"),
                ("__connect.errors.exception.message", "StepFailed: wr\u{f6}ng".as_bytes()),
                ("__connect.errors.exception.stacktrace", "sluice.DataError: StepFailed: wr\u{f6}ng\n".as_bytes()),
            ])
        );
        for (class, stage, expected) in
            [(ErrorClass::Data, "decode", "VALUE_CONVERTER"), (ErrorClass::Delivery, "http", "TASK_PUT")]
        {
            let letter = of(HeaderStyle::KafkaConnect, &record(), &failed(class, stage, "x"));
            assert_eq!(letter[5], ("__connect.errors.stage".to_owned(), expected.as_bytes().to_vec()));
        }
    }

    #[test]
    fn spring_s_numbers_are_binary_with_the_highest_byte_first() {
        let letter = of(HeaderStyle::Spring, &record(), &failed(ErrorClass::Delivery, "http", "503"));
        assert_eq!(
            letter,
            expected(&[
                ("kafka_dlt-exception-fqcn", b"sluice.DeliveryError"),
                ("kafka_dlt-exception-cause-fqcn", b"sluice.503"),
                ("kafka_dlt-exception-message", "http: wr\u{f6}ng".as_bytes()),
                ("kafka_dlt-exception-stacktrace", "sluice.DeliveryError: http: wr\u{f6}ng\n".as_bytes()),
                ("kafka_dlt-original-topic", b"shop.orders"),
                ("kafka_dlt-original-partition", &[0, 0, 1, 2]),
                ("kafka_dlt-original-offset", &[1, 2, 3, 4, 5, 6, 7, 8]),
                ("kafka_dlt-original-timestamp", &[0, 0, 1, 0xa2, 0x0a, 0xda, 0x2c, 0x7b]),
                ("kafka_dlt-original-timestamp-type", b"LogAppendTime"),
                ("kafka_dlt-original-consumer-group", b"shop.to-ledger"),
            ])
        );
        let without = Record { timestamp: None, log_append_time: false, ..record() };
        let letter = of(HeaderStyle::Spring, &without, &failed(ErrorClass::Delivery, "http", "503"));
        assert_eq!((&letter[7].1, letter[8].1.as_slice()), (&vec![0xff; 8], b"NoTimestampType".as_slice()));
    }
}
