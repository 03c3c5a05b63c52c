//! The operator is killed before and after each of its writes to the API server and to a schema registry.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{StreamExt, stream};
use http::Method;
use sluice_suite::{Stage, proxy::Fate, story::Story};

use crate::run::{AT_ONCE, Run, nothing, numbered, undisturbed, written};

/// When the operator is killed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// Before the write arrives: what was done in Kafka until then is done.
    Before,
    /// After it was carried out, before the operator hears of it.
    After,
}

/// A moment at which the operator is killed.
#[derive(Clone, Debug)]
struct Moment {
    /// The write, and its number among those of the same name, from 1.
    write: (String, usize),
    when: When,
}

impl Moment {
    /// Whether it comes in every run. After the first write about an object a pass may find what would have been two writes to be one, and
    /// whether the operator or Kubernetes deletes what nobody owns any more is a matter of who sees it first.
    fn must_come(&self) -> bool {
        let (write, number) = &self.write;
        *number == 1 && !write.starts_with(Method::DELETE.as_str())
    }
}

/// Tells a story with an operator that is killed at that moment, the one with this index; says whether it came.
async fn killed(place: &Stage, story: Story, index: usize, moment: &Moment) -> bool {
    let name = format!("killed-{}-{index}", story as usize);
    let mut run = Run::begin(place, &name, &[story], nothing()).await;
    let death = run.death();
    let (deed, namespace) = (death.deed.clone(), run.stage.namespace.clone());
    let Moment { write: (write, number), when } = moment.clone();
    let count = AtomicUsize::new(0);
    run.ways.judge(move |asked| {
        let is_it = written(asked, &namespace).is_some_and(|written| written == write);
        if !is_it || count.fetch_add(1, Ordering::Relaxed) + 1 != number {
            return Fate::Forward;
        }
        match when {
            When::Before => Fate::Lose(deed.clone()),
            When::After => Fate::LoseAnswer(deed.clone()),
        }
    });
    run.tell(&[story], &format!("{story:?}, killed at {moment:?}"), None).await;
    let was_killed = run.was_ended_by(&death);
    run.end();
    was_killed
}

/// An operator that is killed at each write, one run for each.
///
/// `After` alone comes to all states that an operator can leave behind: before a write everything is as after the one that was made before
/// it, here or in Kafka, and [`crate::kafka`] kills after each of those. So the stories with many writes are not told twice as often. The
/// others are, to see that it is true.
async fn killed_at_each(story: Story, whens: &[When]) {
    let place = Stage::begin(&format!("killed-{}", story as usize)).await.unwrap();
    let writes = numbered(&undisturbed(&place, story).await.writes);
    let moments =
        writes.iter().flat_map(|write| whens.iter().map(move |when| Moment { write: write.clone(), when: *when }));
    let place = &place;
    let runs = stream::iter(moments.enumerate()).map(|(index, moment)| async move {
        let was_killed = killed(place, story, index, &moment).await;
        (moment, was_killed)
    });
    let told: Vec<(Moment, bool)> = runs.buffer_unordered(AT_ONCE).collect().await;
    let (killed, spared): (Vec<_>, Vec<_>) = told.into_iter().partition(|(_, was_killed)| *was_killed);
    println!("{story:?}: killed at {} writes; these did not come: {spared:?}", killed.len());
    assert!(spared.iter().all(|(moment, _)| !moment.must_come()), "{spared:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_topic_comes_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Topic, &[When::Before, When::After]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_webhook_comes_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Webhook, &[When::After]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_integration_comes_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Integration, &[When::After]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_change_that_waits_for_approval_comes_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Approval, &[When::Before, When::After]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_schema_comes_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Schema, &[When::Before, When::After]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_namespace_that_is_deleted_comes_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Namespace, &[When::Before, When::After]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_consumer_group_comes_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Group, &[When::After]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn webhooks_that_share_receivers_come_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Shared, &[When::After]).await;
}
