//! Starts the log.

use sluice_crds::LogLevel;
use tracing_subscriber::EnvFilter;

use crate::LogFormat;

/// Starts the log on standard error. `RUST_LOG` is stronger than the Integration's level.
pub(crate) fn start(format: LogFormat, level: LogLevel) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(directives(level)));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => log.json().flatten_event(true).init(),
        LogFormat::Text => log.init(),
    }
}

/// Libraries are told to speak of trouble only, but for debugging.
fn directives(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "warn,sluice_worker=info,sluice_kafka=info,sluice_telemetry=info,librdkafka=info",
        LogLevel::Debug => "info,sluice_worker=debug,sluice_kafka=debug,sluice_telemetry=debug,librdkafka=debug",
    }
}
