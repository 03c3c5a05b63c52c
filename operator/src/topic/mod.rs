//! One pass over a Topic.

mod apply;
mod drift;
mod farewell;
mod growth;
mod identities;
mod observe;
mod relations;
mod resolve;
mod schema;

use std::{sync::LazyLock, time::Duration};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::Resource;
use sluice_crds::{ChangeKind, TOPIC_FINALIZER, Topic, TopicStatus};
use sluice_kafka::TopicAdmin;
use sluice_model::topic::{
    Change, Claim, Known, Outcome, Plan, Usage, Wanted, is_deleted_too, plan, report, validate, winner,
};
use tokio::time::{Instant, sleep_until};

pub use drift::{Sightings, follow_clusters};
pub use growth::Growths;
pub use identities::Identities;
pub use relations::{Related, Relations};

use self::{
    apply::apply,
    observe::{Seen, observe},
    resolve::resolve,
};
use crate::{
    context::Context,
    controller::{Kind, Next, Pass, name_of},
    error::Error,
    finalizer::{self, Holds},
    watch::Watched,
};

/// Milliseconds between the looks at a change of our own: a broker shows it a moment after Kafka has confirmed it, or some
/// seconds, when it has a thousand new topics to show.
const LOOKS_MILLIS: [u64; 10] = [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560];

/// A growth that waits for users of whom no watch had told is judged again so late: no watch may tell that they are gone.
const LOOK_AT_UNTOLD: Duration = Duration::from_mins(1);

impl Kind for Topic {
    type Status = TopicStatus;

    const NAME: &'static str = "Topic";

    // Their requests to Kafka are joined into batches: the more at a time, the fewer. Each pass takes some KiB meanwhile.
    const CONCURRENCY: usize = 512;

    fn lane<'a>(&'a self, context: &Context) -> &'a str {
        let cluster = self.spec.cluster.as_str();
        // There are no more lanes than Kafka clusters.
        if context.settings.clusters.contains_key(cluster) { cluster } else { "" }
    }

    fn watched(context: &Context) -> &Watched<Self> {
        &context.topics
    }

    fn holds_on(&self) -> bool {
        finalizer::is_held(self)
    }

    fn status(&self) -> Option<&TopicStatus> {
        self.status.as_ref()
    }

    fn conditions(status: &TopicStatus) -> &[Condition] {
        &status.conditions
    }

    async fn reconcile(&self, context: &Context) -> Result<Pass<TopicStatus>, Error> {
        let _pass = context.clusters.pass_begins(&self.spec.cluster);
        if self.meta().deletion_timestamp.is_some() {
            // It is larger than all the rest, and rare.
            return Box::pin(farewell::pass(self, context)).await;
        }
        if finalizer::follow_spec(&context.client, self).await? {
            // The watch brings the Topic as it is now, and with it the next pass.
            return Ok(Pass { status: self.status.clone().unwrap_or_default(), next: Next::OnChange });
        }
        let now = Timestamp::now();
        let references = resolve(self, context).await?;
        let said = |outcome: &Outcome<'_>, next| {
            Ok(Pass { status: report(self, Some(&references.users), outcome, now), next })
        };
        let wanted = match validate(self, &context.settings) {
            Ok(wanted) => wanted,
            Err(rejections) => return said(&Outcome::Rejected(&rejections), Next::OnChange),
        };
        let kafka = context.clusters.topics(&wanted.cluster.name)?;
        let known = Known::of(self, &references.users);
        let made = if is_new(self) && references.rivals.is_empty() {
            create_unseen(&kafka, &wanted, &known).await?
        } else {
            Vec::new()
        };
        let seen = observe(&kafka, &wanted, &known).await?;
        let existing = seen.topic.as_ref().map(|topic| topic.id.as_str());
        if let Some(winner) = winner(&Claim::of(self).1, &references.rivals, existing) {
            context.schemas.forget(&name_of(self));
            return said(&Outcome::Lost { wanted: &wanted, winner }, Next::OnChange);
        }
        let planned = Planned::of(&wanted, seen, &known, made);
        let users = live_users(self, context, &planned.plan, &known).await?;
        let growth = if users.is_some() { Growth::Judged } else { Growth::Left };
        let known = Known { users: users.as_deref().unwrap_or(&references.users), ..known };
        let planned = if known.users == references.users { planned } else { planned.again(&wanted, &known) };
        // The registry is asked meanwhile, so that nothing waits for it but its own part.
        let schema = schema::outcome(self, &wanted, &references, context);
        let (carried_out, schema) = futures::join!(carry_out(&kafka, &wanted, known, planned, growth), schema);
        let Planned { seen, plan, .. } = carried_out?;
        let observed = seen.topic.as_ref();
        context.sightings.saw(name_of(self), &wanted, &known, observed);
        let next = if plan.changes.is_empty() { Next::OnChange } else { Next::Again };
        let waits_to_grow = plan.withheld.iter().any(|held| held.change == ChangeKind::Grow);
        let next = if growth == Growth::Judged && waits_to_grow { next.at_latest(LOOK_AT_UNTOLD) } else { next };
        // Whatever became of the schema: the status has to know what was done in Kafka.
        let (schema, next) = match schema {
            Ok(schema) => (schema, next),
            Err(error) => (schema::failed(self, &wanted, &error), next.at_latest(schema::RETRY)),
        };
        said(&Outcome::Planned { wanted: &wanted, observed, plan: &plan, schema: schema.as_ref() }, next)
    }

    fn failed(&self, error: &Error, now: Timestamp) -> TopicStatus {
        report(self, None, &Outcome::Failed { reason: error.reason(), message: error.to_string() }, now)
    }
}

