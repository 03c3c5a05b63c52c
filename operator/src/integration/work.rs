//! What becomes of the workers' answers: they are written into the status with the other numbers, without a pass.

use k8s_openapi::jiff::Timestamp;
use sluice_crds::{Integration, NamespacedName, wire::WorkerStatus};
use sluice_model::integration::{Shown, Work};

use crate::{
    context::Context,
    rounds::{Asked, Heard, Rounds},
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
        Heard { is_busy: shown != before || work.is_doubted(), news: shown }
    }

    async fn tell(context: &Context, integration: &NamespacedName, shown: Shown) {
        context.measurements.take_work(integration, shown);
    }
}
