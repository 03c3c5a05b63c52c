//! Runs of stories: each with an operator of its own, on whose ways to others a test decides what happens.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use http::Method;
use sluice_crds::{Integration, Topic, Webhook};
use sluice_suite::{
    Stage,
    kafka_proxy::{self, KafkaProxy, Write},
    operator::{Launch, Operator, Signal, forget_lease_in},
    proxy::{Asked, Deed, Fate, Proxy},
    story::{self, Chapter, State, Story},
    world::PATIENCE,
};
use tokio::{sync::OnceCell, time::timeout};

pub(crate) type Judge = Box<dyn Fn(&Asked) -> Fate + Send + Sync>;

/// Runs at the same time: each has an operator.
pub(crate) const AT_ONCE: usize = 6;

/// A story while it is told, and the operator that works on it.
pub(crate) struct Run {
    pub(crate) stage: Stage,
    pub(crate) ways: Ways,
    launch: Launch,
    operator: Arc<Operator>,
    /// The one that runs, for whatever kills it.
    victim: Arc<Mutex<Weak<Operator>>>,
    /// How often the operator has ended and was started again.
    restarts: usize,
}

/// What kills the operator.
pub(crate) struct Death {
    /// Does it.
    pub(crate) deed: Deed,
    is_done: Arc<AtomicBool>,
}

/// What the operator's requests pass through.
pub(crate) struct Ways {
    pub(crate) api_server: Arc<Proxy>,
    /// Where the story has to do with one.
    registry: Option<Arc<Proxy>>,
    pub(crate) kafka: Arc<KafkaProxy>,
}

impl Ways {
    async fn open(stage: &Stage, stories: &[Story]) -> Self {
        let registry = if stories.contains(&Story::Schema) {
            Some(Arc::new(Proxy::before(story::registry().await.unwrap()).await.unwrap()))
        } else {
            None
        };
        Self {
            api_server: Arc::new(Proxy::start(stage.kubeconfig()).await.unwrap()),
            registry,
            kafka: Arc::new(KafkaProxy::before(&stage.bootstrap).await.unwrap()),
        }
    }

    /// From now on this decides what happens to requests to the API server and to a registry.
    pub(crate) fn judge(&self, judge: impl Fn(&Asked) -> Fate + Send + Sync + 'static) {
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
            bootstrap: self.kafka.address.clone(),
            registries: registries.unwrap_or_else(|| launch.registries.clone()),
            ..launch
        }
    }
}

impl Run {
    pub(crate) async fn begin(place: &Stage, name: &str, stories: &[Story], judge: Judge) -> Self {
        let mut stage = place.beside(name).await.unwrap();
        let ways = Ways::open(&stage, stories).await;
        // What the operator writes about Kafka says how it gets there.
        stage.bootstrap.clone_from(&ways.kafka.address);
        ways.judge(judge);
        let launch = ways.of(launch(&stage, name, stories).await);
        let operator = Arc::new(Operator::start(stage.client.clone(), &launch).await.unwrap());
        let victim = Arc::new(Mutex::new(Arc::downgrade(&operator)));
        Self { stage, ways, launch, operator, victim, restarts: 0 }
    }

    /// Something that kills the operator, in the middle of whatever it does.
    pub(crate) fn death(&self) -> Death {
        let is_done = Arc::new(AtomicBool::new(false));
        let (victim, done) = (Arc::clone(&self.victim), Arc::clone(&is_done));
        let kill = move || {
            let victim = victim.lock().unwrap().upgrade();
            // It may have ended by itself, where it could not renew its lease in time.
            let is_killed = victim.is_some_and(|victim| victim.signal(Signal::KILL).is_ok());
            done.fetch_or(is_killed, Ordering::Relaxed);
        };
        Death { deed: Arc::new(kill), is_done }
    }

    /// Whether the operator died of it, and another one came after it.
    pub(crate) fn was_ended_by(&self, death: &Death) -> bool {
        death.is_done.load(Ordering::Relaxed) && self.restarts > 0
    }

    /// Waits until the operator has ended.
    pub(crate) async fn ends(&self) {
        let ended = timeout(PATIENCE, self.operator.end()).await;
        assert!(ended.is_ok(), "the operator goes on: {}", self.operator.log());
    }

    /// What Kubernetes does where a container ends; without the wait for the lease of one that was killed.
    pub(crate) async fn restart(&mut self) {
        forget_lease_in(&self.stage.client, &self.launch.lease_namespace).await.unwrap();
        self.operator = Arc::new(Operator::start(self.stage.client.clone(), &self.launch).await.unwrap());
        *self.victim.lock().unwrap() = Arc::downgrade(&self.operator);
        self.restarts += 1;
    }

