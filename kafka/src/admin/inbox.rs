//! One thread per client that hands each answer of librdkafka to whoever waits for it, and another client after one that got none.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    thread,
    time::{Duration, Instant},
};

use rdkafka::ClientConfig;
use tokio::sync::oneshot;
use tracing::{debug, warn};

use crate::{
    Error, ErrorCode, KafkaError,
    native::{Call, Client, Event, EventKind, Ticket},
    trouble::Trouble,
    write_log_line,
};

/// An inbox, and a new one in its place where its client got no answer: librdkafka goes on for minutes to ask the controller, and the
/// coordinator of a group, that it knew, also while that broker is away and others have taken its place.
pub(super) struct Line {
    config: ClientConfig,
    inbox: RwLock<Arc<Inbox>>,
}

/// How long a client is left to connect before another one takes its place: longer than one connection may take to be set up.
const YOUTH: Duration = Duration::from_secs(15);

/// A client and the thread that empties its queue. When dropped, the thread destroys the client: that can take a moment.
pub(super) struct Inbox {
    /// `None` only while being dropped.
    desk: Option<Arc<Desk>>,
    farewell: Farewell,
    opened: Instant,
}

/// Where the inbox leaves its share of the client when it goes.
///
/// The thread takes it from here, so that it is always the last to hold the client and destroys it, never a caller's thread.
type Farewell = Arc<Mutex<Option<Arc<Desk>>>>;

/// What the inbox shares with its thread.
struct Desk {
    client: Client,
    waiting: Mutex<Waiting>,
    trouble: Trouble,
}

/// What is kept until a call is answered, whether anybody still waits for that or not.
pub(super) type Kept = Box<dyn Send>;

/// A call that is under way.
struct Asked {
    answer: oneshot::Sender<Event>,
    _kept: Kept,
}

#[derive(Default)]
struct Waiting {
    last_ticket: usize,
    asked: HashMap<Ticket, Asked>,
}

impl Line {
    pub(super) fn open(config: ClientConfig) -> Result<Self, Error> {
        let inbox = RwLock::new(Arc::new(Inbox::open(&config)?));
        Ok(Self { config, inbox })
    }

    pub(super) fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Calls that are under way go on in the one that was `silent`. A young one stays: it may be about to connect.
    pub(super) fn replace(&self, silent: &Arc<Inbox>) {
        let mut inbox = self.inbox.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&inbox, silent) || silent.opened.elapsed() < YOUTH {
            return;
        }
        match Inbox::open(&self.config) {
            Ok(new) => {
                debug!("A new Kafka client takes the place of one that got no answer");
                *inbox = Arc::new(new);
            }
            Err(error) => warn!("No new Kafka client in place of one that gets no answer: {error}"),
        }
    }
}

impl Inbox {
    fn open(config: &ClientConfig) -> Result<Self, Error> {
        let client = Client::new(config)?;
        let desk = Arc::new(Desk { client, waiting: Mutex::default(), trouble: Trouble::default() });
        let farewell = Farewell::default();
        let (theirs, ours) = (Arc::clone(&desk), Arc::clone(&farewell));
        thread::Builder::new()
            .name("kafka-admin".into())
            .spawn(move || empty_queue(&theirs, &ours))
            .map_err(|error| Error::Settings(format!("the system allows no further thread: {error}")))?;
        Ok(Self { desk: Some(desk), farewell, opened: Instant::now() })
    }

    /// Sends what `submit` asks for and waits for the answer. An error comes with the connection's latest trouble.
    pub(super) async fn request(
        &self,
        timeout: Duration,
        kept: Kept,
        submit: impl FnOnce(Call<'_>),
    ) -> Result<Event, (KafkaError, Option<KafkaError>)> {
        let desk = self.desk.as_ref().expect("taken only by drop");
        let (ticket, answer) = desk.expect_answer(kept);
        submit(Call { client: &desk.client, ticket, timeout });
        let event = answer.await.map_err(|_| (closed(), None))?;
        match event.whole_request() {
            Ok(()) => Ok(event),
            Err(error) => Err((error, desk.trouble.latest())),
        }
    }
}

fn closed() -> KafkaError {
    KafkaError::local(ErrorCode::DESTROYED, "the client was closed")
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut farewell = locked(&self.farewell);
        if let Some(desk) = self.desk.take() {
            // Woken, the thread looks for the farewell and waits for this lock.
            desk.client.wake();
            *farewell = Some(desk);
        }
    }
}

/// The thread's whole life.
fn empty_queue(desk: &Desk, farewell: &Farewell) {
    loop {
        match desk.client.next_event() {
            Some(event) => desk.handle(event),
            None if locked(farewell).take().is_some() => return,
            None => {}
        }
    }
}

impl Desk {
    fn expect_answer(&self, kept: Kept) -> (Ticket, oneshot::Receiver<Event>) {
        let (answer, answered) = oneshot::channel();
        let mut waiting = locked(&self.waiting);
        waiting.last_ticket += 1;
        let ticket = Ticket(waiting.last_ticket);
        waiting.asked.insert(ticket, Asked { answer, _kept: kept });
        (ticket, answered)
    }

    fn handle(&self, event: Event) {
        match event.kind() {
            EventKind::Answer(ticket) => self.hand_over(ticket, event),
            EventKind::Trouble(error) => self.trouble.remember(error),
            EventKind::LogLine { level, facility, line } => write_log_line(level, &facility, &line),
        }
    }

    fn hand_over(&self, ticket: Ticket, event: Event) {
        if event.whole_request().is_ok() {
            self.trouble.forget();
        }
        if let Some(asked) = locked(&self.waiting).asked.remove(&ticket) {
            // Nobody waits any longer where the future was dropped.
            drop(asked.answer.send(event));
        }
    }
}

/// What the lock guards is whole after each statement, so a panic elsewhere does not spoil it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_got_no_answer_is_replaced_once_and_not_while_it_is_young() {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "127.0.0.1:9");
        let mut inbox = Inbox::open(&config).unwrap();
        inbox.opened -= YOUTH;
        let (old, line) = (Arc::new(inbox), Line::open(config).unwrap());
        *line.inbox.write().unwrap() = Arc::clone(&old);
        line.replace(&old);
        let young = line.inbox();
        assert!(!Arc::ptr_eq(&young, &old));
        for silent in [&old, &young] {
            line.replace(silent);
            assert!(Arc::ptr_eq(&line.inbox(), &young));
        }
    }
}
