//! What the operator counts.

use super::{Chapter, metrics};

metrics! {
    LEADER = Gauge "sluice_operator_leader" [] "1 where this replica leads, 0 where it stands by";
    RECONCILES = Counter "sluice_operator_reconciles_total" [PASS_KIND, OUTCOME] "Passes, by how they ended";
    RECONCILE_DURATION = Histogram "sluice_operator_reconcile_duration_seconds" [PASS_KIND] "Time of a pass";
    RECONCILES_IN_PROGRESS = Gauge "sluice_operator_reconciles_in_progress" [PASS_KIND] "Passes under way";
    RECONCILE_OLDEST = Gauge "sluice_operator_reconcile_oldest_seconds" [PASS_KIND] "Age of the oldest pass under way";
    RESOURCES = Gauge "sluice_operator_resources" [KIND] "Resources that exist";
    RESOURCES_UNDECODABLE = Gauge "sluice_operator_resources_undecodable" [KIND]
        "Resources that cannot be decoded and are left alone; each has an Event that says why";
    QUEUE_DEPTH = Gauge "sluice_operator_queue_depth" [PASS_KIND] "Passes that are due and have not begun";
    API_REQUESTS = Counter "sluice_operator_api_requests_total" [VERB, CODE] "Requests to the API server";
    KAFKA_REQUESTS = Counter "sluice_operator_kafka_requests_total" [CLUSTER, REQUEST, REQUEST_OUTCOME]
        "Admin requests to a Kafka cluster; one about many topics counts once, as does a visit to a group without workers";
    REGISTRY_REQUESTS = Counter "sluice_operator_registry_requests_total" [REGISTRY, CODE] "Requests to a schema registry";
    EVENTS_LOST = Counter "sluice_operator_events_lost_total" [] "Events that could not be written";
    TOPICS_RELEASED = Counter "sluice_operator_topics_released_total" [RELEASED_REASON]
        "Topics with deletionPolicy Delete that went while their Kafka topic stayed";
    INTEGRATIONS_RELEASED = Counter "sluice_operator_integrations_released_total" [GROUP_RELEASED_REASON]
        "Integrations with deletionPolicy Delete that went while their consumer group stayed";
}

/// What the operator counts.
pub const CHAPTER: Chapter = Chapter {
    title: "Operator",
    preface: "Two replicas answer; only the one that leads makes passes.",
    metrics: METRICS,
};
