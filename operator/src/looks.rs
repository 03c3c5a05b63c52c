//! One look for all who need it at about the same time.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, Mutex as ShortMutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Mutex;

use crate::error::Error;

/// Looks at things by their name. Who asks while a look is under way waits for the next one, which is for all who wait by then: nobody
/// gets what was seen before he asked.
#[derive(Debug)]
pub struct Looks<K, T>(ShortMutex<HashMap<K, Weak<Place<T>>>>);

/// Where a thing is looked at, as long as anybody waits.
#[derive(Debug)]
struct Place<T> {
    /// How many looks have begun.
    begun: AtomicU64,
    last: Mutex<Option<Look<T>>>,
}

#[derive(Debug)]
struct Look<T> {
    number: u64,
    seen: Result<Arc<T>, Error>,
}

impl<K, T> Default for Looks<K, T> {
    fn default() -> Self {
        Self(ShortMutex::default())
    }
}

impl<T> Default for Place<T> {
    fn default() -> Self {
        Self { begun: AtomicU64::new(0), last: Mutex::const_new(None) }
    }
}

impl<K: Eq + Hash, T> Looks<K, T> {
    /// What is seen by `look`, or by somebody else's that begins after this call.
    pub async fn at(&self, name: K, look: impl Future<Output = Result<T, Error>>) -> Result<Arc<T>, Error> {
        let place = self.place(name);
        let too_early = place.begun.load(Ordering::Acquire);
        // First come, first served.
        let mut last = place.last.lock().await;
        if let Some(last) = last.as_ref().filter(|last| last.number > too_early) {
            return last.seen.clone();
        }
        let number = place.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let seen = look.await.map(Arc::new);
        *last = Some(Look { number, seen: seen.clone() });
        seen
    }

    fn place(&self, name: K) -> Arc<Place<T>> {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(&name).and_then(Weak::upgrade) {
            return place;
        }
        places.retain(|_, place| place.strong_count() > 0);
        let place = Arc::default();
        places.insert(name, Arc::downgrade(&place));
        place
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::{
        future::{join, join_all},
        poll,
    };
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn who_asks_during_a_look_shares_the_next_one() {
        let (looks, count) = (Looks::default(), AtomicU64::new(1));
        let look = || async { Ok(count.fetch_add(1, Ordering::Relaxed)) };
        let (end, ended) = oneshot::channel();
        let first = looks.at("shop", async {
            ended.await.unwrap();
            Ok(0)
        });
        let later = async {
            let mut later = pin!(join_all((0..10).map(|_| looks.at("shop", look()))));
            assert!(poll!(&mut later).is_pending());
            end.send(()).unwrap();
            later.await
        };
        let (first, later) = join(first, later).await;
        assert_eq!(*first.unwrap(), 0);
        assert!(later.into_iter().all(|seen| *seen.unwrap() == 1));
        assert_eq!(*looks.at("shop", look()).await.unwrap(), 2, "nothing is kept for those who ask later");
        assert_eq!(*looks.at("bank", look()).await.unwrap(), 3);
        assert_eq!(looks.0.lock().unwrap().len(), 1, "names are forgotten");
    }

    #[tokio::test]
    async fn a_look_that_fails_fails_for_all_who_waited_for_it() {
        let (looks, count) = (Looks::<_, ()>::default(), AtomicU64::new(0));
        let look = || async {
            count.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Err(Error::Stale)
        };
        let seen = join_all((0..10).map(|_| looks.at("shop", look()))).await;
        assert!(seen.iter().all(|seen| matches!(seen, Err(Error::Stale))));
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }
}
