//! One pass over a Topic.

mod apply;
mod drift;
mod observe;

use std::time::Duration;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::ResourceExt;
use sluice_crds::{NamespacedName, Topic, TopicStatus};
use sluice_kafka::TopicAdmin;
use sluice_model::topic::{self, Observed, Outcome, Plan, Wanted, report, validate};
use tokio::time::sleep;

pub use drift::{Sightings, follow_clusters};

use self::{apply::apply, observe::observe};
use crate::{
    context::Context,
    controller::{Kind, Next, Pass},
    error::Error,
    watch::Watched,
};

/// Milliseconds between the looks at a change of our own: a broker shows it a moment after Kafka has confirmed it, or some
/// seconds, when it has a thousand new topics to show.
const LOOKS_MILLIS: [u64; 9] = [10, 20, 40, 80, 160, 320, 640, 1280, 2560];

impl Kind for Topic {
    type Status = TopicStatus;

    const NAME: &'static str = "Topic";

    // Their requests to Kafka are joined into batches: the more at a time, the fewer.
    const CONCURRENCY: usize = 1024;

    fn watched(context: &Context) -> &Watched<Self> {
        &context.topics
    }

    fn status(&self) -> Option<&TopicStatus> {
        self.status.as_ref()
    }

    fn conditions(status: &TopicStatus) -> &[Condition] {
        &status.conditions
    }

    async fn reconcile(&self, context: &Context) -> Result<Pass<TopicStatus>, Error> {
        let now = Timestamp::now();
        let wanted = match validate(self, &context.settings) {
            Ok(wanted) => wanted,
            Err(rejections) => {
                let status = report(self, &Outcome::Rejected(&rejections), now);
                return Ok(Pass { status, next: Next::OnChange });
            }
        };
        let kafka = context.clusters.topics(&wanted.cluster.name)?;
        let ours = self.status.as_ref().map(|status| status.config_keys.as_slice()).unwrap_or_default();
        let (observed, plan) = carry_out(&kafka, &wanted, ours).await?;
        context.sightings.saw(name_of(self), &wanted.cluster.name, &wanted.name, observed.as_ref());
        let next = if plan.changes.is_empty() { Next::OnChange } else { Next::Again };
        let outcome = Outcome::Planned { wanted: &wanted, observed: observed.as_ref(), plan: &plan };
        Ok(Pass { status: report(self, &outcome, now), next })
    }

    fn failed(&self, error: &Error, now: Timestamp) -> TopicStatus {
        report(self, &Outcome::Failed { reason: error.reason(), message: error.to_string() }, now)
    }
}

fn name_of(topic: &Topic) -> NamespacedName {
    NamespacedName { namespace: topic.namespace().unwrap_or_default(), name: topic.name_any() }
}

/// Makes the changes and looks at the topic again: Kafka has no watch that would bring the next pass.
///
/// The plan that is returned is for what was seen last; it has changes left where Kafka does not show them yet.
async fn carry_out(kafka: &TopicAdmin, wanted: &Wanted, ours: &[String]) -> Result<(Option<Observed>, Plan), Error> {
    let look = async || {
        let observed = observe(kafka, wanted).await?;
        let plan = topic::plan(wanted, observed.as_ref(), ours);
        Ok((observed, plan))
    };
    let mut seen = look().await?;
    if seen.1.changes.is_empty() {
        return Ok(seen);
    }
    apply(kafka, wanted, &seen.1).await?;
    for pause in LOOKS_MILLIS {
        seen = look().await?;
        if seen.1.changes.is_empty() {
            break;
        }
        #[expect(clippy::disallowed_methods, reason = "a backoff: nothing tells when a broker shows a change")]
        sleep(Duration::from_millis(pause)).await;
    }
    Ok(seen)
}
