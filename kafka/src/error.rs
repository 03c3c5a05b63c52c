//! What can go wrong with Kafka: what a broker said about one thing, and why a whole request failed.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rdkafka::error::KafkaError as ClientError;
use sluice_crds::wire;

use crate::{OutgoingRecord, native};

/// One of Kafka's error codes, or of librdkafka's own, which are negative.
///
/// A number and not an enum: the set is open, a newer broker may send a code that this library has no name for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(i32);

/// What a broker (or librdkafka, before it asked one) said about one topic, partition, group or request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct KafkaError {
    /// Kafka's code.
    pub code: ErrorCode,
    /// The broker's own words; empty where it sent none.
    pub message: String,
}

/// Why there is no answer to a whole request. What a broker says about one topic of many is a [`KafkaError`] in the answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A file of the connection's credentials cannot be read.
    #[error("{}", unreadable(.path, .purpose, .source))]
    File {
        /// Whole path of the file.
        path: PathBuf,
        /// What the file is for.
        purpose: &'static str,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// The settings of the connection contradict each other, or librdkafka refuses them.
    #[error("the settings of the Kafka connection are wrong: {0}")]
    Settings(String),
    /// No broker answered in time.
    #[error("{doing}: no answer from Kafka within {within:?}: {}", .cause.message)]
    Unreachable {
        /// What was being done.
        doing: &'static str,
        /// How long an answer was waited for.
        within: Duration,
        /// The connection's latest trouble; without any, what was being waited for.
        cause: KafkaError,
    },
    /// The brokers do not accept our credentials, or we not their certificate.
    #[error("{doing}: {}: {cause}", .cause.code.authentication_advice())]
    Unauthenticated {
        /// What was being done.
        doing: &'static str,
        /// What the connection's attempt said.
        cause: KafkaError,
    },
    /// The request was answered, and refused as a whole.
    #[error("{doing}: {error}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// Kafka's answer.
        error: KafkaError,
    },
    /// The client's owner may not act at the moment, so nothing was sent.
    #[error("{doing}: this process may not act now")]
    NotAllowed {
        /// What was not done.
        doing: &'static str,
    },
}

impl Error {
    /// Whether the same request may succeed later without anybody doing anything.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NotAllowed { .. } => true,
            Self::Refused { error, .. } => error.is_retriable(),
            Self::File { .. } | Self::Settings(_) | Self::Unauthenticated { .. } => false,
        }
    }

    /// Whether the cluster gave no answer: nobody was there, or nobody who accepts us.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Unauthenticated { .. })
    }

    /// The kind of error in one word, for metrics.
    pub const fn class(&self) -> &'static str {
        match self {
            Self::File { .. } => "File",
            Self::Settings(_) => "Settings",
            Self::Unreachable { .. } => "Unreachable",
            Self::Unauthenticated { .. } => "Unauthenticated",
            Self::Refused { .. } => "Refused",
            Self::NotAllowed { .. } => "NotAllowed",
        }
    }

    /// The same error as another call's.
    pub(crate) fn while_doing(mut self, other: &'static str) -> Self {
        match &mut self {
            Self::Unreachable { doing, .. }
            | Self::Unauthenticated { doing, .. }
            | Self::Refused { doing, .. }
            | Self::NotAllowed { doing } => {
                *doing = other;
            }
            Self::File { .. } | Self::Settings(_) => {}
        }
        self
    }

    /// Says why a request failed as a whole: `error` is its answer, `trouble` the connection's latest error.
    pub(crate) fn of_request(
        doing: &'static str,
        within: Duration,
        error: KafkaError,
        trouble: Option<KafkaError>,
    ) -> Self {
        if error.code.is_authentication() {
            return Self::Unauthenticated { doing, cause: error };
        }
        if !error.code.is_no_answer() {
            return Self::Refused { doing, error };
        }
        match trouble {
            Some(cause) if cause.code.is_authentication() => Self::Unauthenticated { doing, cause },
            trouble => Self::Unreachable { doing, within, cause: trouble.unwrap_or(error) },
        }
    }
}

