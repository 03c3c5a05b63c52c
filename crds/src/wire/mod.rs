//! What crosses a process boundary: the configuration that the operator writes and the data planes read, and what the
//! data planes answer. The operator has judged it: unions are enums here, every default is filled in.

pub mod ending;
mod receiver;
mod worker;

use std::path::Path;

pub use receiver::{
    CertificateName, DeferredBecause, EventContract, EventSources, FieldSource, IdSource, RateConfig, RateLimits,
    ReceiverConfig, ReceiverControls, ReceiverStatus, RejectedBecause, SharedWebhook, SourceLimit, Verification,
};
pub use worker::{
    AuthConfig, Circuit, HaltedPartition, HttpSinkConfig, KafkaSinkConfig, KeyPlace, Operation, SinkConfig,
    SinkFailure, SourceConfig, StepConfig, TEMPLATE_END, TEMPLATE_START, TlsConfig, WorkerConfig, WorkerStatus,
    is_template,
};

/// Folder in which a data plane finds its configuration, `config.json` and `generation`.
pub const CONFIG_FOLDER: &str = "/etc/sluice/config";
/// Folder in which a receiver finds what it obeys without a restart, `controls.json`.
pub const CONTROLS_FOLDER: &str = "/etc/sluice/controls";
/// Folder in which receivers of many Webhooks find their configurations, a file for each.
pub const WEBHOOKS_FOLDER: &str = "/etc/sluice/webhooks";
/// Folder in which a data plane finds the Secrets that its resource names, each in a folder of its own name.
pub const SECRETS_FOLDER: &str = "/etc/sluice/secrets";
/// Folder in which a data plane finds its Kafka credentials, in a folder with the name of their Secret.
pub const KAFKA_CREDENTIALS_FOLDER: &str = "/etc/sluice/kafka/credentials";
/// Folder in which a data plane finds the authorities that sign the brokers' certificates, as `ca.crt` in a folder with the name of their
/// ConfigMap.
pub const KAFKA_CA_FOLDER: &str = "/etc/sluice/kafka/ca";
/// Folder in which a data plane finds the authorities that sign the certificate of the collector of traces, as `ca.crt`.
pub const TRACING_CA_FOLDER: &str = "/etc/sluice/tracing/ca";
/// Folder in which a data plane finds what it shows to the collector of traces, as `tls.crt` and `tls.key`.
pub const TRACING_CLIENT_FOLDER: &str = "/etc/sluice/tracing/client";
/// Folder in which a data plane finds further authorities that sign the certificates of what it calls.
pub const AUTHORITIES_FOLDER: &str = "/etc/sluice/authorities";
/// Key of the configuration in its ConfigMap.
pub const CONFIG_KEY: &str = "config.json";
/// Key of what a receiver obeys without a restart in its ConfigMap.
pub const CONTROLS_KEY: &str = "controls.json";
/// Key of the generation that the configuration was made for in its ConfigMap.
pub const GENERATION_KEY: &str = "generation";
/// Port of the receiver's endpoint.
pub const RECEIVER_PORT: u16 = 8080;
/// Port of `/healthz`, `/readyz`, `/status` and `/metrics`, of operator, receiver and worker alike.
pub const STATUS_PORT: u16 = 9090;
/// Bounds of the times that data planes count attempts by, in milliseconds: from a broker next door to the longest patience that
/// makes sense.
pub const DURATION_BOUNDS: [u64; 15] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384];

/// What a file of a data plane's Kafka connection is mounted from: `Secret` or `ConfigMap`, its name, and the key. `None` for other files, as
/// those of the operator's own connection.
pub fn mounted_from(file: &Path) -> Option<(&'static str, &str, &str)> {
    [(KAFKA_CREDENTIALS_FOLDER, "Secret"), (KAFKA_CA_FOLDER, "ConfigMap")].into_iter().find_map(|(folder, kind)| {
        let (name, key) = file.strip_prefix(folder).ok()?.to_str()?.split_once('/')?;
        Some((kind, name, key))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_kafka_connection_tells_what_it_is_mounted_from() {
        for (file, expected) in [
            ("/etc/sluice/kafka/credentials/shop/password", Some(("Secret", "shop", "password"))),
            ("/etc/sluice/kafka/ca/brokers/ca.crt", Some(("ConfigMap", "brokers", "ca.crt"))),
            ("/etc/sluice/kafka/credentials/password", None),
            ("/etc/sluice/kafka/password", None),
        ] {
            assert_eq!(mounted_from(Path::new(file)), expected, "{file}");
        }
    }
}
