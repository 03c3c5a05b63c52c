//! Reads the configuration that the operator mounted, and judges it once.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use http::{HeaderName, StatusCode};
use sluice_crds::{
    KafkaConnection, NamespacedName,
    wire::{CONFIG_KEY, GENERATION_KEY, RateLimits, ReceiverConfig, Verification},
};

use sluice_outgoing::Guard;

use crate::{
    contract::{Contract, DeadLetters},
    deprecation::{Notices, notices},
    event::Sources,
    record::Envelope,
    verify::Scheme,
};

/// An endpoint that can be served.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The generation of the Webhook that it was made for.
    pub(crate) generation: i64,
    pub(crate) webhook: NamespacedName,
    /// The Webhook's.
    pub(crate) uid: String,
    pub(crate) path: String,
    pub(crate) connection: KafkaConnection,
    pub(crate) topic: String,
    pub(crate) scheme: Scheme,
    /// Files of the secrets; none where nothing is verified with one.
    pub(crate) secrets: Vec<PathBuf>,
    /// Where the keys are published, where they are.
    pub(crate) published_at: Option<String>,
    pub(crate) tolerance: Duration,
    pub(crate) sources: Sources,
    pub(crate) envelope: Envelope,
    /// What the body of an event must look like.
    pub(crate) contract: Option<Contract>,
    pub(crate) window: Duration,
    /// File with the address of the Redis that remembers ids.
    pub(crate) redis: Option<PathBuf>,
    /// In bytes.
    pub(crate) body_limit: usize,
    pub(crate) rate_limits: RateLimits,
    /// The answer to an event that was taken.
    pub(crate) respond: StatusCode,
    /// How long Kafka may take to confirm an event.
    pub(crate) patience: Duration,
    /// The headers of every answer, where the endpoint is out of date.
    pub(crate) notices: Notices,
    /// Keeps calls to permitted addresses.
    pub(crate) guard: Guard,
}

impl Endpoint {
    /// The Kafka topics that are written to.
    pub(crate) fn topics(&self) -> Vec<&str> {
        let dead_letters = self.contract.as_ref().and_then(Contract::dead_letters);
        [self.topic.as_str()].into_iter().chain(dead_letters.map(DeadLetters::topic)).collect()
    }
}

/// Why there is nothing to serve.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file of the folder cannot be read.
    #[error("cannot read {path}: {source}; it is a key of the ConfigMap that the operator mounts")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file of the folder is not what this version of the receiver reads.
    #[error("{path} is not what this receiver reads: {reason}; do operator and receiver have the same version?")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The endpoint cannot be served as it is configured.
    #[error("{path} cannot be served: {}", .complaints.join("; "))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All that is wrong with it.
        complaints: Vec<String>,
    },
}

/// The answers that tell a sender that its event was taken.
const TAKEN: [u16; 4] = [200, 201, 202, 204];

/// Reads `config.json` and `generation` of a folder.
pub(crate) fn read(folder: &Path) -> Result<Endpoint, ConfigError> {
    let path = folder.join(CONFIG_KEY);
    let config: ReceiverConfig =
        serde_json::from_str(&text(&path)?).map_err(|error| malformed(&path, error.to_string()))?;
    let generation = folder.join(GENERATION_KEY);
    let generation = text(&generation)?.trim().parse().map_err(|_| malformed(&generation, "it is no number".into()))?;
    validate(config, generation).map_err(|complaints| ConfigError::Invalid { path, complaints })
}

fn text(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.into(), source })
}

fn malformed(path: &Path, reason: String) -> ConfigError {
    ConfigError::Malformed { path: path.into(), reason }
}

/// Gives an endpoint that can be served, or all complaints.
pub(crate) fn validate(config: ReceiverConfig, generation: i64) -> Result<Endpoint, Vec<String>> {
    let mut complaints = missing(&config);
    let respond = StatusCode::from_u16(config.respond).ok().filter(|status| TAKEN.contains(&status.as_u16()));
    if respond.is_none() {
        complaints
            .push(format!("respond: {} does not say that the event was taken; use one of {TAKEN:?}", config.respond));
    }
    let scheme =
        Scheme::of(&config.verification).map_err(|error| complaints.push(format!("verification: {error}"))).ok();
    let defaults = scheme.as_ref().map(Scheme::defaults).unwrap_or_default();
    let sources =
        Sources::of(&config.event, &defaults).map_err(|error| complaints.push(format!("event: {error}"))).ok();
    let body_limit = usize::try_from(config.body_limit.bytes()).unwrap_or(usize::MAX);
    let contract =
        config.contract.as_ref().map(|contract| Contract::of(contract, &config.webhook, generation, body_limit));
    let contract = contract.transpose().map_err(|error| complaints.push(format!("contract.jsonSchema: {error}"))).ok();
    let notices = config.deprecation.as_ref().map(notices).transpose().map(Option::unwrap_or_default);
    let notices = notices.map_err(|error| complaints.push(format!("deprecation: {error}"))).ok();
    let (Some(respond), Some(scheme), Some(sources), Some(contract), Some(notices), []) =
        (respond, scheme, sources, contract, notices, complaints.as_slice())
    else {
        return Err(complaints);
    };
    Ok(Endpoint {
        generation,
        envelope: Envelope::new(&config.webhook, &config.topic, kept_headers(&scheme, &config.event.headers)),
        contract,
        webhook: config.webhook,
        uid: config.uid,
        path: config.path,
        connection: config.connection,
        topic: config.topic,
        secrets: config.verification.secrets().to_vec(),
        published_at: published_at(config.verification),
        scheme,
        tolerance: config.tolerance.get(),
        sources,
        window: config.deduplication_window.get(),
        redis: config.deduplication_redis,
        rate_limits: config.rate_limits,
        body_limit,
        respond,
        patience: config.patience.get(),
        notices,
        guard: Guard::new(config.outgoing),
    })
}

