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
    /// Whether something happens, so that the next question should be soon.
    pub is_busy: bool,
    /// What is told.
    pub news: N,
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
        let Heard { is_busy, news } = take(&mut entry.account);
        entry.wait = if is_busy { self.busy } else { (entry.wait * 2).min(IDLE.max(self.busy)) };
        entry.due = Instant::now() + entry.wait;
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
        let answered = |is_busy| rounds.take(&name, |()| Heard { is_busy, news: () }).unwrap();
        let follow = |addresses: &[&str]| {
            rounds.follow(&name, addresses.iter().map(|&one| one.to_owned()).collect(), || (), |()| ());
        };
        follow(&["10.0.0.1"]);
        for (is_busy, seconds) in [(true, 30), (false, 60), (false, 120), (false, 120), (true, 30), (false, 60)] {
            assert!(is_due());
            answered(is_busy);
            tokio::time::advance(Duration::from_secs(seconds - 1)).await;
            assert!(!is_due(), "before {seconds} s");
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        answered(false);
        follow(&["10.0.0.1"]);
        rounds.hurry(&name);
        assert!(!is_due());
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(is_due());
        answered(true);
        follow(&["10.0.0.1", "10.0.0.2"]);
        assert!(is_due(), "another pod is asked at once");
        rounds.keep(|_| false);
        assert!(!is_due());
    }
}
