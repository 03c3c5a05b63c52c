//! Whatever happens on the way to the API server, and after whichever write the operator ends, what comes of it is that of a run
//! that nothing disturbed. Alone in its process, because each run has an operator of its own.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test ends where something is not as it must be, and tells how far it went"
)]

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, stream};
use http::Method;
use sluice_crds::{Integration, Topic, Webhook};
use sluice_suite::{
    Stage,
    operator::{Launch, Operator, Signal, forget_lease_in},
    proxy::{Asked, Fate, Proxy},
    story::{self, Chapter, State, Story},
};
use tokio::sync::OnceCell;

type Judge = Box<dyn Fn(&Asked) -> Fate + Send + Sync>;

/// Runs at the same time: each has an operator.
const AT_ONCE: usize = 6;

/// A story while it is told, and the operator that works on it.
struct Run {
    stage: Stage,
    ways: Ways,
    launch: Launch,
    operator: Arc<Operator>,
    /// How often the operator has ended and was started again.
    restarts: usize,
}

/// What the operator's requests pass through.
struct Ways {
    api_server: Arc<Proxy>,
    /// Where the story has to do with one.
    registry: Option<Arc<Proxy>>,
}

impl Ways {
    async fn open(stage: &Stage, stories: &[Story]) -> Self {
        let registry = if stories.contains(&Story::Schema) {
            Some(Arc::new(Proxy::before(story::registry().await.unwrap()).await.unwrap()))
        } else {
            None
        };
        Self { api_server: Arc::new(Proxy::start(stage.kubeconfig()).await.unwrap()), registry }
    }

    /// From now on this decides what happens to requests.
    fn judge(&self, judge: impl Fn(&Asked) -> Fate + Send + Sync + 'static) {
        let judge = Arc::new(judge);
        for proxy in [Some(&self.api_server), self.registry.as_ref()].into_iter().flatten() {
            let judge = Arc::clone(&judge);
            proxy.judge(move |asked| judge(asked));
        }
    }

    fn of(&self, launch: Launch) -> Launch {
        let registries =
            self.registry.as_ref().map(|proxy| format!("default: {{url: '{}', driftInterval: 1s}}", proxy.url));
        Launch {
            server: Some(self.api_server.url.clone()),
            registries: registries.unwrap_or_else(|| launch.registries.clone()),
            ..launch
        }
    }
}

impl Run {
    async fn begin(place: &Stage, name: &str, stories: &[Story], judge: Judge) -> Self {
        let stage = place.beside(name).await.unwrap();
        let ways = Ways::open(&stage, stories).await;
        ways.judge(judge);
        let launch = ways.of(launch(&stage, name, stories).await);
        let operator = Arc::new(Operator::start(stage.client.clone(), &launch).await.unwrap());
        Self { stage, ways, launch, operator, restarts: 0 }
    }

    /// What Kubernetes does where a container ends; without the wait for the lease of one that was killed.
    async fn restart(&mut self) {
        forget_lease_in(&self.stage.client, &self.launch.lease_namespace).await.unwrap();
        self.operator = Arc::new(Operator::start(self.stage.client.clone(), &self.launch).await.unwrap());
        self.restarts += 1;
    }

    /// Tells the stories and compares the end of each chapter with that of an undisturbed run. `judge` is made anew for each.
    async fn tell(&mut self, stories: &[Story], what: &str, judge: Option<fn() -> Judge>) {
        for (index, chapter) in Chapter::ALL.into_iter().enumerate() {
            if let Some(judge) = judge.filter(|_| chapter != Chapter::Create) {
                self.ways.judge(judge());
            }
            let mut end = State::new();
            for story in stories {
                end.extend(undisturbed(&self.stage, *story).await.ends[index].clone());
                story.tell(chapter, &self.stage).await.unwrap();
            }
            loop {
                let operator = Arc::clone(&self.operator);
                tokio::select! {
                    come = story::comes_to(&self.stage, stories, &end) => {
                        come.unwrap_or_else(|error| panic!("{what}, {chapter:?}: {error:#}\n{}", operator.log()));
                        break;
                    }
                    () = operator.end() => self.restart().await,
                }
            }
        }
        story::clear(&self.stage, stories).await.unwrap();
    }

    /// Ends the operator without ceremony.
    fn end(self) {
        let _ = self.operator.signal(Signal::KILL);
    }
}

/// An operator of the stage's own. A namespace that goes takes its leases along, so that of its operator is elsewhere.
async fn launch(stage: &Stage, name: &str, stories: &[Story]) -> Launch {
    if !stories.contains(&Story::Namespace) {
        return stage.launch_apart(name).await.unwrap();
    }
    let elsewhere = stage.beside(&format!("{name}-lease")).await.unwrap().launch_apart(name).await.unwrap();
    Launch { arguments: vec!["--namespaces".to_owned(), stage.namespace.clone()], ..elsewhere }
}

