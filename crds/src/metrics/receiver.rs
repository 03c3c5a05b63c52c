//! What a receiver counts.

use super::{Chapter, metrics};

metrics! {
    EVENTS_ACCEPTED = Counter "sluice_receiver_events_accepted_total" [NAMESPACE, WEBHOOK] "Events that Kafka confirmed";
    EVENTS_DUPLICATE = Counter "sluice_receiver_events_duplicate_total" [NAMESPACE, WEBHOOK]
        "Events that had been received before: acknowledged, and not written again";
    EVENTS_UNCHECKED = Counter "sluice_receiver_events_unchecked_total" [NAMESPACE, WEBHOOK]
        "Accepted events for which Redis did not answer, before they were written or after: they may be there twice";
    EVENTS_REMEMBERED = Gauge "sluice_receiver_events_remembered" [NAMESPACE, WEBHOOK] "Events whose ids are known";
    DEAD_LETTERS = Counter "sluice_receiver_dead_letters_total" [NAMESPACE, WEBHOOK]
        "Events whose bodies are not as they must be, and that Kafka confirmed as dead letters";
    CHALLENGES_ANSWERED = Counter "sluice_receiver_challenges_answered_total" [NAMESPACE, WEBHOOK]
        "Tests of the endpoint by its provider";
    REQUESTS_REJECTED = Counter "sluice_receiver_requests_rejected_total" [NAMESPACE, WEBHOOK, REJECTED_REASON]
        "Requests that were refused, for what they are or because there are too many";
    REQUESTS_DEFERRED = Counter "sluice_receiver_requests_deferred_total" [NAMESPACE, WEBHOOK, DEFERRED_REASON]
        "Requests that were answered 503, so that the sender tries again";
    REQUESTS_UNKNOWN = Counter "sluice_receiver_requests_unknown_total" []
        "Requests that shared receivers answered 503, because they know no Webhook of that path: its configuration may be on the way";
    SIGNATURES_REFUSED = Counter "sluice_receiver_signatures_refused_total" [NAMESPACE, WEBHOOK, REFUSED_REASON]
        "Requests that were not genuine, by what was wrong; each is also a rejected one";
    CONFIRMATION_DURATION = Histogram "sluice_receiver_confirmation_duration_seconds" [NAMESPACE, WEBHOOK]
        "From the head of an accepted request to its answer";
    DEDUPLICATION_WINDOW = Gauge "sluice_receiver_deduplication_window_seconds" [NAMESPACE, WEBHOOK]
        "How far back the id of every event is known";
    SECRETS_UNUSABLE = Gauge "sluice_receiver_secrets_unusable" [NAMESPACE, WEBHOOK]
        "Secrets and published keys that cannot be used";
}

/// What a receiver counts.
pub const CHAPTER: Chapter = Chapter {
    title: "Receiver",
    preface: "Every event or refused request is counted once, by what became of it. What never becomes a request is counted nowhere: a head over \
              HTTP/1 that is too large (431) or cannot be read (400) is answered before.",
    metrics: METRICS,
};
