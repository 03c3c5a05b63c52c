//! Writes numbers into statuses: those that look different, not more often than the settings say, and without a pass, which would
//! read all that an Integration owns.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use sluice_crds::{Integration, NamespacedName};
use sluice_model::integration::{with_numbers, with_work};
use tokio::time::Instant;
use tracing::debug;

use super::{Measurements, Numbers};
use crate::{
    concurrent::keep_on,
    context::Context,
    status::{self, Written},
    watch::Seen,
};

/// Statuses that are written at the same time.
const AT_ONCE: usize = 8;

/// Writes for ever. A write that takes long holds up no other one.
pub async fn run(context: Arc<Context>) {
    let context = context.as_ref();
    let under_way = &UnderWay::default();
    let measuring = context.settings.measuring;
    let due = || context.measurements.due(Instant::now(), measuring.write_every.get());
    let begin = move |name: NamespacedName| {
        under_way.begins(&name).then_some(async move {
            write(context, &name).await;
            under_way.ended(&name);
        })
    };
    keep_on(AT_ONCE, measuring.interval.get(), due, begin).await;
}

/// Integrations whose status is being written.
#[derive(Default)]
struct UnderWay(Mutex<HashSet<NamespacedName>>);

impl UnderWay {
    /// Whether it is not being written already.
    fn begins(&self, name: &NamespacedName) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone())
    }

    fn ended(&self, name: &NamespacedName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// Over the version that is known: where a pass wrote meanwhile, it is tried again at the next look. Where the API server does not take it, that
/// takes as long as from one write to the next.
async fn write(context: &Context, name: &NamespacedName) {
    let Some(numbers) = context.measurements.numbers(name) else { return };
    let Some(Seen::Resource(integration)) = context.integrations.get(name) else { return };
    if integration.metadata.deletion_timestamp.is_some() {
        return;
    }
    let previous = integration.status.clone().unwrap_or_default();
    let now = Timestamp::now();
    let status = with_numbers(&previous, &numbers.backlog, &numbers.dead_letters(), now);
    let status = match &numbers.work {
        Some(work) => with_work(&status, work, now),
        None => status,
    };
    match status::write::<Integration>(&context.client, &integration, &status, &[]).await {
        Ok(Written::Changed { .. }) => {
            context.measurements.wrote(name, &numbers, Some(Instant::now()));
            context.events.transition::<Integration>(&integration, &previous.conditions, &status.conditions).await;
        }
        Ok(Written::Unchanged) => context.measurements.wrote(name, &numbers, None),
        Err(error) => {
            debug!(%name, %error, "The numbers could not be written and will be tried again");
            if !error.is_outdated() {
                context.measurements.put_off(name, Instant::now());
            }
        }
    }
}

impl Measurements {
    /// The Integrations whose numbers changed and may be written.
    fn due(&self, now: Instant, pause: Duration) -> VecDeque<NamespacedName> {
        let followed = self.followed();
        let due = followed.iter().filter(|(_, known)| {
            known.changed && known.written.is_none_or(|written| now.duration_since(written) >= pause)
        });
        due.map(|(name, _)| name.clone()).collect()
    }

    fn numbers(&self, name: &NamespacedName) -> Option<Numbers> {
        Some(self.followed().get(name)?.numbers.clone())
    }

    /// The status says what these numbers do, which may have changed meanwhile; `at` is when it was written for it.
    fn wrote(&self, name: &NamespacedName, numbers: &Numbers, at: Option<Instant>) {
        if let Some(known) = self.followed().get_mut(name) {
            known.changed = known.numbers != *numbers;
            known.written = at.or(known.written);
        }
    }

    /// The numbers could not be written.
    fn put_off(&self, name: &NamespacedName, at: Instant) {
        if let Some(known) = self.followed().get_mut(name) {
            known.written = Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sluice_crds::{IntegrationStatus, Reason};
    use sluice_model::integration::{Age, Backlog, PartitionOffsets, Shown, Subject, Told, Why};

    use super::*;
    use crate::controller::Kind;

    #[test]
    fn what_is_written_beside_passes_is_what_these_are_told_to_be_so() {
        let [before, now] = [0, 10].map(|second| Timestamp::from_second(second).unwrap());
        let waits = |records| {
            let partition = PartitionOffsets::new("shop.orders-0".into(), (0, records), Some(0));
            [partition.aged(|_, _| Some(Age::About(Duration::from_mins(1))))]
        };
        let backlog = Backlog::of(&waits(10), Some(&Backlog::of(&waits(20), None, before)), now);
        let text = || Some("1".to_owned());
        let work = Shown {
            rate: text(),
            dead_letter_rate: text(),
            error_rate: text(),
            p95: text(),
            in_flight: text(),
            circuit: text(),
            gone: text(),
            last_delivery: Some(now),
            trouble: text(),
            ..Shown::default()
        };
        let numbers = with_numbers(&IntegrationStatus::default(), &Told::Known(backlog), &Told::Known(3), now);
        let status = serde_json::to_value(with_work(&numbers, &work, now)).unwrap();
        let written: BTreeSet<&str> = status.as_object().unwrap().keys().map(String::as_str).collect();
        let told: BTreeSet<&str> = Integration::BESIDE.iter().copied().collect();
        assert_eq!(written, told);
    }

    /// An Integration that is measured from now on.
    fn followed(measurements: &Measurements) -> NamespacedName {
        let name = NamespacedName { namespace: "shop".into(), name: "to-api".into() };
        let [cluster, group, dead_letters] = ["default", "shop.to-api", "shop.dead"].map(str::to_owned);
        let subject = Subject { cluster, group, topics: vec!["shop.orders".into()], dead_letters };
        measurements.follow(&name, subject, None, 1);
        name
    }

    #[test]
    fn what_a_group_lost_by_itself_keeps_its_reason_when_the_cluster_goes_away() {
        let measurements = Measurements::default();
        let name = followed(&measurements);
        let why = |reason| Why { reason, message: String::new() };
        measurements.take_dead_letters(&name, 3);
        measurements.lose_backlog(&name, why(Reason::NotAuthorized));
        measurements.lose("elsewhere", &why(Reason::KafkaUnreachable));
        assert_eq!(measurements.numbers(&name).unwrap().dead_letters(), Told::Known(3));
        measurements.lose("default", &why(Reason::KafkaUnreachable));
        let numbers = measurements.numbers(&name).unwrap();
        assert_eq!(numbers.backlog, Told::Lost(why(Reason::NotAuthorized)));
        assert_eq!(numbers.dead_letters(), Told::Lost(why(Reason::KafkaUnreachable)));
    }

    #[test]
    fn what_changes_while_a_status_is_written_is_written_next() {
        let (measurements, pause) = (Measurements::default(), Duration::from_secs(30));
        let name = followed(&measurements);
        measurements.share_dead_letters(&name);
        let (begin, before) = (Instant::now(), measurements.numbers(&name).unwrap());
        let due = [name.clone()];
        assert_eq!(measurements.due(begin, pause), due);
        measurements.take_dead_letters(&name, 3);
        measurements.wrote(&name, &before, Some(begin));
        assert_eq!(measurements.due(begin + pause, pause), due);
        let after = measurements.numbers(&name).unwrap();
        assert_eq!(after.held_dead_letters, Told::Known(3));
        measurements.wrote(&name, &after, Some(begin + pause));
        assert!(measurements.due(begin + 3 * pause, pause).is_empty());
    }

    #[test]
    fn after_each_pass_it_is_looked_whether_the_status_says_what_is_known() {
        let (measurements, pause) = (Measurements::default(), Duration::from_secs(30));
        let (name, begin) = (followed(&measurements), Instant::now());
        measurements.take_dead_letters(&name, 3);
        let numbers = measurements.numbers(&name).unwrap();
        measurements.wrote(&name, &numbers, Some(begin));
        assert!(measurements.due(begin + pause, pause).is_empty());
        // Another one of that name, about which Kafka tells the same.
        followed(&measurements);
        assert_eq!(measurements.due(begin + pause, pause), std::slice::from_ref(&name));
        measurements.wrote(&name, &numbers, None);
        assert!(measurements.due(begin + pause, pause).is_empty(), "it does");
    }

    #[test]
    fn what_cannot_be_written_is_tried_as_often_as_what_can() {
        let (measurements, pause) = (Measurements::default(), Duration::from_secs(30));
        let (name, begin) = (followed(&measurements), Instant::now());
        measurements.take_dead_letters(&name, 3);
        for turn in [begin, begin + pause, begin + 2 * pause] {
            assert_eq!(measurements.due(turn, pause), std::slice::from_ref(&name));
            measurements.put_off(&name, turn);
            assert!(measurements.due(turn + pause / 2, pause).is_empty());
        }
    }
}
