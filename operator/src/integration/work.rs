//! What becomes of the workers' answers: they are written into the status with the other numbers, without a pass.

use k8s_openapi::jiff::Timestamp;
use sluice_crds::{Integration, NamespacedName, wire::WorkerStatus};
use sluice_model::integration::{Shown, Work};

use crate::{
    context::Context,
    rounds::{Asked, Heard, Pace, Rounds},
};

impl Asked for Integration {
    type Answer = WorkerStatus;
    type Account = Work;
    type News = Shown;

    fn rounds(context: &Context) -> &Rounds<Work> {
        &context.work
    }

    fn take(work: &mut Work, answers: &[Option<WorkerStatus>]) -> Heard<Shown> {
        let before = work.shown();
        work.take(answers, Timestamp::now());
        let shown = work.shown();
        let pace = if work.is_in_doubt() {
            Pace::Soon
        } else if work.is_silent() || shown != before {
            Pace::Busy
        } else {
            Pace::Idle
        };
        Heard { pace, news: shown }
    }

    async fn tell(context: &Context, integration: &NamespacedName, shown: Shown) {
        context.measurements.take_work(integration, shown);
    }
}
