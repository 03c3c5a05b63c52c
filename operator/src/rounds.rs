//! Asks the pods of data planes what they have done: those of a busy resource often, those of an idle one seldom, and never within a
//! pass.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, future::join_all, stream};
use serde::de::DeserializeOwned;
use sluice_crds::NamespacedName;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{context::Context, controller::Kind, data_plane::STATUS};

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
}

/// The pause before a question that got lost is asked again. Kubernetes starts a pod that hangs again after a minute: by then it is known
/// that it hung.
const SOON: Duration = Duration::from_secs(10);
/// The longest pause between two questions.
const IDLE: Duration = Duration::from_mins(2);
/// Resources whose pods are asked at the same time.
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
        let new = || Followed { addresses: Vec::new(), account: begin(), wait: self.busy, due: now };
        let entry = followed.entry(name.clone()).or_insert_with(new);
        if entry.addresses != addresses {
            entry.addresses = addresses;
            (entry.wait, entry.due) = (self.busy, now);
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

    /// Keeps only those resources that exist.
    fn keep(&self, exists: impl Fn(&NamespacedName) -> bool) {
        self.lock().retain(|name, _| exists(name));
    }

    /// The resources whose pods are to be asked.
    fn due(&self, now: Instant) -> Vec<(NamespacedName, Vec<String>)> {
        let followed = self.lock();
        let due = followed.iter().filter(|(_, entry)| entry.due <= now);
        due.map(|(name, entry)| (name.clone(), entry.addresses.clone())).collect()
    }

    /// Takes answers, and puts the next question off the longer, the longer nothing happens.
    fn take<N>(&self, name: &NamespacedName, take: impl FnOnce(&mut A) -> Heard<N>) -> Option<N> {
        let mut followed = self.lock();
        let entry = followed.get_mut(name)?;
        let Heard { pace, news } = take(&mut entry.account);
        entry.wait = match pace {
            Pace::Soon | Pace::Busy => self.busy,
            Pace::Idle => (entry.wait * 2).min(IDLE.max(self.busy)),
        };
        let pause = if pace == Pace::Soon { SOON.min(entry.wait) } else { entry.wait };
        entry.due = Instant::now() + pause;
        Some(news)
    }

    /// What each statement leaves is whole, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, HashMap<NamespacedName, Followed<A>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for ever.
pub async fn run<K: Asked>(context: Arc<Context>) {
    const LOOK: Duration = Duration::from_secs(2);
    let rounds = K::rounds(&context);
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        rounds.keep(|name| K::watched(&context).get(name).is_some());
        let due = rounds.due(Instant::now());
        stream::iter(due)
            .for_each_concurrent(AT_ONCE, |(name, addresses)| ask::<K>(&context, rounds, name, addresses))
            .await;
    }
}

async fn ask<K: Asked>(context: &Context, rounds: &Rounds<K::Account>, name: NamespacedName, addresses: Vec<String>) {
    let path = K::path(context, &name);
    let answers = join_all(addresses.iter().map(|address| context.asker.ask::<K::Answer>(address, &path))).await;
    if let Some(news) = rounds.take(&name, |account| K::take(account, &answers)) {
        K::tell(context, &name, news).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_idle_is_asked_ever_more_seldom_until_something_happens() {
        let rounds = Rounds::new(Duration::from_secs(30));
        let name = NamespacedName { namespace: "shop".into(), name: "to-api".into() };
        let is_due = || !rounds.due(Instant::now()).is_empty();
        let answered = |pace| rounds.take(&name, |()| Heard { pace, news: () }).unwrap();
        let follow = |addresses: &[&str]| {
            rounds.follow(&name, addresses.iter().map(|&one| one.to_owned()).collect(), || (), |()| ());
        };
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
}
