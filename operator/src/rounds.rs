//! Asks the pods of data planes what they have done: those of a busy resource often, those of an idle one seldom, and never within a
//! pass. Nobody waits for another one's answer, and pods that gave none are asked beside all others.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::{join, join_all};
use serde::de::DeserializeOwned;
use sluice_crds::NamespacedName;
use tokio::time::Instant;

use crate::{concurrent::keep_on, context::Context, controller::Kind, data_plane::STATUS};

/// A kind whose pods are asked.
pub trait Asked: Kind {
    /// What a pod answers.
    type Answer: DeserializeOwned + Send;

    /// What is made of the answers of a resource's pods.
    type Account: Send;

    /// What is told of it.
    type News: Send;

    /// Who is asked, and what is known.
    fn rounds(context: &Context) -> &Rounds<Self::Account>;

    /// Where its pods tell of a resource.
    fn path(_: &Context, _: &NamespacedName) -> String {
        STATUS.to_owned()
    }

    /// Takes the answers; `None` for each pod that did not give one.
    fn take(account: &mut Self::Account, answers: &[Option<Self::Answer>]) -> Heard<Self::News>;

    /// Tells it to whom it concerns.
    fn tell(context: &Context, name: &NamespacedName, news: Self::News) -> impl Future<Output = ()> + Send;
}

/// What comes of answers.
#[derive(Debug)]
pub struct Heard<N> {
    /// When to ask next.
    pub pace: Pace,
    /// What is told.
    pub news: N,
}

/// When to ask next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// An answer is missing, and nobody knows yet whether it just got lost.
    Soon,
    /// Something happens.
    Busy,
    /// Nothing happens: later each time.
    Idle,
}

/// Who is asked, and what is known of each resource.
#[derive(Debug)]
pub struct Rounds<A> {
    /// The pause between two questions where something happens.
    busy: Duration,
    followed: Mutex<HashMap<NamespacedName, Followed<A>>>,
}

#[derive(Debug)]
struct Followed<A> {
    addresses: Vec<String>,
    account: A,
    wait: Duration,
    due: Instant,
    /// Whether an answer is awaited.
    is_asked: bool,
    lane: Lane,
}

/// Among whom a resource is asked. Pods that hang keep their places until they are given up, so they have places of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    /// All its pods gave an answer the last time, or were never asked.
    Answering,
    /// One of them gave none.
    Silent,
}

/// The pause before a question that got lost is asked again. Kubernetes starts a pod that hangs again after a minute: by then it is known
/// that it hung.
const SOON: Duration = Duration::from_secs(10);
/// The longest pause between two questions.
const IDLE: Duration = Duration::from_mins(2);
/// Resources of a lane whose pods are asked at the same time.
const AT_ONCE: usize = 32;

impl<A> Rounds<A> {
    /// Asks busy ones that often.
    pub fn new(busy: Duration) -> Self {
        Self { busy, followed: Mutex::default() }
    }

    /// From now on these pods of a resource are asked; no pods are an answer too. `look` sees what is known.
    pub fn follow<T>(
        &self,
        name: &NamespacedName,
        addresses: Vec<String>,
        begin: impl FnOnce() -> A,
        look: impl FnOnce(&mut A) -> T,
    ) -> T {
        let now = Instant::now();
        let mut followed = self.lock();
        let new = || Followed {
            addresses: Vec::new(),
            account: begin(),
            wait: self.busy,
            due: now,
            is_asked: false,
            lane: Lane::Answering,
        };
        let entry = followed.entry(name.clone()).or_insert_with(new);
        if entry.addresses != addresses {
            entry.addresses = addresses;
            (entry.wait, entry.due, entry.lane) = (self.busy, now, Lane::Answering);
        }
        look(&mut entry.account)
    }

    /// Something happens: a resource that was idle is asked soon.
    pub fn hurry(&self, name: &NamespacedName) {
        if let Some(entry) = self.lock().get_mut(name)
            && entry.wait > self.busy
        {
            entry.wait = self.busy;
            entry.due = entry.due.min(Instant::now() + self.busy);
        }
    }

    /// The resource is gone: another one of its name begins anew.
    pub fn forget(&self, name: &NamespacedName) {
        self.lock().remove(name);
    }

    /// Keeps only those resources that exist.
    fn keep(&self, exists: impl Fn(&NamespacedName) -> bool) {
        self.lock().retain(|name, _| exists(name));
    }

