//! What the world did that a pass could not go on.

use std::sync::Arc;

use sluice_crds::Reason;
use sluice_kafka::{ErrorCode, TopicError};
use sluice_model::{Rejection, integration::Why, rejection};

/// What the world did, each with what was being done to what.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or cannot be reached.
    #[error("could not {doing}: {source}")]
    Kube {
        /// What was being done to what.
        doing: String,
        /// What came of it.
        source: Arc<kube::Error>,
    },
    /// No answer came from a Kafka cluster.
    #[error("Kafka cluster {cluster:?}: {source}")]
    Kafka {
        /// Name of the cluster in the operator's configuration.
        cluster: String,
        /// What came of it.
        source: sluice_kafka::Error,
    },
    /// A Kafka cluster does not tell whether it is the one that holds the topic, under another name; what came of the question.
    #[error(
        "the Kafka topic is neither deleted nor grown before it is known whether it is used under another name of its Kafka cluster: {0}"
    )]
    NotToldApart(String),
    /// Kafka answered, and refused.
    #[error("Kafka refused to {doing}: {source}")]
    Refused {
        /// What was being done to what.
        doing: String,
        /// The broker's own words.
        source: sluice_kafka::KafkaError,
    },
    /// The resource cannot be carried out.
    #[error("{}", rejection::summary(.0))]
    Rejected(Vec<Rejection>),
    /// The object changed while it was looked at.
    #[error("the resource changed during the pass")]
    Stale,
    /// Something that the resource owns changed while it was looked at.
    #[error("an object of the resource changed during the pass")]
    Overtaken,
    /// The pass took longer than it may.
    #[error("the pass did not finish within {0:?}")]
    TimedOut(std::time::Duration),
}

/// When a failed pass is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// As soon as the newer object was seen: it is on its way.
    Newer,
    /// After the object's backoff.
    Later,
}

impl Error {
    /// Of a call about one topic; `doing` completes "Kafka refused to ...".
    pub fn of_topic(cluster: &str, doing: impl FnOnce() -> String, error: TopicError) -> Self {
        match error {
            TopicError::Topic(source) => Self::Refused { doing: doing(), source },
            TopicError::Request(source) => Self::Kafka { cluster: cluster.to_owned(), source },
        }
    }

    /// The class of the error, for the status.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Rejected(rejections) => rejection::reason(rejections),
            Self::Kube { .. } | Self::Stale | Self::Overtaken => Reason::KubernetesError,
            Self::Kafka { .. } | Self::NotToldApart(_) => Reason::KafkaUnreachable,
            Self::Refused { source, .. } => refusal(source.code),
            Self::TimedOut(_) => Reason::TimedOut,
        }
    }

    /// Whether nothing is wrong but that something changed meanwhile: the next look sees what, and there is nothing to tell.
    pub fn is_outdated(&self) -> bool {
        matches!(self, Self::Stale | Self::Overtaken)
    }

    /// Whether a status can tell of it. An API server in trouble has better things to do, and would not take it.
    pub fn can_be_written(&self) -> bool {
        match self {
            Self::Kube { source, .. } => {
                matches!(source.as_ref(), kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429)
            }
            Self::Stale | Self::Overtaken => false,
            Self::Kafka { .. }
            | Self::NotToldApart(_)
            | Self::Refused { .. }
            | Self::Rejected(_)
            | Self::TimedOut(_) => true,
        }
    }

    /// Whether the API server does not allow it to this operator.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Kube { source, .. } if matches!(source.as_ref(), kube::Error::Api(status) if status.is_forbidden()))
    }

    /// When to try again.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Stale => Retry::Newer,
            // The watch brings the next pass at once, with what changed; the backoff is for an event that was lost.
            Self::Overtaken
            | Self::Kube { .. }
            | Self::Kafka { .. }
            | Self::NotToldApart(_)
            | Self::Refused { .. }
            | Self::Rejected(_)
            | Self::TimedOut(_) => Retry::Later,
        }
    }
}

/// What a status says of it.
impl From<&Error> for Why {
    fn from(error: &Error) -> Self {
        Self { reason: error.reason(), message: error.to_string() }
    }
}

/// The class of what Kafka refuses.
fn refusal(code: ErrorCode) -> Reason {
    match code {
        ErrorCode::TOPIC_AUTHORIZATION_FAILED
        | ErrorCode::GROUP_AUTHORIZATION_FAILED
        | ErrorCode::CLUSTER_AUTHORIZATION_FAILED => Reason::NotAuthorized,
        ErrorCode::INVALID_TOPIC => Reason::NameRefused,
        ErrorCode::INVALID_CONFIG => Reason::SettingRefused,
        ErrorCode::INVALID_REPLICATION_FACTOR => Reason::TooFewBrokers,
        ErrorCode::POLICY_VIOLATION => Reason::PolicyViolation,
        ErrorCode::TOPIC_DELETION_DISABLED => Reason::DeletionDisabled,
        _ => Reason::KafkaRefused,
    }
}

/// Says what was being done when an error came.
pub trait Doing<T> {
    /// `doing` completes "could not ...": `apply Deployment "shop/orders-worker"`.
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Doing<T> for Result<T, kube::Error> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| match source {
            kube::Error::Api(status) if status.is_conflict() => Error::Stale,
            source => Error::Kube { doing: doing(), source: Arc::new(source) },
        })
    }
}

#[cfg(test)]
mod tests {
    use sluice_kafka::KafkaError;

    use super::*;

    #[test]
    fn a_right_that_is_missing_is_told_from_other_refusals_whatever_it_is_about() {
        let reason = |code| {
            let source = KafkaError { code, message: "no".to_owned() };
            Error::Refused { doing: "delete consumer group \"shop.to-api\"".to_owned(), source }.reason()
        };
        for code in [
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            ErrorCode::GROUP_AUTHORIZATION_FAILED,
            ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
        ] {
            assert_eq!(reason(code), Reason::NotAuthorized, "{code:?}");
        }
        assert_eq!(reason(ErrorCode::NON_EMPTY_GROUP), Reason::KafkaRefused);
    }
}