/// What every endpoint needs and this one does not have.
fn missing(config: &ReceiverConfig) -> Vec<String> {
    let no_secret = config.verification.secrets().is_empty();
    let needs_one = !matches!(
        config.verification,
        Verification::Jwt { .. } | Verification::ClientCertificate { .. } | Verification::None
    );
    let checks = [
        (!config.path.starts_with('/'), "path: begins with '/'"),
        (config.topic.is_empty(), "topic: is empty"),
        (config.connection.bootstrap_servers.is_empty(), "connection.bootstrapServers: is empty"),
        (needs_one && no_secret, "verification.secrets: is empty"),
        (config.patience.get().is_zero(), "patience: is zero, so that no event could be confirmed"),
    ];
    checks.into_iter().filter(|(wrong, _)| *wrong).map(|(_, complaint)| complaint.to_owned()).collect()
}

/// Those of the provider and those that the Webhook names, each once. The operator has judged the names.
fn kept_headers(scheme: &Scheme, more: &[String]) -> Vec<HeaderName> {
    let all = scheme.kept_headers().iter().copied().chain(more.iter().map(String::as_str));
    let mut kept: Vec<HeaderName> = all.filter_map(|name| name.parse().ok()).collect();
    kept.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    kept.dedup();
    kept
}

fn published_at(verification: Verification) -> Option<String> {
    if let Verification::Jwt { jwks_uri, .. } = verification { Some(jwks_uri) } else { None }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::{prelude::*, sample::Index};

    use super::*;

    pub(crate) const GOOD: &str = r#"{
        "webhook": {"namespace": "shop", "name": "github"}, "path": "/shop/github", "topic": "shop.github",
        "connection": {"bootstrapServers": ["kafka:9092"]},
        "verification": {"preset": {"name": "GitHub", "secrets": ["/etc/sluice/secrets/github/key"]}},
        "tolerance": "5m", "event": {"cloudEvents": "Ignore"}, "deduplicationWindow": "24h", "bodyLimit": "1Mi", "respond": 202,
        "patience": "2500ms"
    }"#;

    /// An endpoint for the tests of other modules: GitHub's, at `/shop/github`.
    pub(crate) fn endpoint() -> Endpoint {
        validate(serde_json::from_str(GOOD).unwrap(), 1).unwrap()
    }

    fn folder(config: &str, generation: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), config).unwrap();
        fs::write(folder.path().join("generation"), generation).unwrap();
        folder
    }

    #[test]
    fn a_configuration_becomes_an_endpoint() {
        let endpoint = read(folder(GOOD, "7\n").path()).unwrap();
        assert_eq!(
            (endpoint.generation, endpoint.path.as_str(), endpoint.respond),
            (7, "/shop/github", StatusCode::ACCEPTED)
        );
        assert_eq!((endpoint.body_limit, endpoint.patience), (1 << 20, Duration::from_millis(2500)));
        assert_eq!(endpoint.secrets, [PathBuf::from("/etc/sluice/secrets/github/key")]);
    }

    #[test]
    fn all_complaints_come_together() {
        let bad = GOOD
            .replace("/shop/github", "shop")
            .replace(r#""respond""#, r#""contract": {"jsonSchema": {"type": "objekt"}}, "respond""#)
            .replace("202", "500")
            .replace("2500ms", "0s")
            .replace(r#"["/etc/sluice/secrets/github/key"]"#, "[]")
            .replace(r#""event": {"#, r#""event": {"id": {"header": "a b"}, "#);
        let Err(ConfigError::Invalid { complaints, .. }) = read(folder(&bad, "1").path()) else { panic!("accepted") };
        let fields: Vec<_> = complaints.iter().map(|complaint| complaint.split(':').next().unwrap()).collect();
        assert_eq!(fields, ["path", "verification.secrets", "patience", "respond", "event", "contract.jsonSchema"]);
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn any_configuration_is_served_or_refused(at in any::<Index>(), piece in "[ -~]{0,12}", remove in any::<bool>()) {
            let mut text = GOOD.to_owned();
            let begin = at.index(text.len());
            let end = if remove { (begin + piece.len()).min(text.len()) } else { begin };
            text.replace_range(begin..end, &piece);
            if let Ok(config) = serde_json::from_str::<ReceiverConfig>(&text) {
                let complaints = validate(config, 1).map(|endpoint| endpoint.patience).map_err(|complaints| complaints.len());
                prop_assert!(complaints.is_ok_and(|patience| !patience.is_zero()) || complaints.is_err_and(|count| count > 0));
            }
        }
    }

    #[test]
    fn a_file_that_is_missing_or_malformed_is_named() {
        let empty = tempfile::tempdir().unwrap();
        assert!(read(empty.path()).unwrap_err().to_string().contains("config.json"));
        assert!(read(folder("{}", "1").path()).unwrap_err().to_string().contains("config.json is not what"));
        assert!(read(folder(GOOD, "x").path()).unwrap_err().to_string().contains("generation is not what"));
    }
}