    /// The resources of a lane whose pods are to be asked, first who has waited longest.
    fn due(&self, lane: Lane, now: Instant) -> VecDeque<NamespacedName> {
        let followed = self.lock();
        let is_due = |entry: &Followed<A>| entry.lane == lane && !entry.is_asked && entry.due <= now;
        let mut due: Vec<_> = followed.iter().filter(|(_, entry)| is_due(entry)).collect();
        due.sort_by_key(|(_, entry)| entry.due);
        due.into_iter().map(|(name, _)| name.clone()).collect()
    }

    /// The pods of a resource, which are asked from now on until their answers are taken; `None` where they are already, or where it is gone.
    fn begin(&self, name: &NamespacedName) -> Option<Vec<String>> {
        let mut followed = self.lock();
        let entry = followed.get_mut(name).filter(|entry| !entry.is_asked)?;
        entry.is_asked = true;
        Some(entry.addresses.clone())
    }

    /// Takes the answers of these pods, and puts the next question off the longer, the longer nothing happens.
    fn take<N>(
        &self,
        name: &NamespacedName,
        asked: &[String],
        lane: Lane,
        take: impl FnOnce(&mut A) -> Heard<N>,
    ) -> Option<N> {
        let mut followed = self.lock();
        let entry = followed.get_mut(name)?;
        let Heard { pace, news } = take(&mut entry.account);
        entry.is_asked = false;
        // Others that came meanwhile are asked at once.
        if entry.addresses == asked {
            entry.wait = match pace {
                Pace::Soon | Pace::Busy => self.busy,
                Pace::Idle => (entry.wait * 2).min(IDLE.max(self.busy)),
            };
            let pause = if pace == Pace::Soon { SOON.min(entry.wait) } else { entry.wait };
            (entry.due, entry.lane) = (Instant::now() + pause, lane);
        }
        Some(news)
    }

