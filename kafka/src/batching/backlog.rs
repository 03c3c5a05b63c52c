//! Which of the waiting requests go together into the next batch. No clock and no I/O.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    future::Future,
};

use tokio::sync::oneshot;

use super::{TopicError, requests::Answers};
use crate::{ErrorCode, KafkaError};

/// A request about one topic that can share a request with others of its kind.
pub(super) trait Request: Send + Sized + 'static {
    /// Who answers.
    type Backend: Send + Sync + 'static;
    /// What is answered about one topic.
    type Answer: Clone + Send + 'static;
    /// What becomes of a second request about the same topic.
    const REPEATS: Repeats;
    /// How many lingers a batch waits for who comes next, at least.
    const PATIENCE: usize = 1;

    /// The topic's name.
    fn topic(&self) -> &str;

    /// How many records it adds to Kafka's metadata log at most.
    fn records(&self) -> usize {
        0
    }

    /// Asks for a whole batch.
    fn ask(backend: &Self::Backend, batch: Vec<Self>) -> impl Future<Output = Answers<Self::Answer>> + Send;
}

/// What becomes of a second request about a topic that is in the batch already: Kafka refuses a batch that repeats one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeats {
    /// It gets the same answer.
    Share,
    /// It waits for the next batch: it is another change, or the same one a second time.
    Wait,
}

/// Kafka's controller refuses a request that would make more than 10,000 records (`MAX_RECORDS_PER_USER_OP`), with an error
/// on each of its topics that does not say whose fault it is. The rest is for what it writes of its own.
const MOST_RECORDS: usize = 9_000;

/// Where an answer goes.
pub(super) type Asker<T> = oneshot::Sender<Result<T, TopicError>>;

/// The requests that wait, in the order in which they came.
pub(super) struct Backlog<R: Request>(VecDeque<(R, Asker<R::Answer>)>);

/// Requests that go together, and who waits for the answer about each topic.
pub(super) struct Batch<R: Request> {
    pub(super) requests: Vec<R>,
    records: usize,
    pub(super) askers: Askers<R::Answer>,
}

/// Who waits for the answer about each topic.
pub(super) struct Askers<T>(HashMap<String, Vec<Asker<T>>>);

impl<R: Request> Default for Backlog<R> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<R: Request> Backlog<R> {
    pub(super) fn push(&mut self, request: R, asker: Asker<R::Answer>) {
        self.0.push_back((request, asker));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes the next batch. Requests that nobody waits for any longer are dropped; those about the same topic keep their order.
    pub(super) fn take(&mut self, most_topics: usize) -> Batch<R> {
        let mut batch = Batch { requests: Vec::new(), records: 0, askers: Askers(HashMap::new()) };
        let mut later = VecDeque::new();
        while let Some((request, asker)) = self.0.pop_front() {
            if asker.is_closed() {
                continue;
            }
            if !batch.has_room_for(&request, most_topics) {
                later.push_back((request, asker));
                break;
            }
            later.extend(batch.join(request, asker));
        }
        later.append(&mut self.0);
        self.0 = later;
        batch
    }
}

impl<R: Request> Batch<R> {
    /// One request always has room: what is too large by itself is Kafka's to refuse.
    fn has_room_for(&self, request: &R, most_topics: usize) -> bool {
        self.requests.is_empty()
            || (self.requests.len() < most_topics && self.records + request.records() <= MOST_RECORDS)
    }

    /// Gives the request back where it has to wait.
    fn join(&mut self, request: R, asker: Asker<R::Answer>) -> Option<(R, Asker<R::Answer>)> {
        match self.askers.0.entry(request.topic().to_owned()) {
            Entry::Vacant(place) => {
                place.insert(vec![asker]);
                self.records += request.records();
                self.requests.push(request);
                None
            }
            Entry::Occupied(mut askers) if R::REPEATS == Repeats::Share => {
                askers.get_mut().push(asker);
                None
            }
            Entry::Occupied(_) => Some((request, asker)),
        }
    }
}

impl<T: Clone> Askers<T> {
    /// Hands out the answers. One whose asker is gone is dropped.
    pub(super) fn answer(self, answers: Answers<T>) {
        match answers {
            Ok(mut answers) => self.each(|topic| {
                let answer = answers.remove(topic).unwrap_or_else(|| Err(unanswered()));
                answer.map_err(TopicError::Topic)
            }),
            Err(error) => self.each(|_| Err(TopicError::Request(error.clone()))),
        }
    }

    fn each(self, mut answer: impl FnMut(&str) -> Result<T, TopicError>) {
        for (topic, askers) in self.0 {
            let answer = answer(&topic);
            for asker in askers {
                drop(asker.send(answer.clone()));
            }
        }
    }
}

fn unanswered() -> KafkaError {
    KafkaError::local(ErrorCode::UNKNOWN_SERVER_ERROR, "Kafka's answer says nothing about this topic")
}
