//! Brings librdkafka's log lines into the process's own log.

use rdkafka::config::RDKafkaLogLevel;
use tracing::{debug, error, info, warn};

/// Writes one line of librdkafka to the log, with the target `librdkafka`; for `ClientContext::log`.
///
/// librdkafka calls a lost connection an error; it is retried, so it is a warning here.
pub fn write_log_line(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            error!(target: "librdkafka", facility, "{line}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => warn!(target: "librdkafka", facility, "{line}"),
        RDKafkaLogLevel::Notice => info!(target: "librdkafka", facility, "{line}"),
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => debug!(target: "librdkafka", facility, "{line}"),
    }
}