/// A run that nothing disturbed.
struct Undisturbed {
    /// How each chapter ends.
    ends: Vec<State>,
    /// The writes that it took.
    writes: usize,
}

async fn undisturbed(place: &Stage, story: Story) -> &'static Undisturbed {
    static KNOWN: [OnceCell<Undisturbed>; 6] = [const { OnceCell::const_new() }; 6];
    KNOWN[story as usize].get_or_init(|| Undisturbed::run(place, story)).await
}

impl Undisturbed {
    async fn run(place: &Stage, story: Story) -> Self {
        let run = Run::begin(place, &format!("undisturbed-{}", story as usize), &[story], nothing()).await;
        let writes = Arc::new(AtomicUsize::new(0));
        let (counter, namespace) = (Arc::clone(&writes), run.stage.namespace.clone());
        run.ways.judge(move |asked| {
            if counts(asked, &namespace) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            Fate::Forward
        });
        let mut ends = Vec::new();
        for chapter in Chapter::ALL {
            story.tell(chapter, &run.stage).await.unwrap();
            let end = loop {
                let told = story::is_told(&run.stage, story, chapter).await;
                told.unwrap_or_else(|error| panic!("{story:?}, {chapter:?}: {error:#}\n{}", run.operator.log()));
                let so_far = writes.load(Ordering::Relaxed);
                look_again(&run, story, chapter).await;
                let end = story::is_told(&run.stage, story, chapter).await.unwrap();
                if writes.load(Ordering::Relaxed) == so_far {
                    break end;
                }
            };
            ends.push(end);
        }
        story::clear(&run.stage, &[story]).await.unwrap();
        let writes = writes.load(Ordering::Relaxed);
        println!("{story:?} takes {writes} writes");
        run.end();
        Self { ends, writes }
    }
}

/// Makes the operator look at everything once more.
async fn look_again(run: &Run, story: Story, chapter: Chapter) {
    let (operator, stage) = (&run.operator, &run.stage);
    match story {
        _ if chapter == Chapter::Delete => Ok(()),
        Story::Topic | Story::Namespace => operator.looks_again::<Topic>(stage, "held").await.map(drop),
        Story::Webhook => operator.looks_again::<Webhook>(stage, "stripe").await.map(drop),
        Story::Integration => operator.looks_again::<Integration>(stage, "to-api").await.map(drop),
        Story::Approval => operator.looks_again::<Topic>(stage, "kept").await.map(drop),
        Story::Schema => operator.looks_again::<Topic>(stage, "typed").await.map(drop),
    }
    .unwrap();
}

/// A write into the story's namespace, or about its subject; leases and Events come and go.
fn counts(asked: &Asked, namespace: &str) -> bool {
    let is_here = asked.path.contains(&format!("/namespaces/{namespace}/"));
    let is_in_kubernetes = asked.is_write() && is_here && !asked.is_about_a_lease() && !asked.path.contains("/events");
    is_in_kubernetes || (asked.path.contains(&format!("/{namespace}.typed-value")) && is_registration(asked))
}

/// Sets the compatibility of a subject, or registers a version; a registry is asked with `POST` too which version holds a schema.
fn is_registration(asked: &Asked) -> bool {
    asked.method == Method::PUT || (asked.method == Method::POST && asked.path.ends_with("/versions"))
}

/// When the operator is killed.
#[derive(Clone, Copy, Debug)]
enum When {
    /// Before the write arrives: what was done in Kafka until then is done.
    Before,
    /// After it was carried out, before the operator hears of it.
    After,
}

/// Tells a story with an operator that is killed at its `number`th write; says whether there was such a write.
async fn killed(place: &Stage, story: Story, number: usize, when: When) -> bool {
    let name = format!("killed-{}-{number}-{}", story as usize, when as usize);
    let mut run = Run::begin(place, &name, &[story], nothing()).await;
    let victim: Weak<Operator> = Arc::downgrade(&run.operator);
    let kill = Arc::new(move || {
        if let Some(victim) = victim.upgrade() {
            // It may have ended by itself, where it could not renew its lease in time.
            let _ = victim.signal(Signal::KILL);
        }
    });
    let (count, namespace) = (AtomicUsize::new(0), run.stage.namespace.clone());
    run.ways.judge(move |asked| {
        if !counts(asked, &namespace) || count.fetch_add(1, Ordering::Relaxed) + 1 != number {
            return Fate::Forward;
        }
        match when {
            When::Before => Fate::Lose(kill.clone()),
            When::After => Fate::LoseAnswer(kill.clone()),
        }
    });
    run.tell(&[story], &format!("{story:?}, killed at write {number} ({when:?})"), None).await;
    let was_killed = run.restarts > 0;
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

/// Every request arrives.
fn nothing() -> Judge {
    Box::new(|_| Fate::Forward)
}

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
        loop {
            ticks.tick().await;
            proxy.cut_watches();
        }
    });
    run.tell(&Story::TOGETHER, "cut", None).await;
    cuts.abort();
    run.end();
}
