//! Access tokens: one for all requests, fetched anew before it expires, and by one request for all that wait.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::time::Instant;

use crate::sink::DeliveryError;

/// Gives tokens, and fetches them where it has none.
pub(crate) struct Tokens(Arc<Inner>);

/// An access token.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// From when on it is fetched anew; `None` where nobody said when it expires.
    renew_at: Option<Instant>,
    expires_at: Option<Instant>,
}

struct Inner {
    fetch: Fetch,
    state: Mutex<State>,
}

type Fetch = Box<dyn Fn() -> BoxFuture<'static, Fetched> + Send + Sync>;
type Fetched = Result<Arc<Token>, DeliveryError>;

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    /// A fetch that is under way.
    fetching: Option<Shared<BoxFuture<'static, Fetched>>>,
    /// The last fetch, where it failed, and when.
    failed: Option<(Instant, DeliveryError)>,
}

/// The longest time before its expiry at which a token is fetched anew, and the part of its life.
const MARGIN: (Duration, u32) = (Duration::from_mins(1), 4);
/// How long a fetch that failed speaks for those after it.
const PAUSE: Duration = Duration::from_secs(1);

impl Token {
    /// A token that was given now, for so long.
    pub(crate) fn new(text: String, lifetime: Option<Duration>) -> Self {
        let now = Instant::now();
        let (most, part) = MARGIN;
        // An end that lies beyond all clocks is none.
        let expires_at = lifetime.and_then(|lifetime| now.checked_add(lifetime));
        let margin = lifetime.map_or(Duration::ZERO, |lifetime| most.min(lifetime / part));
        let renew_at = expires_at.map(|at| at.checked_sub(margin).unwrap_or(at));
        Self { text, renew_at, expires_at }
    }
}

impl Tokens {
    pub(crate) fn new(fetch: impl Fn() -> BoxFuture<'static, Fetched> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { fetch: Box::new(fetch), state: Mutex::default() }))
    }

    /// A token to use now; another one than the one that was refused. A fetch that fails matters only where there is no token
    /// that can still be used.
    pub(crate) async fn current(&self, refused: Option<&Arc<Token>>) -> Fetched {
        let fetching = {
            let mut state = self.0.state();
            let now = Instant::now();
            let is_before = |at: Option<Instant>| at.is_none_or(|at| now < at);
            let is_other = |token: &Arc<Token>| refused.is_none_or(|refused| !Arc::ptr_eq(token, refused));
            let token = state.token.clone().filter(|token| is_before(token.expires_at) && is_other(token));
            match (token, &state.failed) {
                (Some(token), _) if is_before(token.renew_at) => return Ok(token),
                (Some(token), Some((at, _))) if now < *at + PAUSE => return Ok(token),
                (None, Some((at, error))) if now < *at + PAUSE => return Err(error.clone()),
                _ => {}
            }
            state.fetching.get_or_insert_with(|| fetch(Arc::clone(&self.0))).clone()
        };
        fetching.await.or_else(|error| self.0.usable(refused).ok_or(error))
    }
}

impl Inner {
    fn usable(&self, refused: Option<&Arc<Token>>) -> Option<Arc<Token>> {
        let token = self.state().token.clone()?;
        let is_refused = refused.is_some_and(|refused| Arc::ptr_eq(&token, refused));
        let is_expired = token.expires_at.is_some_and(|at| at <= Instant::now());
        (!is_refused && !is_expired).then_some(token)
    }

    /// Nothing panics while it is held; if it did, what is in it would still be whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One fetch, for all who wait for it: who gives up waiting does not end it for the others.
fn fetch(inner: Arc<Inner>) -> Shared<BoxFuture<'static, Fetched>> {
    let fetch = async move {
        let fetched = (inner.fetch)().await;
        let mut state = inner.state();
        state.fetching = None;
        match &fetched {
            Ok(token) => (state.token, state.failed) = (Some(Arc::clone(token)), None),
            Err(error) => state.failed = Some((Instant::now(), error.clone())),
        }
        fetched
    };
    fetch.boxed().shared()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use futures::future::join_all;
    use tokio::time::advance;

    use super::*;
    use crate::retry::Failure;

    /// A server that gives the tokens `1`, `2` and so on.
    #[derive(Clone, Default)]
    struct Server {
        fetches: Arc<AtomicUsize>,
        is_away: Arc<AtomicBool>,
    }

    impl Server {
        fn tokens(&self, lifetime: Option<u64>) -> Tokens {
            let server = self.clone();
            Tokens::new(move || {
                let server = server.clone();
                async move {
                    tokio::task::yield_now().await;
                    let number = server.fetches.fetch_add(1, Ordering::Relaxed) + 1;
                    if server.is_away.load(Ordering::Relaxed) {
                        let failure = Failure::Passing { retry_after: None };
                        return Err(DeliveryError { failure, code: "Token".into(), message: number.to_string() });
                    }
                    Ok(Arc::new(Token::new(number.to_string(), lifetime.map(Duration::from_secs))))
                }
                .boxed()
            })
        }

        fn fetches(&self) -> usize {
            self.fetches.load(Ordering::Relaxed)
        }
    }

    fn told(fetched: Fetched) -> Result<String, String> {
        fetched.map(|token| token.text.clone()).map_err(|error| error.message)
    }

    #[tokio::test(start_paused = true)]
    async fn one_fetch_is_for_all_who_wait_and_a_token_for_all_who_come_later() {
        let server = Server::default();
        let tokens = server.tokens(Some(300));
        let all = join_all((0..64).map(|_| tokens.current(None))).await;
        assert!(all.into_iter().all(|fetched| told(fetched).as_deref() == Ok("1")));
        advance(Duration::from_secs(239)).await;
        assert_eq!((told(tokens.current(None).await), server.fetches()), (Ok("1".into()), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_fetched_anew_before_it_expires_and_used_on_while_that_fails() {
        let server = Server::default();
        let tokens = server.tokens(Some(300));
        assert_eq!(told(tokens.current(None).await), Ok("1".into()));
        server.is_away.store(true, Ordering::Relaxed);
        advance(Duration::from_secs(241)).await;
        for _ in 0..3 {
            assert_eq!(told(tokens.current(None).await), Ok("1".into()));
        }
        assert_eq!(server.fetches(), 2, "a server that fails has its rest");
        advance(Duration::from_mins(1)).await;
        assert_eq!(told(tokens.current(None).await), Err("3".into()), "it has expired");
        assert_eq!((told(tokens.current(None).await), server.fetches()), (Err("3".into()), 3));
        server.is_away.store(false, Ordering::Relaxed);
        advance(PAUSE).await;
        assert_eq!(told(tokens.current(None).await), Ok("4".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_fetched_anew_once_however_many_were_refused() {
        let server = Server::default();
        let tokens = server.tokens(None);
        let first = tokens.current(None).await.unwrap();
        let all = join_all((0..64).map(|_| tokens.current(Some(&first)))).await;
        assert!(all.into_iter().all(|fetched| told(fetched).as_deref() == Ok("2")));
        assert_eq!(told(tokens.current(Some(&first)).await), Ok("2".into()), "somebody was faster");
        assert_eq!(server.fetches(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_does_not_end_the_fetch_for_others() {
        let server = Server::default();
        let tokens = server.tokens(None);
        let mut impatient = Box::pin(tokens.current(None));
        assert!(futures::poll!(&mut impatient).is_pending());
        drop(impatient);
        assert_eq!((told(tokens.current(None).await), server.fetches()), (Ok("1".into()), 1));
    }
}
