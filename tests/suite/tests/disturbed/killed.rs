//! The operator is killed after each of its writes to the API server and to a schema registry.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{StreamExt, stream};
use http::Method;
use sluice_suite::{Stage, proxy::Fate, story::Story};

use crate::run::{AT_ONCE, Death, Run, nothing, numbered, undisturbed, written};

/// A write, and its number among those of the same name, from 1.
pub(crate) type Numbered = (String, usize);

/// Whether it comes in every run. After the first write about an object a pass may find what would have been two writes to be one, and
/// whether the operator or Kubernetes deletes what nobody owns any more is a matter of who sees it first.
pub(crate) fn must_come((write, number): &Numbered) -> bool {
    *number == 1 && !write.starts_with(Method::DELETE.as_str())
}

/// Has the operator killed after this write was carried out, before it hears of it.
pub(crate) fn kill_after(run: &Run, (write, number): Numbered) -> Death {
    let death = run.death();
    let (deed, namespace) = (death.deed.clone(), run.stage.namespace.clone());
    let count = AtomicUsize::new(0);
    run.ways.judge(move |asked| {
        let is_it = written(asked, &namespace).is_some_and(|written| written == write);
        if is_it && count.fetch_add(1, Ordering::Relaxed) + 1 == number {
            Fate::LoseAnswer(deed.clone())
        } else {
            Fate::Forward
        }
    });
    death
}

/// Tells a story with an operator that is killed after this write, the one with this index; says whether it came.
async fn killed(place: &Stage, story: Story, index: usize, write: &Numbered) -> bool {
    let name = format!("killed-{}-{index}", story as usize);
    let mut run = Run::begin(place, &name, &[story], nothing()).await;
    let death = kill_after(&run, write.clone());
    run.tell(&[story], &format!("{story:?}, killed after {write:?}"), None).await;
    let was_killed = run.was_ended_by(&death);
    run.end();
    was_killed
}

/// An operator that is killed after each write, one run for each; of a first chapter that is told elsewhere too, only there.
///
/// These are all states that an operator can leave behind: before a write everything is as after the one that was made before it, here or in
/// Kafka. [`crate::kafka`] kills after each of those, and before them too, to see that it is true.
async fn killed_at_each(story: Story) {
    let place = Stage::begin(&format!("killed-{}", story as usize)).await.unwrap();
    let undisturbed = undisturbed(&place, story).await;
    let known = if story.begins_like_another() { undisturbed.first_writes } else { 0 };
    let writes = numbered(&undisturbed.writes).split_off(known);
    let place = &place;
    let runs = stream::iter(writes.into_iter().enumerate()).map(|(index, write)| async move {
        let was_killed = killed(place, story, index, &write).await;
        (write, was_killed)
    });
    let told: Vec<(Numbered, bool)> = runs.buffer_unordered(AT_ONCE).collect().await;
    let (killed, spared): (Vec<_>, Vec<_>) = told.into_iter().partition(|(_, was_killed)| *was_killed);
    println!("{story:?}: killed after {} writes; these did not come: {spared:?}", killed.len());
    assert!(spared.iter().all(|(write, _)| !must_come(write)), "{spared:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_topic_comes_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Topic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_webhook_comes_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Webhook).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_integration_comes_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Integration).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_change_that_waits_for_approval_comes_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Approval).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_schema_comes_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Schema).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_namespace_that_is_deleted_comes_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Namespace).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_consumer_group_comes_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Group).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn webhooks_that_share_receivers_come_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Shared).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_growth_that_waits_for_approval_comes_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Growth).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_topic_that_was_lost_comes_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Lost).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_topic_that_was_replaced_comes_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Replaced).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_webhook_that_leaves_its_own_receivers_comes_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Joining).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_webhook_that_leaves_shared_receivers_comes_to_the_same_end_after_which_write_ever_the_operator_is_killed() {
    killed_at_each(Story::Parting).await;
}
