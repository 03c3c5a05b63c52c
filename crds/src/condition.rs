//! The types and reasons of conditions: what a status can say.

use std::fmt;

/// The types of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// The resource does what its spec asks for.
    Ready,
    /// kstatus: work is under way. Present only while true.
    Reconciling,
    /// kstatus: nothing will change until a person acts. Present only while true.
    Stalled,
    /// The spec could be carried out.
    ConfigValid,
    /// What the resource refers to exists and is ready.
    DependenciesReady,
    /// Workers run.
    WorkersAvailable,
    /// The sink takes records.
    SinkHealthy,
    /// The gateways serve the route.
    RouteAccepted,
    /// Receivers run.
    ReceiverAvailable,
    /// The topic that holds the events is ready, and receivers can write to it.
    TopicReady,
    /// The schema registry has the schema as declared.
    SchemaRegistered,
    /// The Secrets that receivers or workers need are there and usable, and what else proves who somebody is.
    SecretsReady,
    /// Events that are sent twice are found.
    DeduplicationHealthy,
    /// Kafka does not tell how much waits, or how many dead letters there are. Present only while true.
    Unmeasured,
    /// `spec.paused` is true. Present only while true.
    Paused,
}

/// Why a condition is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Sluice has not looked yet.
    Pending,
    /// Everything is as declared.
    InSync,
    /// Records flow.
    Running,
    /// Requests are served.
    Serving,
    /// A condition that is true has nothing to explain.
    Satisfied,
    /// Something was changed and is not yet in effect.
    Progressing,
    /// `spec.paused` is true.
    Paused,
    /// A field of the spec cannot be carried out.
    Invalid,
    /// The operator's configuration does not let this namespace name the Kafka topic or the consumer group.
    OutsideTenancy,
    /// An object of another namespace is referred to, and that namespace does not permit it.
    RefNotPermitted,
    /// A change was asked for that is unsafe or impossible.
    Withheld,
    /// An object that the resource refers to does not exist.
    NotFound,
    /// An object that the resource refers to is not ready.
    DependencyNotReady,
    /// An object of that name exists and is not ours.
    NameConflict,
    /// Another Topic owns the Kafka topic.
    Conflict,
    /// Pods do not become available.
    Unavailable,
    /// The image of a pod cannot be pulled.
    ImageUnavailable,
    /// A container cannot be made.
    CannotStart,
    /// A container ends soon after each start.
    Crashing,
    /// A container needs more memory than its limit.
    OutOfMemory,
    /// No node takes a pod.
    Unschedulable,
    /// A node was short of something and has put a pod out.
    Evicted,
    /// A ResourceQuota of the namespace is used up.
    QuotaExceeded,
    /// The API server does not let pods be made, for another reason.
    PodsRefused,
    /// A pod runs, and says itself what it waits for.
    Blocked,
    /// The sink failed again and again and is left alone for a while.
    CircuitOpen,
    /// One attempt after the other fails.
    SinkFailing,
    /// A partition stopped at a record, as the Integration says.
    Halted,
    /// A Secret is missing, or one of its keys is missing or no secret of its kind, or keys that are published cannot be fetched.
    SecretUnusable,
    /// Redis does not answer.
    RedisUnreachable,
    /// More events come than can be remembered.
    WindowTooShort,
    /// The configurations of the Webhooks that share receivers are too large together.
    NoRoom,
    /// Each receiver remembers only the events that it received itself.
    NotShared,
    /// The gateway has not answered.
    RoutePending,
    /// The gateway refused the route.
    RouteRefused,
    /// An older Webhook claims the same host and path.
    RouteConflict,
    /// No listener of the gateway takes the route: for its host name, or for its namespace.
    NoListener,
    /// The Gateway API is not installed.
    GatewayApiMissing,
    /// Kong is not installed.
    KongMissing,
    /// The ACK controller for AWS API Gateway is not installed.
    AckMissing,
    /// Kafka cannot be reached.
    KafkaUnreachable,
    /// Kafka refused a request.
    KafkaRefused,
    /// Kafka does not allow it to Sluice.
    NotAuthorized,
    /// Kafka refused the name of a topic.
    NameRefused,
    /// Kafka refused a setting of a topic: it does not know the key, or the value is wrong.
    SettingRefused,
    /// More copies of each partition are asked for than there are brokers.
    TooFewBrokers,
    /// The Kafka cluster's own policy refused it.
    PolicyViolation,
    /// The Kafka cluster does not let topics be deleted.
    DeletionDisabled,
    /// The schema is no valid one.
    SchemaInvalid,
    /// The schema registry calls the change of the schema incompatible.
    SchemaIncompatible,
    /// A newer version of the subject was registered by others, and a registry cannot make an older one the newest again.
    SchemaSuperseded,
    /// The schema registry cannot be reached.
    RegistryUnreachable,
    /// The schema registry does not accept Sluice's credentials, or does not allow it to Sluice.
    RegistryUnauthorized,
    /// The schema registry refused a request.
    RegistryRefused,
    /// What is to be deleted is still used.
    InUse,
    /// The API server refused a request or cannot be reached.
    KubernetesError,
    /// A pass took longer than it may.
    TimedOut,
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
