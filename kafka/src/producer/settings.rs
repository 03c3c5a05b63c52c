//! How librdkafka's producer is told to be durable and bounded.

use std::time::Duration;

use rdkafka::ClientConfig;
use sluice_crds::KafkaConnection;

use crate::{Error, client_config};

/// What a user of a producer may choose. Durability is no choice: `acks=all` and idempotence always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerSettings {
    /// How long a record may take until its fate is told. 2.5 s by default.
    ///
    /// librdkafka itself gives up about a second earlier, because it looks for what has timed out once a second: its answer,
    /// which knows whether the record was sent, is then there in time.
    pub patience: Duration,
    /// How long a broker may take to answer a request, until it is asked again over another connection. 30 s by default. Kafka
    /// recognises what it has written already.
    pub answer: Duration,
    /// How long a record waits for others to share its request. 0 by default: those wait together that come together.
    pub linger: Duration,
    /// How batches are compressed; not at all by default.
    pub compression: Compression,
}

/// Kafka's compression codecs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the codecs")]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Lz4,
    Snappy,
    Zstd,
}

/// What waits to be confirmed takes at most this much memory; librdkafka's default is 1 GiB.
const BUFFER_KIB: u32 = 64 * 1024;

/// The broker's own limit on a record decides, not librdkafka's of 1,000,000 bytes, which is below Kafka's default.
const LARGEST_RECORD: u32 = 16 * 1024 * 1024;

/// Records without a key stay with one partition for this long, in ms: those that come together share a request, whatever the linger.
/// librdkafka's default is twice the linger, and with a linger of 0 each record goes to a partition, and so in a request, of its own.
const STICKY_MILLIS: u32 = 10;

/// Brokers know of a new topic within milliseconds of each other, and within a second where they have much to do.
const PROPAGATION: Duration = Duration::from_secs(1);

/// How often librdkafka looks for records that have timed out, and a little more.
const TIMEOUT_CHECKS: Duration = Duration::from_millis(1100);

impl Default for ProducerSettings {
    fn default() -> Self {
        Self {
            patience: Duration::from_millis(2500),
            answer: Duration::from_secs(30),
            linger: Duration::ZERO,
            compression: Compression::None,
        }
    }
}

impl ProducerSettings {
    /// What [`Producer::connect`](crate::Producer::connect) tells librdkafka, for whoever measures beside it. Errors: as [`client_config`].
    pub fn config(&self, connection: &KafkaConnection) -> Result<ClientConfig, Error> {
        let mut config = client_config(connection)?;
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            // By default a producer has brokers make what it misses, also a topic that was deleted a moment ago.
            .set("allow.auto.create.topics", "false")
            .set("partitioner", "murmur2_random")
            .set("sticky.partitioning.linger.ms", STICKY_MILLIS.to_string())
            .set("socket.timeout.ms", self.answer.as_millis().to_string())
            .set("message.timeout.ms", self.timeout().as_millis().to_string())
            .set("topic.metadata.propagation.max.ms", self.missing_topic().as_millis().to_string())
            .set("linger.ms", format!("{}", self.linger.as_secs_f64() * 1000.0))
            .set("compression.type", self.compression.name())
            .set("queue.buffering.max.kbytes", BUFFER_KIB.to_string())
            .set("message.max.bytes", LARGEST_RECORD.to_string());
        Ok(config)
    }

    /// How long librdkafka goes on trying. It takes 0 for "for ever", and refuses a linger that is longer.
    fn timeout(&self) -> Duration {
        let in_time = self.patience.saturating_sub(TIMEOUT_CHECKS).max(self.patience / 2);
        in_time.max(self.linger).max(Duration::from_millis(1))
    }

    /// How long a topic may be unknown to the brokers, as one is that was made just now. Shorter than the timeout, so that the
    /// error speaks of the topic, and short where records may take long: who waits for an answer waits less than that.
    fn missing_topic(&self) -> Duration {
        (self.timeout() / 2).min(PROPAGATION)
    }
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
            Self::Snappy => "snappy",
            Self::Zstd => "zstd",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durability_is_no_choice() {
        let config = ProducerSettings::default().config(&connection()).unwrap();
        assert_eq!(config.get("acks"), Some("all"));
        assert_eq!(config.get("enable.idempotence"), Some("true"));
        assert_eq!(config.get("message.timeout.ms"), Some("1400"));
        assert_eq!(config.get("socket.timeout.ms"), Some("30000"));
    }

    #[test]
    fn librdkafka_takes_every_setting() {
        for compression in
            [Compression::None, Compression::Gzip, Compression::Lz4, Compression::Snappy, Compression::Zstd]
        {
            let settings =
                ProducerSettings { compression, linger: Duration::from_micros(500), ..ProducerSettings::default() };
            settings.config(&connection()).unwrap().create_native_config().unwrap();
        }
    }

    #[test]
    fn librdkafka_never_waits_for_ever() {
        let timeout = |patience| ProducerSettings { patience, ..ProducerSettings::default() }.timeout();
        assert_eq!(timeout(Duration::from_secs(30)), Duration::from_millis(28_900));
        assert_eq!(timeout(Duration::from_secs(1)), Duration::from_millis(500));
        assert_eq!(timeout(Duration::ZERO), Duration::from_millis(1));
    }

    #[test]
    fn a_topic_that_is_missing_is_told_soon_however_long_records_may_take() {
        let missing = |patience| ProducerSettings { patience, ..ProducerSettings::default() }.missing_topic();
        assert_eq!(missing(Duration::from_millis(2500)), Duration::from_millis(700));
        for patience in [Duration::from_secs(10), Duration::from_mins(1)] {
            assert_eq!(missing(patience), PROPAGATION);
        }
    }

    fn connection() -> KafkaConnection {
        KafkaConnection { bootstrap_servers: vec!["a:9092".into()], ..KafkaConnection::default() }
    }
}
