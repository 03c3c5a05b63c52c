//! The operator is killed while something is new, and before another one comes somebody changes it: what was done for the spec before, and is
//! noted nowhere, nobody asks for any more.

use futures::{StreamExt, stream};
use sluice_suite::{
    Stage,
    kafka_proxy::Write,
    story::{self, Chapter, State, Story},
};

use crate::{
    kafka::{Moment, When, is_alone, kill_at},
    killed::{Numbered, kill_after, must_come},
    run::{AT_ONCE, Run, nothing, numbered, undisturbed},
};

/// What an operator did last.
#[derive(Clone, Debug)]
enum Last {
    /// This write to the API server.
    Wrote(Numbered),
    /// It made the first topics in Kafka.
    MadeTopics,
}

/// Kills the operator after its last write, the one with this index, and has the story go on before another one comes.
async fn overtaken(place: &Stage, story: Story, index: usize, last: Last) {
    let what = format!("{story:?}, overtaken after {last:?}");
    let name = format!("overtaken-{}-{index}", story as usize);
    let mut run = Run::begin(place, &name, &[story], nothing()).await;
    let death = match last {
        Last::Wrote(write) => kill_after(&run, write),
        Last::MadeTopics => kill_at(&run, Moment { write: (Write::CreateTopics, 1), when: When::After }),
    };
    story.tell(Chapter::Create, &run.stage).await.unwrap();
    run.ends().await;
    story.tell(Chapter::Change, &run.stage).await.unwrap();
    run.restart().await;
    assert!(run.was_ended_by(&death), "{what}");

    let ends = &undisturbed(place, story).await.ends;
    let former = configurations(&ends[Chapter::Create as usize]);
    let matters = |name: &str| !former.contains(&name);
    run.comes_to(&[story], &ends[Chapter::Change as usize], &what, &matters).await;
    story.tell(Chapter::Delete, &run.stage).await.unwrap();
    let (known, left) = (&ends[Chapter::Change as usize], &ends[Chapter::Delete as usize]);
    // What chapters made that are not told here is nowhere.
    let matters = |name: &str| known.contains_key(name) || !left.contains_key(name);
    run.comes_to(&[story], left, &what, &matters).await;
    story::clear(&run.stage, &[story]).await.unwrap();
    run.end();
}

/// The configurations that are kept for a rollback: those of a spec that was never carried out need not exist.
fn configurations(end: &State) -> Vec<&str> {
    let immutable = end.iter().filter(|(_, object)| object["immutable"] == true);
    immutable.map(|(name, _)| name.as_str()).collect()
}

/// One run for each write that begins something.
async fn overtaken_after_each(story: Story) {
    let place = Stage::begin(&format!("overtaken-{}", story as usize)).await.unwrap();
    let undisturbed = undisturbed(&place, story).await;
    let writes = numbered(&undisturbed.writes[..undisturbed.first_writes]).into_iter().filter(must_come);
    let made_topics = is_alone(&place).await.then_some(Last::MadeTopics);
    let last: Vec<Last> = writes.map(Last::Wrote).chain(made_topics).collect();
    println!("{story:?}: overtaken after {} writes", last.len());
    let runs = stream::iter(last.into_iter().enumerate());
    let runs = runs.map(|(index, last)| overtaken(&place, story, index, last));
    runs.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_topic_that_changes_while_no_operator_runs_comes_to_the_same_end_whatever_the_last_one_did() {
    overtaken_after_each(Story::Topic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_webhook_that_changes_while_no_operator_runs_comes_to_the_same_end_whatever_the_last_one_did() {
    overtaken_after_each(Story::Webhook).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_integration_that_changes_while_no_operator_runs_comes_to_the_same_end_whatever_the_last_one_did() {
    overtaken_after_each(Story::Integration).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_webhook_that_shares_receivers_while_no_operator_runs_comes_to_the_same_end_whatever_the_last_one_did() {
    overtaken_after_each(Story::Shared).await;
}
