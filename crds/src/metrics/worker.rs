//! What a worker counts.

use super::{Chapter, metrics};

metrics! {
    RECORDS_RECEIVED = Counter "sluice_worker_records_received_total" [NAMESPACE, INTEGRATION] "Records read";
    RECORDS_DELIVERED = Counter "sluice_worker_records_delivered_total" [NAMESPACE, INTEGRATION] "Records that the sink took";
    RECORDS_SKIPPED = Counter "sluice_worker_records_skipped_total" [NAMESPACE, INTEGRATION]
        "Records that a filter held back or that were dropped";
    RECORDS_DEAD_LETTERED = Counter "sluice_worker_records_dead_lettered_total" [NAMESPACE, INTEGRATION]
        "Records that became dead letters";
    RECORDS_RETURNED = Counter "sluice_worker_records_returned_total" [NAMESPACE, INTEGRATION]
        "Records that were not settled when their partition went to another worker, which reads them again";
    RECORDS_GONE = Counter "sluice_worker_records_gone_total" [NAMESPACE, INTEGRATION]
        "Records that Kafka deleted before they were read, at most";
    RECORDS_UNSETTLED = Gauge "sluice_worker_records_unsettled" [NAMESPACE, INTEGRATION] "Records read and not settled yet";
    DELIVERY_RETRIES = Counter "sluice_worker_delivery_retries_total" [NAMESPACE, INTEGRATION]
        "Attempts to deliver that failed and are repeated";
    DELIVERY_DURATION = Histogram "sluice_worker_delivery_duration_seconds" [NAMESPACE, INTEGRATION]
        "Time that one attempt to deliver a record took";
    PARTITIONS = Gauge "sluice_worker_partitions" [NAMESPACE, INTEGRATION] "Partitions that are assigned to this worker";
    PARTITIONS_HALTED = Gauge "sluice_worker_partitions_halted" [NAMESPACE, INTEGRATION]
        "Partitions that stopped at a record, as the Integration says";
    SECRETS_UNUSABLE = Gauge "sluice_worker_secrets_unusable" [NAMESPACE, INTEGRATION]
        "Of two, the credentials for Kafka and the Secrets of the sink, how many cannot be used";
    CIRCUIT_OPEN = Gauge "sluice_worker_circuit_open" [NAMESPACE, INTEGRATION]
        "1 while the sink is left alone because it failed again and again, or is tried with one record at a time, else 0";
}

/// What a worker counts.
pub const CHAPTER: Chapter = Chapter {
    title: "Worker",
    preface: "What was received is delivered, skipped, dead-lettered, returned or not settled yet; this holds in every answer.",
    metrics: METRICS,
};
