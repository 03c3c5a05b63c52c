//! The operator is killed before and after each of its writes to the API server and to a schema registry.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{StreamExt, stream};
use sluice_suite::{Stage, proxy::Fate, story::Story};

use crate::run::{AT_ONCE, Run, counts, nothing, undisturbed};

/// When the operator is killed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// Before the write arrives: what was done in Kafka until then is done.
    Before,
    /// After it was carried out, before the operator hears of it.
    After,
}

/// Tells a story with an operator that is killed at its `number`th write; says whether there was such a write.
async fn killed(place: &Stage, story: Story, number: usize, when: When) -> bool {
    let name = format!("killed-{}-{number}-{}", story as usize, when as usize);
    let mut run = Run::begin(place, &name, &[story], nothing()).await;
    let death = run.death();
    let deed = death.deed.clone();
    let (count, namespace) = (AtomicUsize::new(0), run.stage.namespace.clone());
    run.ways.judge(move |asked| {
        if !counts(asked, &namespace) || count.fetch_add(1, Ordering::Relaxed) + 1 != number {
            return Fate::Forward;
        }
        match when {
            When::Before => Fate::Lose(deed.clone()),
            When::After => Fate::LoseAnswer(deed.clone()),
        }
    });
    run.tell(&[story], &format!("{story:?}, killed at write {number} ({when:?})"), None).await;
    let was_killed = run.was_ended_by(&death);
    run.end();
    was_killed
}

/// An operator that is killed at each write, one run for each.
async fn killed_at_each(story: Story, moments: &[When]) {
    let place = Stage::begin(&format!("killed-{}", story as usize)).await.unwrap();
    let writes = undisturbed(&place, story).await.writes;
    let numbers = (1..=writes).flat_map(|number| moments.iter().map(move |when| (number, *when)));
    let runs = stream::iter(numbers).map(|(number, when)| killed(&place, story, number, when));
    let killed = runs.buffer_unordered(AT_ONCE).filter(|was_killed| std::future::ready(*was_killed)).count().await;
    println!("{story:?}: killed at {killed} of {} writes", writes * moments.len());
    // A pass may find what would have been two writes to be one.
    assert!(killed * 2 >= writes * moments.len(), "{killed} of {writes}");
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
