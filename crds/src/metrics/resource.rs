//! What the operator tells about single resources.

use super::{Chapter, metrics};

metrics! {
    READY = Gauge "sluice_resource_ready" [KIND, NAMESPACE, NAME] "1 where the condition Ready is true, otherwise 0";
    RECEIVERS_READY = Gauge "sluice_webhook_receivers_ready" [NAMESPACE, WEBHOOK]
        "Receivers that are ready, of those that have the Webhook's route or are to; absent before there were any";
    LAG = Gauge "sluice_integration_lag_records" [NAMESPACE, INTEGRATION]
        "Records that wait in the source; absent before the consumer group has committed an offset, and while Kafka does not tell";
    OLDEST_WAITING = Gauge "sluice_integration_oldest_waiting_seconds" [NAMESPACE, INTEGRATION]
        "How long the oldest record has waited that waits, at least; 0 where none does";
    DEAD_LETTERS = Gauge "sluice_integration_dead_letters" [NAMESPACE, INTEGRATION]
        "Records that the dead-letter topic holds; absent where others write to it too";
}

/// What the operator tells about single resources.
pub const CHAPTER: Chapter = Chapter {
    title: "Resources",
    preface: "The operator answers these, and only the replica that leads. What Kafka tells is absent where it has not told it for a minute.",
    metrics: METRICS,
};