/// A data plane names what the file is mounted from: nobody who reads a status can look into its folders.
fn unreadable(path: &Path, purpose: &str, source: &io::Error) -> String {
    match wire::mounted_from(path) {
        Some((kind, name, key)) if source.kind() == io::ErrorKind::NotFound => format!(
            "Kafka needs {purpose}: this namespace has no {kind} {name:?} with a key {key:?}; one that is made or changed is used within \
             about 90 s"
        ),
        Some((kind, name, key)) => {
            format!("Kafka needs {purpose}: the key {key:?} of the {kind} {name:?} cannot be read: {source}")
        }
        None => {
            let path = path.display();
            format!("the Kafka connection needs {path}, which holds {purpose}, and cannot read it: {source}")
        }
    }
}

impl From<ClientError> for Error {
    /// For the making of a client, which fails on its settings only.
    fn from(error: ClientError) -> Self {
        Self::Settings(error.to_string())
    }
}

impl KafkaError {
    /// An error that was found before any broker was asked.
    pub(crate) fn local(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A record that is confirmed without a place, and may be nowhere.
    ///
    /// librdkafka counts records of a request that failed for a moment as written once a later one succeeds that was under way beside it: in a
    /// sequence no broker would take that before. But to one that knows nothing of a producer yet any first number will do.
    pub(crate) fn overtaken() -> Self {
        Self::local(ErrorCode::INCONSISTENT, "Kafka has what this producer sent later, and may not have this record")
    }

    /// An error of librdkafka, in its own words.
    pub(crate) fn of_client(error: &ClientError) -> Self {
        let Some(code) = error.rdkafka_error_code().map(ErrorCode::from) else {
            return Self::local(ErrorCode::INVALID_ARGUMENT, error.to_string());
        };
        match error {
            ClientError::Transaction(told) => Self::local(code, told.string()),
            _ => Self::of_code(code),
        }
    }

    /// A code of librdkafka's, in its own words.
    pub(crate) fn of_code(code: ErrorCode) -> Self {
        Self::local(code, native::code_description(code))
    }

    /// The same, with what the connection last failed with.
    pub(crate) fn with_cause(self, trouble: Option<Self>) -> Self {
        let Some(Self { message: cause, .. }) = trouble else { return self };
        Self { message: format!("{}; the connection's last error: {cause}", self.message), ..self }
    }

    /// Whether the same may succeed later without anybody doing anything.
    pub fn is_retriable(&self) -> bool {
        self.code.is_retriable()
    }

    /// Whether the record that was to be written is at fault: it is too large, has no key where one is needed, or names a partition
    /// that is not there. The same record never gets another answer while its topic is as it is.
    ///
    /// Of a record that names no partition a missing one says only that librdkafka's picture of the topic is changing.
    pub(crate) fn is_about(&self, record: &OutgoingRecord) -> bool {
        match self.code {
            ErrorCode::UNKNOWN_PARTITION => record.partition.is_some(),
            code => ErrorCode::ABOUT_RECORDS.contains(&code),
        }
    }

    /// Whether the topic does not take a record for what it is, whatever its size: a compacted topic takes none without a key.
    pub fn is_about_the_content(&self) -> bool {
        matches!(self.code, ErrorCode::INVALID_TIMESTAMP | ErrorCode::INVALID_RECORD)
    }

    /// Whether a record may be without fault that shared a request with others: Kafka refuses it as a whole, because all of it is too large or
    /// one record in it is invalid.
    pub(crate) fn may_be_about_others(&self) -> bool {
        ErrorCode::PERHAPS_ABOUT_OTHERS.contains(&self.code)
    }
}

impl fmt::Display for KafkaError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.as_str() {
            "" => write!(formatter, "{}", self.code),
            message => write!(formatter, "{message} ({})", self.code),
        }
    }
}