    /// Tells the stories and compares the end of each chapter with that of an undisturbed run. `judge` is made anew for each.
    pub(crate) async fn tell(&mut self, stories: &[Story], what: &str, judge: Option<fn() -> Judge>) {
        let mut ids = BTreeMap::new();
        for (index, chapter) in Chapter::ALL.into_iter().enumerate() {
            if let Some(judge) = judge.filter(|_| chapter != Chapter::Create) {
                self.ways.judge(judge());
            }
            let mut end = State::new();
            for story in stories {
                end.extend(undisturbed(&self.stage, *story).await.ends[index].clone());
                story.tell(chapter, &self.stage).await.unwrap();
            }
            self.comes_to(stories, &end, &format!("{what}, {chapter:?}"), &|_: &str| true).await;
            for story in stories {
                for (name, id) in story::topic_ids(&self.stage, &[*story]).await.unwrap() {
                    let before = ids.insert(name.clone(), id.clone());
                    let is_same = before.is_none_or(|before| before == id);
                    assert!(is_same || story.replaces_topic(chapter), "{what}, {chapter:?}: another topic {name:?}");
                }
            }
        }
        story::clear(&self.stage, stories).await.unwrap();
    }

    /// Waits until everything whose name matters is as it should be; whenever the operator ends, another one comes.
    pub(crate) async fn comes_to(
        &mut self,
        stories: &[Story],
        end: &State,
        what: &str,
        matters: &impl Fn(&str) -> bool,
    ) {
        loop {
            let operator = Arc::clone(&self.operator);
            tokio::select! {
                come = story::comes_to(&self.stage, stories, end, matters) => {
                    come.unwrap_or_else(|error| panic!("{what}: {error:#}\n{}", operator.log()));
                    break;
                }
                () = operator.end() => self.restart().await,
            }
        }
    }

    /// Ends the operator without ceremony.
    pub(crate) fn end(self) {
        let _ = self.operator.signal(Signal::KILL);
    }
}

/// What every operator makes NetworkPolicies by.
const NETWORK_POLICIES: &str = "networkPolicies: {operatorNamespace: sluice-system}\n";

/// An operator of the stage's own. A namespace that goes takes its leases along, so that of its operator is elsewhere.
async fn launch(stage: &Stage, name: &str, stories: &[Story]) -> Launch {
    let launch = if stories.contains(&Story::Namespace) {
        let elsewhere = stage.beside(&format!("{name}-lease")).await.unwrap().launch_apart(name).await.unwrap();
        Launch { arguments: vec!["--namespaces".to_owned(), stage.namespace.clone()], ..elsewhere }
    } else {
        stage.launch_apart(name).await.unwrap()
    };
    Launch { settings: format!("{}{NETWORK_POLICIES}", launch.settings), ..launch }
}

/// A run that nothing disturbed.
pub(crate) struct Undisturbed {
    /// How each chapter ends.
    pub(crate) ends: Vec<State>,
    /// The writes to the API server and to a registry that it took, in their order, by what they are about.
    pub(crate) writes: Vec<String>,
    /// How many of them the first chapter took.
    pub(crate) first_writes: usize,
    /// The writes to Kafka that it took, in their order.
    pub(crate) kafka_writes: Vec<Write>,
}

pub(crate) async fn undisturbed(place: &Stage, story: Story) -> &'static Undisturbed {
    static KNOWN: [OnceCell<Undisturbed>; 13] = [const { OnceCell::const_new() }; 13];
    KNOWN[story as usize].get_or_init(|| Undisturbed::run(place, story)).await
}

impl Undisturbed {
    async fn run(place: &Stage, story: Story) -> Self {
        let run = Run::begin(place, &format!("undisturbed-{}", story as usize), &[story], nothing()).await;
        let writes: Arc<Mutex<Vec<String>>> = Arc::default();
        let (noted, namespace) = (Arc::clone(&writes), run.stage.namespace.clone());
        run.ways.judge(move |asked| {
            noted.lock().unwrap().extend(written(asked, &namespace));
            Fate::Forward
        });
        let kafka_writes = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&kafka_writes);
        run.ways.kafka.judge(move |write| {
            noted.lock().unwrap().push(write);
            kafka_proxy::Fate::Forward
        });
        let (mut ends, mut first_writes) = (Vec::new(), None);
        for chapter in Chapter::ALL {
            story.tell(chapter, &run.stage).await.unwrap();
            let end = loop {
                let told = story::is_told(&run.stage, story, chapter).await;
                told.unwrap_or_else(|error| panic!("{story:?}, {chapter:?}: {error:#}\n{}", run.operator.log()));
                let so_far = writes.lock().unwrap().len();
                look_again(&run, story, chapter).await;
                let end = story::is_told(&run.stage, story, chapter).await.unwrap();
                if writes.lock().unwrap().len() == so_far {
                    break end;
                }
            };
            ends.push(end);
            first_writes.get_or_insert(writes.lock().unwrap().len());
        }
        story::clear(&run.stage, &[story]).await.unwrap();
        let (writes, kafka_writes) = (writes.lock().unwrap().clone(), kafka_writes.lock().unwrap().clone());
        println!("{story:?} takes {} writes, and to Kafka {kafka_writes:?}", writes.len());
        run.end();
        Self { ends, writes, first_writes: first_writes.unwrap(), kafka_writes }
    }
}

