//! What a user has to be allowed for a call, said where Kafka refuses it: Kafka itself does not say which right is missing.

use sluice_crds::{KafkaConnection, SecurityProtocol};

use crate::{ClientConfig, ErrorCode, KafkaError};

/// What is done to a resource, and the right that it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    /// As errors name it.
    pub(super) doing: &'static str,
    /// Kafka's name of the operation, and the tool's option for the resource.
    pub(super) right: (&'static str, &'static str),
    /// Whether it changes something.
    pub(super) changes: bool,
}

/// The principal that Kafka knows a client by, as its tools write it.
pub(super) fn principal(connection: &KafkaConnection, config: &ClientConfig) -> String {
    match connection.security_protocol {
        SecurityProtocol::Plaintext => "User:ANONYMOUS".into(),
        SecurityProtocol::Ssl => "'User:<the subject of tls.crt>'".into(),
        SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl => {
            format!("User:{}", config.get("sasl.username").unwrap_or_default())
        }
    }
}

/// Adds to a refusal what a Kafka administrator can do about it.
pub(super) fn with_advice(mut error: KafkaError, task: Task, principal: &str, name: &str) -> KafkaError {
    if [ErrorCode::TOPIC_AUTHORIZATION_FAILED, ErrorCode::GROUP_AUTHORIZATION_FAILED].contains(&error.code) {
        let (operation, option) = task.right;
        let principal_name = principal.trim_matches('\'');
        error.message = format!(
            "{principal_name} has no right to {operation} {name:?}; a Kafka administrator gives it with `kafka-acls.sh --add \
             --allow-principal {principal} --operation {operation} {option} {name}`"
        );
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATE: Task = Task { doing: "create topics", right: ("Create", "--topic"), changes: true };

    #[test]
    fn a_missing_right_is_named_with_the_command_that_gives_it() {
        let refused = KafkaError::local(ErrorCode::TOPIC_AUTHORIZATION_FAILED, "Authorization failed.");
        assert_eq!(
            with_advice(refused, CREATE, "User:sluice", "shop.orders").to_string(),
            "User:sluice has no right to Create \"shop.orders\"; a Kafka administrator gives it with `kafka-acls.sh --add \
             --allow-principal User:sluice --operation Create --topic shop.orders` (TOPIC_AUTHORIZATION_FAILED)"
        );
    }

    #[test]
    fn what_is_no_matter_of_rights_stays_in_kafkas_words() {
        let other = KafkaError::local(ErrorCode::INVALID_CONFIG, "Unknown topic config name: x");
        assert_eq!(with_advice(other.clone(), CREATE, "User:sluice", "shop.orders"), other);
    }
}