/// The codes that the project tells apart, with the names and numbers of Kafka's protocol guide.
#[allow(missing_docs, reason = "Kafka's protocol guide explains each name")]
impl ErrorCode {
    pub const NONE: Self = Self(0);
    pub const UNKNOWN_SERVER_ERROR: Self = Self(-1);
    pub const UNKNOWN_TOPIC_OR_PARTITION: Self = Self(3);
    pub const LEADER_NOT_AVAILABLE: Self = Self(5);
    pub const REQUEST_TIMED_OUT: Self = Self(7);
    pub const MESSAGE_TOO_LARGE: Self = Self(10);
    pub const INVALID_TOPIC: Self = Self(17);
    pub const NOT_ENOUGH_REPLICAS: Self = Self(19);
    pub const TOPIC_AUTHORIZATION_FAILED: Self = Self(29);
    pub const GROUP_AUTHORIZATION_FAILED: Self = Self(30);
    pub const CLUSTER_AUTHORIZATION_FAILED: Self = Self(31);
    pub const INVALID_TIMESTAMP: Self = Self(32);
    pub const UNSUPPORTED_SASL_MECHANISM: Self = Self(33);
    pub const TOPIC_ALREADY_EXISTS: Self = Self(36);
    pub const INVALID_PARTITIONS: Self = Self(37);
    pub const INVALID_REPLICATION_FACTOR: Self = Self(38);
    pub const INVALID_CONFIG: Self = Self(40);
    pub const INVALID_REQUEST: Self = Self(42);
    pub const POLICY_VIOLATION: Self = Self(44);
    pub const SASL_AUTHENTICATION_FAILED: Self = Self(58);
    pub const NON_EMPTY_GROUP: Self = Self(68);
    pub const GROUP_ID_NOT_FOUND: Self = Self(69);
    pub const TOPIC_DELETION_DISABLED: Self = Self(73);
    pub const INVALID_RECORD: Self = Self(87);
    pub const UNSTABLE_OFFSET_COMMIT: Self = Self(88);

    /// `_NOENT`: of none of the partitions that were asked for librdkafka knows a leader.
    pub(crate) const NO_LEADERS: Self = Self(-156);
    pub(crate) const TRANSPORT: Self = Self(-195);
    pub(crate) const SSL: Self = Self(-181);
    pub(crate) const TIMED_OUT: Self = Self(-185);
    pub(crate) const INVALID_ARGUMENT: Self = Self(-186);
    pub(crate) const ALL_BROKERS_DOWN: Self = Self(-187);
    pub(crate) const DESTROYED: Self = Self(-197);
    pub(crate) const UNKNOWN_PARTITION: Self = Self(-190);
    pub(crate) const MESSAGE_TIMED_OUT: Self = Self(-192);
    pub(crate) const QUEUE_FULL: Self = Self(-184);
    pub(crate) const FATAL: Self = Self(-150);
    pub(crate) const INCONSISTENT: Self = Self(-149);
    /// `_INVALID_DIFFERENT_RECORD`: another record of its request is invalid.
    pub(crate) const INVALID_DIFFERENT_RECORD: Self = Self(-138);

    /// librdkafka could get no answer: `_TRANSPORT`, `_RESOLVE`, `_MSG_TIMED_OUT`, `_ALL_BROKERS_DOWN`, `_TIMED_OUT`,
    /// `_WAIT_COORD`, `_TIMED_OUT_QUEUE`.
    const NO_ANSWER: [i32; 7] = [-195, -193, -192, -187, -185, -180, -166];
    /// `_SSL`, `_AUTHENTICATION`, then the brokers' own words for it.
    const AUTHENTICATION: [i32; 5] = [-181, -169, 33, 34, 58];
    const ABOUT_RECORDS: [Self; 3] = [Self::MESSAGE_TOO_LARGE, Self::INVALID_TIMESTAMP, Self::INVALID_RECORD];
    const PERHAPS_ABOUT_OTHERS: [Self; 4] =
        [Self::MESSAGE_TOO_LARGE, Self::INVALID_TIMESTAMP, Self::INVALID_RECORD, Self::INVALID_DIFFERENT_RECORD];
    /// `_TRANSPORT`, `_NOENT`, `LEADER_NOT_AVAILABLE`, `NOT_LEADER_OR_FOLLOWER`, `FENCED_LEADER_EPOCH`, `UNKNOWN_LEADER_EPOCH`.
    const ANOTHER_LEADER: [i32; 6] = [-195, -156, 5, 6, 74, 75];
    /// The subclasses of `RetriableException` in Kafka's `Errors`, and librdkafka's `_UNKNOWN_TOPIC`,
    /// `_IN_PROGRESS`, `_WAIT_CACHE`, `_RETRY`.
    const RETRIABLE: [i32; 28] = [
        -188, -178, -164, -153, 2, 3, 5, 6, 7, 8, 9, 13, 14, 15, 16, 19, 20, 41, 51, 56, 60, 72, 74, 75, 78, 80, 88, 89,
    ];

    /// The code with this number.
    pub(crate) const fn from_number(number: i32) -> Self {
        Self(number)
    }