    /// What each statement leaves is whole, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, HashMap<NamespacedName, Followed<A>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for ever.
pub async fn run<K: Asked>(context: Arc<Context>) {
    let context = context.as_ref();
    let rounds = K::rounds(context);
    let exists = |name: &NamespacedName| K::watched(context).get(name).is_some();
    let question = |name, addresses| ask::<K>(context, rounds, name, addresses);
    let answering = ask_in(rounds, Lane::Answering, exists, question);
    let silent = ask_in(rounds, Lane::Silent, exists, question);
    join(answering, silent).await;
}

/// Asks those of a lane for ever.
async fn ask_in<A, F: Future<Output = ()>>(
    rounds: &Rounds<A>,
    lane: Lane,
    exists: impl Fn(&NamespacedName) -> bool,
    ask: impl Fn(NamespacedName, Vec<String>) -> F,
) {
    const LOOK: Duration = Duration::from_secs(2);
    let due = || {
        rounds.keep(&exists);
        rounds.due(lane, Instant::now())
    };
    let begin = |name: NamespacedName| rounds.begin(&name).map(|addresses| ask(name, addresses));
    keep_on(AT_ONCE, LOOK, due, begin).await;
}

async fn ask<K: Asked>(context: &Context, rounds: &Rounds<K::Account>, name: NamespacedName, addresses: Vec<String>) {
    let path = K::path(context, &name);
    let answers = join_all(addresses.iter().map(|address| context.asker.ask::<K::Answer>(address, &path))).await;
    let lane = if answers.iter().all(Option::is_some) { Lane::Answering } else { Lane::Silent };
    if let Some(news) = rounds.take(&name, &addresses, lane, |account| K::take(account, &answers)) {
        K::tell(context, &name, news).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::timeout;

    use super::*;

    fn named(name: &str) -> NamespacedName {
        NamespacedName { namespace: "shop".into(), name: name.into() }
    }

    fn addresses(addresses: &[&str]) -> Vec<String> {
        addresses.iter().map(|&one| one.to_owned()).collect()
    }

    fn busy() -> Heard<()> {
        Heard { pace: Pace::Busy, news: () }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_idle_is_asked_ever_more_seldom_until_something_happens() {
        let rounds = Rounds::new(Duration::from_secs(30));
        let (name, lane) = (named("to-api"), Lane::Answering);
        let is_due = || !rounds.due(lane, Instant::now()).is_empty();
        let answered = |pace| {
            let asked = rounds.begin(&name).unwrap();
            rounds.take(&name, &asked, lane, |()| Heard { pace, news: () }).unwrap();
        };
        let follow = |pods: &[&str]| rounds.follow(&name, addresses(pods), || (), |()| ());
        follow(&["10.0.0.1"]);
        let (soon, busy, idle) = (Pace::Soon, Pace::Busy, Pace::Idle);
        for (pace, seconds) in
            [(busy, 30), (idle, 60), (idle, 120), (idle, 120), (soon, 10), (busy, 30), (soon, 10), (idle, 60)]
        {
            assert!(is_due());
            answered(pace);
            tokio::time::advance(Duration::from_secs(seconds - 1)).await;
            assert!(!is_due(), "before {seconds} s");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        answered(idle);
        follow(&["10.0.0.1"]);
        rounds.hurry(&name);
        assert!(!is_due());
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(is_due());
        answered(busy);
        follow(&["10.0.0.1", "10.0.0.2"]);
        assert!(is_due(), "another pod is asked at once");
        rounds.keep(|_| false);
        assert!(!is_due());
    }

    #[tokio::test(start_paused = true)]
    async fn pods_that_come_while_others_are_asked_are_asked_next() {
        let rounds = Rounds::new(Duration::from_secs(30));
        let name = named("to-api");
        let follow = |pod: &str| rounds.follow(&name, addresses(&[pod]), || (), |()| ());
        follow("10.0.0.1");
        let asked = rounds.begin(&name).unwrap();
        follow("10.0.0.2");
        assert_eq!(rounds.begin(&name), None, "one answer is awaited at a time");
        rounds.take(&name, &asked, Lane::Silent, |()| busy()).unwrap();
        assert_eq!(rounds.due(Lane::Answering, Instant::now()), std::slice::from_ref(&name), "they were not silent");
        assert_eq!(rounds.begin(&name), Some(addresses(&["10.0.0.2"])));
    }

    #[tokio::test(start_paused = true)]
    async fn another_resource_of_the_name_of_one_that_is_gone_begins_anew() {
        let rounds = Rounds::new(Duration::from_secs(30));
        let name = named("to-api");
        let look = |count: &mut i32| {
            *count += 1;
            *count
        };
        let follow = || rounds.follow(&name, addresses(&["10.0.0.1"]), || 0, look);
        assert_eq!((follow(), follow()), (1, 2));
        let asked = rounds.begin(&name).unwrap();
        rounds.forget(&name);
        assert_eq!(rounds.take(&name, &asked, Lane::Answering, |_| busy()), None, "nobody waits for it any more");
        assert_eq!(follow(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn pods_that_do_not_answer_hold_up_no_others() {
        let rounds = Rounds::new(Duration::from_secs(10));
        // As many as leave one place, for ever.
        let hung = (1..AT_ONCE).map(|number| named(&format!("hung-{number}")));
        for name in hung.chain([named("quick")]) {
            rounds.follow(&name, Vec::new(), || (), |()| ());
        }
        let asked = RefCell::new(Vec::new());
        let (rounds, asked) = (&rounds, &asked);
        let question = move |name: NamespacedName, pods: Vec<String>| async move {
            asked.borrow_mut().push(name.name.clone());
            if name.name.starts_with("hung") {
                std::future::pending::<()>().await;
            }
            rounds.take(&name, &pods, Lane::Answering, |()| busy());
        };
        let asks = ask_in(rounds, Lane::Answering, |_| true, question);
        timeout(Duration::from_secs(65), asks).await.unwrap_err();
        let count = |beginning: &str| asked.borrow().iter().filter(|name| name.starts_with(beginning)).count();
        assert_eq!(count("hung"), AT_ONCE - 1, "each once");
        assert!(count("quick") > 4, "{} times", count("quick"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_gave_no_answer_is_asked_beside_the_others_until_he_does() {
        let rounds = Rounds::new(Duration::from_secs(10));
        let name = named("to-api");
        rounds.follow(&name, Vec::new(), || (), |()| ());
        let lanes = || [Lane::Answering, Lane::Silent].map(|lane| rounds.due(lane, Instant::now()).len());
        for (lane, expected) in [(Lane::Silent, [0, 1]), (Lane::Silent, [0, 1]), (Lane::Answering, [1, 0])] {
            let asked = rounds.begin(&name).unwrap();
            assert_eq!(lanes(), [0, 0], "it is asked");
            rounds.take(&name, &asked, lane, |()| busy()).unwrap();
            assert_eq!(lanes(), [0, 0], "it was asked");
            tokio::time::advance(Duration::from_secs(10)).await;
            assert_eq!(lanes(), expected);
        }
    }
}
