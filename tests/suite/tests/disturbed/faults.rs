//! What happens on networks and in busy servers.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream};
use sluice_crds::{Integration, Topic};
use sluice_suite::{
    Stage,
    operator::Launch,
    proxy::{Asked, Fate, Proxy},
    story::Story,
    world::{condition, judge_topic},
};

use crate::run::{AT_ONCE, Judge, Run, nothing};

/// Does `fate` to every third request that `concerns`, in `most` cases. After each failure the wait is twice as long: what would
/// go on for ever would never come to an end.
fn sometimes(most: usize, concerns: fn(&Asked) -> bool, fate: Fate) -> Judge {
    let count = AtomicUsize::new(0);
    Box::new(move |asked| {
        if !concerns(asked) {
            return Fate::Forward;
        }
        let count = count.fetch_add(1, Ordering::Relaxed);
        if count % 3 == 2 && count / 3 < most { fate.clone() } else { Fate::Forward }
    })
}

/// The first watch of each kind falls silent.
fn silence_at_first() -> Judge {
    let seen = Mutex::new(HashSet::new());
    Box::new(move |asked| {
        let is_first = asked.is_watch() && seen.lock().unwrap().insert(asked.path.clone());
        if is_first { Fate::Silence } else { Fate::Forward }
    })
}

/// Watches expire, and the lists that follow are those of the past.
fn of_the_past() -> Judge {
    let (lists, watches) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let is_second = |count: &AtomicUsize| count.fetch_add(1, Ordering::Relaxed) % 2 == 1;
    Box::new(move |asked| {
        if asked.is_watch() && is_second(&watches) {
            Fate::Gone
        } else if asked.is_list() && is_second(&lists) {
            Fate::Stale
        } else {
            Fate::Forward
        }
    })
}

async fn disturbed(place: &Stage, name: &str, judge: fn() -> Judge) {
    let mut run = Run::begin(place, name, &Story::TOGETHER, judge()).await;
    run.tell(&Story::TOGETHER, name, Some(judge)).await;
    run.end();
}

/// Makes the judge of a run.
type Judging = fn() -> Judge;

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_happens_on_the_way_to_the_api_server_changes_nothing() {
    let place = Stage::begin("faults").await.unwrap();
    let faults: [(&str, Judging); 7] = [
        ("busy", || sometimes(20, |_| true, Fate::Answer(429))),
        ("broken", || sometimes(6, |_| true, Fate::Answer(500))),
        ("unavailable", || sometimes(20, |_| true, Fate::Answer(503))),
        ("reset", || sometimes(6, |_| true, Fate::lose())),
        ("unheard", || sometimes(6, Asked::is_write, Fate::lose_answer())),
        ("swallowed", || sometimes(3, |asked| !asked.is_watch(), Fate::Swallow)),
        ("past", of_the_past),
    ];
    let runs = stream::iter(faults).map(|(name, judge)| disturbed(&place, name, judge));
    runs.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_watch_that_falls_silent_is_begun_anew() {
    let place = Stage::begin("silent").await.unwrap();
    let mut run = Run::begin(&place, "silenced", &Story::TOGETHER, silence_at_first()).await;
    run.tell(&Story::TOGETHER, "silenced", None).await;
    run.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn watches_that_are_cut_change_nothing() {
    let place = Stage::begin("cuts").await.unwrap();
    let mut run = Run::begin(&place, "cut", &Story::TOGETHER, nothing()).await;
    let proxy = Arc::clone(&run.ways.api_server);
    let cuts = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(300));
        // Watches live between two cuts, also after the machine stood still.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            proxy.cut_watches();
        }
    });
    run.tell(&Story::TOGETHER, "cut", None).await;
    cuts.abort();
    run.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_topic_does_not_grow_where_the_watch_has_not_told_who_orders_by_key() {
    let stage = Stage::begin("untold-user").await.unwrap();
    let proxy = Proxy::start(stage.kubeconfig()).await.unwrap();
    proxy.judge(|asked| {
        let is_of_users = asked.is_watch() && asked.path.ends_with("/integrations");
        if is_of_users { Fate::Silence } else { Fate::Forward }
    });
    let launch = stage.launch_apart("untold-user").await.unwrap();
    let operator = stage.start(&Launch { server: Some(proxy.url.clone()), ..launch }).await.unwrap();
    stage.apply_topic("orders", "partitions: 1").await.unwrap();
    let is_ready = |topic: &Topic| judge_topic(topic, "True InSync").map(drop);
    stage.until("orders", "it is ready", is_ready).await.unwrap();

    let spec = "{source: {topic: {name: orders}}, sink: {http: {url: 'http://api.example/'}}}";
    let yaml =
        format!("{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {{name: ordered}}, spec: {spec}}}");
    stage.apply::<Integration>(&yaml).await.unwrap();
    stage.apply_topic("orders", "partitions: 2").await.unwrap();
    let is_held = |topic: &Topic| judge_topic(topic, "False Withheld").map(|(status, _)| status);
    let held = stage.until("orders", "its growth waits", is_held).await;
    let held = held.unwrap_or_else(|error| panic!("{error:#}\n{}", operator.log()));
    assert!(condition(&held.conditions, "Stalled").contains("/ordered"), "{held:?}");
    assert_eq!((held.partitions, held.used_by.len()), (Some(1), 0), "the watch has told of nobody");
}