    /// Kafka's number of the code.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Kafka's name of the code, such as `TOPIC_ALREADY_EXISTS`; librdkafka's own begin with an underscore.
    pub fn name(self) -> String {
        match self.0 {
            // librdkafka has other names for these.
            3 => "UNKNOWN_TOPIC_OR_PARTITION".into(),
            6 => "NOT_LEADER_OR_FOLLOWER".into(),
            10 => "MESSAGE_TOO_LARGE".into(),
            17 => "INVALID_TOPIC_EXCEPTION".into(),
            _ => native::code_name(self),
        }
    }

    /// Whether the same may succeed later without anybody doing anything.
    pub fn is_retriable(self) -> bool {
        self.is_no_answer() || Self::RETRIABLE.contains(&self.0)
    }

    /// Whether brokers and client do not accept each other.
    pub fn is_authentication(self) -> bool {
        Self::AUTHENTICATION.contains(&self.0)
    }

    /// What failed between brokers and client, and where to look.
    fn authentication_advice(self) -> &'static str {
        match self {
            Self::SSL => {
                "TLS with Kafka fails; check the authorities in `ca`, and for mTLS `tls.crt` and `tls.key` in `credentials`"
            }
            _ => {
                "Kafka does not accept the login; check `username` and `password` in `credentials`, and `saslMechanism`"
            }
        }
    }

    /// Whether a partition may have another leader than the client knows of.
    pub(crate) fn may_be_of_another_leader(self) -> bool {
        Self::ANOTHER_LEADER.contains(&self.0)
    }

    pub(crate) fn is_no_answer(self) -> bool {
        Self::NO_ANSWER.contains(&self.0)
    }
}

impl From<rdkafka::types::RDKafkaErrorCode> for ErrorCode {
    fn from(code: rdkafka::types::RDKafkaErrorCode) -> Self {
        Self(code as i32)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name())
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}({})", self.name(), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    #[test]
    fn a_code_has_the_name_of_kafkas_protocol() {
        assert_eq!(ErrorCode::TOPIC_ALREADY_EXISTS.name(), "TOPIC_ALREADY_EXISTS");
        assert_eq!(ErrorCode::TIMED_OUT.name(), "_TIMED_OUT");
    }

    #[test]
    fn a_code_of_a_newer_broker_has_its_number() {
        assert_eq!(ErrorCode::from_number(3000).name(), "ERROR_3000");
    }

    #[test]
    fn a_timeout_says_what_the_connection_last_suffered() {
        let refused = KafkaError::local(ErrorCode::from_number(-195), "kafka:9092: Connection refused");
        let error = Error::of_request("describe topics", WITHIN, timed_out(), Some(refused));
        assert!(error.is_retriable());
        assert_eq!(
            error.to_string(),
            "describe topics: no answer from Kafka within 10s: kafka:9092: Connection refused"
        );
    }

    #[test]
    fn a_timeout_after_a_failed_login_is_about_the_login() {
        let login = KafkaError::local(ErrorCode::from_number(-169), "SASL authentication error");
        let error = Error::of_request("describe topics", WITHIN, timed_out(), Some(login));
        assert!(matches!(error, Error::Unauthenticated { .. }));
        assert!(!error.is_retriable());
    }

    #[test]
    fn an_answer_is_not_explained_by_old_trouble() {
        let answer = KafkaError::local(ErrorCode::CLUSTER_AUTHORIZATION_FAILED, "");
        let trouble = KafkaError::local(ErrorCode::from_number(-195), "Connection refused");
        let error = Error::of_request("create topics", WITHIN, answer, Some(trouble));
        assert_eq!(error.to_string(), "create topics: CLUSTER_AUTHORIZATION_FAILED");
    }

    #[test]
    fn a_missing_partition_is_the_fault_of_a_record_that_names_it() {
        let missing = KafkaError::local(ErrorCode::UNKNOWN_PARTITION, "");
        let anywhere = OutgoingRecord::new("orders", "value");
        let there = OutgoingRecord { partition: Some(9), ..anywhere.clone() };
        assert_eq!((missing.is_about(&there), missing.is_about(&anywhere)), (true, false));
        for code in [ErrorCode::MESSAGE_TOO_LARGE, ErrorCode::INVALID_TIMESTAMP, ErrorCode::INVALID_RECORD] {
            assert!(KafkaError::local(code, "").is_about(&anywhere), "{code:?}");
        }
        assert!(!timed_out().is_about(&there));
    }

    fn timed_out() -> KafkaError {
        KafkaError::local(ErrorCode::TIMED_OUT, "Failed while waiting for controller")
    }
}
