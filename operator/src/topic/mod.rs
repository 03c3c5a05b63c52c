//! One pass over a Topic.

mod apply;
mod observe;

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use sluice_crds::{Topic, TopicStatus};
use sluice_model::topic::{Outcome, plan, report, validate};

use self::{apply::apply, observe::observe};
use crate::{
    context::Context,
    controller::{Kind, Next, Pass},
    error::Error,
};

/// Kafka has no watch: what other tools changed is found when the topic is looked at again.
const LOOK_AGAIN: Duration = Duration::from_mins(5);

impl Kind for Topic {
    type Status = TopicStatus;

    const NAME: &'static str = "Topic";

    fn status(&self) -> Option<&TopicStatus> {
        self.status.as_ref()
    }

    async fn reconcile(&self, context: &Context) -> Result<Pass<TopicStatus>, Error> {
        let now = Timestamp::now();
        let wanted = match validate(self, &context.settings) {
            Ok(wanted) => wanted,
            Err(rejections) => {
                let status = report(self, &Outcome::Rejected(&rejections), now);
                return Ok(Pass { status, next: Next::Within(LOOK_AGAIN) });
            }
        };
        let kafka = context.clusters.client(&wanted.cluster.name)?;
        let observed = observe(&kafka, &wanted).await?;
        let ours = self.status.as_ref().map(|status| status.config_keys.as_slice()).unwrap_or_default();
        let plan = plan(&wanted, observed.as_ref(), ours);
        apply(&kafka, &wanted, &plan).await?;
        let next = if plan.changes.is_empty() { Next::Within(LOOK_AGAIN) } else { Next::Again };
        let outcome = Outcome::Planned { wanted: &wanted, observed: observed.as_ref(), plan: &plan };
        Ok(Pass { status: report(self, &outcome, now), next })
    }

    fn failed(&self, error: &Error, now: Timestamp) -> TopicStatus {
        report(self, &Outcome::Failed { reason: error.reason(), message: error.to_string() }, now)
    }
}