/// Makes the operator look at everything once more.
async fn look_again(run: &Run, story: Story, chapter: Chapter) {
    let (operator, stage) = (&run.operator, &run.stage);
    match story {
        _ if chapter == Chapter::Delete => Ok(()),
        Story::Topic | Story::Namespace => operator.looks_again::<Topic>(stage, "held").await.map(drop),
        Story::Webhook => operator.looks_again::<Webhook>(stage, "stripe").await.map(drop),
        Story::Integration | Story::Group => operator.looks_again::<Integration>(stage, "to-api").await.map(drop),
        Story::Approval => operator.looks_again::<Topic>(stage, "kept").await.map(drop),
        Story::Schema => operator.looks_again::<Topic>(stage, "typed").await.map(drop),
        Story::Growth => operator.looks_again::<Topic>(stage, "orders").await.map(drop),
        Story::Lost => operator.looks_again::<Topic>(stage, "lost").await.map(drop),
        Story::Replaced => operator.looks_again::<Topic>(stage, "replaced").await.map(drop),
        Story::Shared => {
            operator.looks_again_at_shared_receivers(stage).await.unwrap();
            let newest = if chapter == Chapter::Create { "github" } else { "gitlab" };
            operator.looks_again::<Webhook>(stage, newest).await.map(drop)
        }
        Story::Joining | Story::Parting => {
            // A touch of a Deployment whose pods are ready would be told of: until Kubernetes has seen it, they are not of the newest spec.
            let shares = if story == Story::Joining { chapter >= Chapter::Hold } else { chapter == Chapter::Create };
            if shares {
                operator.looks_again_at_shared_receivers(stage).await.unwrap();
            }
            operator.looks_again::<Webhook>(stage, "stripe").await.map(drop)
        }
    }
    .unwrap();
}

/// Writes, each with how many of the same there were up to it.
pub(crate) fn numbered<T: Clone + PartialEq>(writes: &[T]) -> Vec<(T, usize)> {
    let number = |(index, write): (usize, &T)| {
        let so_far = writes[..=index].iter().filter(|other| *other == write);
        (write.clone(), so_far.count())
    };
    writes.iter().enumerate().map(number).collect()
}

/// What a request writes, by the same name in each run: where it is into the story's namespace, or about its subject.
///
/// Leases come and go, whatever a story is about. Nor is an Event a moment of its own: it comes after the write that it tells of, no pass reads
/// one, and so an operator that ends after it leaves behind what it leaves after that write. One that ends between the two leaves no Event,
/// which is as if the API server had not taken it: the status is the truth.
pub(crate) fn written(asked: &Asked, namespace: &str) -> Option<String> {
    let is_here = asked.path.contains(&format!("/namespaces/{namespace}/"));
    let is_in_kubernetes = asked.is_write() && is_here && !asked.is_about_a_lease() && !asked.path.contains("/events");
    let is_in_registry = asked.path.contains(&format!("/{namespace}.typed-value")) && is_registration(asked);
    let path = asked.path.replace(namespace, "NAMESPACE");
    (is_in_kubernetes || is_in_registry).then(|| format!("{} {}", asked.method, without_hash(&path)))
}

/// A configuration is named by a hash of its content, which says where the run takes place.
fn without_hash(path: &str) -> &str {
    let is_hash = |end: &str| end.len() == 8 && end.bytes().all(|byte| byte.is_ascii_hexdigit());
    path.rsplit_once('-').filter(|(_, end)| is_hash(end)).map_or(path, |(name, _)| name)
}

/// Sets the compatibility of a subject, or registers a version; a registry is asked with `POST` too which version holds a schema.
fn is_registration(asked: &Asked) -> bool {
    asked.method == Method::PUT || (asked.method == Method::POST && asked.path.ends_with("/versions"))
}

/// Every request arrives.
pub(crate) fn nothing() -> Judge {
    Box::new(|_| Fate::Forward)
}
