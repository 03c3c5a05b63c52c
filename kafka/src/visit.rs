//! A short visit to a consumer group without members, so that Kafka keeps its offsets.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    config::{FromClientConfigAndContext as _, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance},
};

use crate::{
    Error, ErrorCode, KafkaConnection, KafkaError,
    consumer::{ConsumerSettings, consumer_config},
    write_log_line,
};

/// What a visit does, as errors name it, and whoever counts visits.
pub const VISIT: &str = "keep the offsets of a consumer group";
/// How long one poll may take.
const POLL: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Visitor {
    joined: AtomicBool,
}

impl ClientContext for Visitor {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        write_log_line(level, facility, line);
    }
}

impl ConsumerContext for Visitor {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Assign(_)) {
            self.joined.store(true, Ordering::Relaxed);
        }
    }
}

/// Joins a group and leaves it at once. Nothing is read for anybody and nothing committed.
///
/// Kafka forgets all offsets of a group that has had no member for `offsets.retention.minutes` (7 days by default), however young
/// they are: a commit does not keep them, a member does. Waits for Kafka, so not for a thread that others need. Errors: the group was not
/// joined within `patience`, with what Kafka said last.
pub fn visit_group(
    connection: &KafkaConnection,
    group: &str,
    topics: &[String],
    patience: Duration,
) -> Result<(), Error> {
    let mut config = consumer_config(connection, group, &ConsumerSettings::default())?;
    // Nobody wants the records.
    config.set("queued.max.messages.kbytes", "1").set("fetch.message.max.bytes", "1");
    let settings = |error: rdkafka::error::KafkaError| Error::Settings(error.to_string());
    let consumer = BaseConsumer::from_config_and_context(&config, Visitor::default()).map_err(settings)?;
    let topics: Vec<_> = topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(settings)?;
    let start = Instant::now();
    let mut said = "the group was not joined".to_owned();
    while !consumer.context().joined.load(Ordering::Relaxed) {
        if let Some(Err(error)) = consumer.poll(POLL) {
            said = error.to_string();
        }
        if start.elapsed() > patience {
            let cause = KafkaError::local(ErrorCode::REQUEST_TIMED_OUT, said);
            return Err(Error::Unreachable { doing: VISIT, within: patience, cause });
        }
    }
    // Dropped, the consumer leaves the group and waits until that is done.
    Ok(())
}