impl Holds for Topic {
    const FINALIZER: &'static str = TOPIC_FINALIZER;

    const NOTED: &'static str = "topicId";

    fn deletes_too(&self) -> bool {
        is_deleted_too(&self.spec)
    }
}

/// When to look again: after about that pause, at a moment that all Topics with the same pause have in common, so that they share
/// the requests.
fn next_look(now: Instant, pause: Duration) -> Instant {
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since = now.saturating_duration_since(*FIRST) + pause / 2;
    let count = u32::try_from(since.as_nanos().div_ceil(pause.as_nanos())).unwrap_or(u32::MAX);
    *FIRST + pause.saturating_mul(count)
}

/// What becomes of a growth that a plan has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    /// It is made: the plan knows who uses the Topic at this moment.
    Judged,
    /// It is left to the next pass, which will ask.
    Left,
}

/// What was seen of a topic, and the plan that follows from it and from what is known beside.
struct Planned {
    seen: Seen,
    plan: Plan,
    /// What this pass has changed already, whether Kafka shows it yet or not.
    made: Vec<Change>,
}

impl Planned {
    fn of(wanted: &Wanted, seen: Seen, known: &Known<'_>, made: Vec<Change>) -> Self {
        let plan = plan(wanted, seen.topic.as_ref(), &Known { stakes: seen.stakes.as_ref(), ..*known });
        Self { seen, plan, made }
    }

    /// The same by what else is known now.
    fn again(self, wanted: &Wanted, known: &Known<'_>) -> Self {
        Self::of(wanted, self.seen, known, self.made)
    }
}

/// Whether no pass has told of it yet. The API server gives every object a status.
fn is_new(topic: &Topic) -> bool {
    topic.status.as_ref().is_none_or(|status| status.observed_generation.is_none())
}

/// Makes the Kafka topic of a Topic that no pass has told of yet: as a rule there is none, and a look would only tell that. Gives what was made.
/// What Kafka refuses is left to the plan, which knows after a look whether it is needed.
async fn create_unseen(kafka: &TopicAdmin, wanted: &Wanted, known: &Known<'_>) -> Result<Vec<Change>, Error> {
    let Plan { changes, waits_for_notes: false, .. } = plan(wanted, None, known) else { return Ok(Vec::new()) };
    match apply(kafka, wanted, &changes).await {
        Ok(()) => Ok(changes),
        Err(Error::Refused { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Who uses the Topic at this moment, where it is about to grow.
async fn live_users(
    topic: &Topic,
    context: &Context,
    plan: &Plan,
    known: &Known<'_>,
) -> Result<Option<Vec<Usage>>, Error> {
    if plan.grows() {
        return context.growths.users(context, topic, known.users).await.map(Some);
    }
    Ok(None)
}

/// Makes the changes and looks at the topic again: Kafka has no watch that would bring the next pass.
///
/// The plan that is returned is for what was seen last; it has changes left where Kafka does not show them yet, a growth that is left, and
/// those that the status has to note before they are made.
async fn carry_out(
    kafka: &TopicAdmin,
    wanted: &Wanted,
    mut known: Known<'_>,
    mut planned: Planned,
    growth: Growth,
) -> Result<Planned, Error> {
    let is_left = |change: &Change| growth == Growth::Left && matches!(change, Change::Grow { .. });
    for pause in LOOKS_MILLIS {
        let (waiting, changes): (Vec<Change>, Vec<Change>) = planned
            .plan
            .changes
            .iter()
            .filter(|change| change.is_noted(&known) && !is_left(change))
            .cloned()
            .partition(|change| planned.made.contains(change));
        match (changes.is_empty(), waiting.is_empty()) {
            (true, true) => break,
            // Kafka has made them and does not show them yet.
            (true, false) => sleep_until(next_look(Instant::now(), Duration::from_millis(pause))).await,
            (false, _) => apply(kafka, wanted, &changes).await?,
        }
        known = changes.iter().fold(known, Known::after);
        planned.made.extend(changes);
        planned = Planned::of(wanted, observe(kafka, wanted, &known).await?, &known, planned.made);
    }
    let Planned { seen, plan, made } = planned;
    Ok(Planned { seen, plan: plan.confirmed(&made), made })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_that_wait_look_again_at_the_same_moments() {
        let (now, pause) = (Instant::now() + Duration::from_secs(1), Duration::from_millis(100));
        let looks: Vec<Instant> = (0..10).map(|late| next_look(now + late * pause / 100, pause)).collect();
        assert!(looks.iter().all(|look| *look - now >= pause / 2 && *look - now <= pause * 3 / 2 + pause / 10));
        let different = looks.iter().collect::<std::collections::BTreeSet<_>>().len();
        assert!(different <= 2, "{looks:?}");
    }
}
