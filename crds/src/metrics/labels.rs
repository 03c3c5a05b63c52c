//! The labels. One that means the same is called the same in every program.

use super::{Label, Values};

const RESOURCES: &str = "the resources that exist";

/// Namespace of a resource.
pub const NAMESPACE: Label =
    Label { name: "namespace", meaning: "Namespace of the resource", values: Values::AsMany(RESOURCES) };
/// Name of a resource.
pub const NAME: Label = Label { name: "name", meaning: "Name of the resource", values: Values::AsMany(RESOURCES) };
/// Name of an Integration.
pub const INTEGRATION: Label =
    Label { name: "integration", meaning: "Name of the Integration", values: Values::AsMany(RESOURCES) };
/// Name of a Webhook.
pub const WEBHOOK: Label = Label { name: "webhook", meaning: "Name of the Webhook", values: Values::AsMany(RESOURCES) };
/// Kind of a resource.
pub const KIND: Label = Label {
    name: "kind",
    meaning: "Kind of the resource",
    values: Values::OneOf(&["Topic", "Webhook", "Integration"]),
};
/// What passes are over.
pub const PASS_KIND: Label = Label {
    name: "kind",
    meaning: "What the passes are over: resources of a kind, or the receivers that the Webhooks of a namespace share",
    values: Values::OneOf(&["Topic", "Webhook", "Integration", "SharedReceiver"]),
};
/// Name of a Kafka cluster.
pub const CLUSTER: Label = Label {
    name: "cluster",
    meaning: "Kafka cluster",
    values: Values::AsMany("the clusters in the operator's configuration"),
};
/// Name of a schema registry.
pub const REGISTRY: Label = Label {
    name: "registry",
    meaning: "Schema registry",
    values: Values::AsMany("the registries in the operator's configuration"),
};
/// How a pass ended.
pub const OUTCOME: Label = Label {
    name: "outcome",
    meaning: "How a pass ended: `Ok`; `Stale`, repeated because the object changed meanwhile; `Undecodable`; `Panicked`; or the \
              reason that the status shows",
    values: Values::AsMany("these four and the reasons of failures"),
};
/// What is done to a resource of the API server.
pub const VERB: Label = Label {
    name: "verb",
    meaning: "What the operator asks of the API server, as RBAC calls it",
    values: Values::OneOf(&["get", "list", "watch", "create", "update", "patch", "delete"]),
};
/// HTTP status of an answer.
pub const CODE: Label = Label {
    name: "code",
    meaning: "HTTP status of the answer; `none` where no answer came",
    values: Values::AsMany("the statuses of HTTP"),
};
/// What a broker is asked for.
pub const REQUEST: Label = Label {
    name: "request",
    meaning: "What is asked of the broker",
    values: Values::AsMany("the requests of Kafka's protocol"),
};
/// How an admin request ended.
pub const REQUEST_OUTCOME: Label = Label {
    name: "outcome",
    meaning: "How the request ended: `Ok` with an answer, whatever it says about single topics; `Dropped` where nobody waited for \
              it any more; else why there was none",
    values: Values::OneOf(&["Ok", "Unreachable", "Unauthenticated", "Refused", "Dropped"]),
};
/// Why a Kafka topic stays.
pub const RELEASED_REASON: Label = Label {
    name: "reason",
    meaning: "Why the Kafka topic stays",
    values: Values::OneOf(&["Retained", "NeverHad", "Lost", "Gone", "Replaced", "UsedElsewhere", "GivenUp"]),
};
/// Why a consumer group stays.
pub const GROUP_RELEASED_REASON: Label = Label {
    name: "reason",
    meaning: "Why the consumer group stays",
    values: Values::OneOf(&["Retained", "NeverHad", "Shared", "Gone", "GivenUp"]),
};
/// Why a request is refused.
pub const REJECTED_REASON: Label = Label {
    name: "reason",
    meaning: "Why the request was refused",
    values: Values::OneOf(&[
        "Path",
        "Method",
        "Headers",
        "Encoding",
        "Size",
        "Body",
        "Signature",
        "EventId",
        "CloudEvent",
        "Schema",
        "Rate",
    ]),
};
/// Why a request is answered 503.
pub const DEFERRED_REASON: Label = Label {
    name: "reason",
    meaning: "Why the request was answered 503",
    values: Values::OneOf(&["Paused", "Secret", "InProgress", "Busy", "Unconfirmed", "NotWritten", "Refused"]),
};
/// Why a request is not genuine.
pub const REFUSED_REASON: Label = Label {
    name: "reason",
    meaning: "Why the request is not genuine; the sender is not told",
    values: Values::OneOf(&[
        "HeaderMissing",
        "HeaderRepeated",
        "SignatureMalformed",
        "SignatureWrong",
        "BodyUnsigned",
        "FormTooLarge",
        "TimestampMalformed",
        "TimestampTooOld",
        "TimestampTooNew",
        "CredentialMalformed",
        "CredentialWrong",
        "KeyUnknown",
        "ClaimWrong",
        "ProxyUnknown",
    ]),
};
/// A file with certificates.
pub const FILE: Label = Label {
    name: "file",
    meaning: "File that holds the certificates; its folder is called like the Secret or ConfigMap, or like what it is for",
    values: Values::AsMany("the certificates that are mounted"),
};
/// A program.
pub const PROGRAM: Label = Label {
    name: "program",
    meaning: "Which program it is",
    values: Values::OneOf(&["operator", "receiver", "worker"]),
};
/// Version of a build.
pub const VERSION: Label =
    Label { name: "version", meaning: "Version of the build", values: Values::AsMany("the versions that run") };
