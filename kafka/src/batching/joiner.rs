//! Waits for others to come along, sends them together, and hands each caller its answer.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    Batching, TopicError,
    backlog::{Asker, Backlog, Request},
    company::Company,
};
use crate::{ErrorCode, KafkaError};

/// A batch waits no longer than so many times for who comes next, however many come along.
const MOST_WAITS: u32 = 40;
/// Where many come, each is waited for so many lingers at most.
const MOST_PATIENCE: usize = 10;
/// While others are about to come, a batch waits so many lingers for each of the crowd, and in all no longer than `MOST_LINGERS`: two
/// and a half seconds by default, in which an API server that gives out fifty topics a second gives out more than a hundred.
const LINGERS_FOR_EACH: usize = 3;
const MOST_LINGERS: usize = 500;
/// So long after a batch it tells how many come.
const MEMORY: Duration = Duration::from_secs(1);

/// Joins requests of one kind. Its task ends with it, once everybody who waits is answered.
pub(super) struct Joiner<R: Request> {
    queue: Queue<R>,
    company: Company,
}

type Queue<R> = mpsc::UnboundedSender<(R, Asker<<R as Request>::Answer>)>;
type Incoming<R> = mpsc::UnboundedReceiver<(R, Asker<<R as Request>::Answer>)>;

impl<R: Request> Joiner<R> {
    /// Starts the task that joins and sends. Call it inside a Tokio runtime.
    pub(super) fn start(batching: Batching, company: Company, backend: R::Backend) -> Self {
        let (queue, incoming) = mpsc::unbounded_channel();
        let gathering = Gathering { incoming, batching, company: company.clone() };
        tokio::spawn(serve(gathering, backend));
        Self { queue, company }
    }

    /// Asks together with others, and waits for the answer.
    pub(super) async fn ask(&self, request: R) -> Result<R::Answer, TopicError> {
        let (asker, answer) = oneshot::channel();
        let _asking = self.company.asks();
        drop(self.queue.send((request, asker)));
        answer.await.unwrap_or_else(|_| Err(TopicError::Topic(closed())))
    }
}

fn closed() -> KafkaError {
    KafkaError::local(ErrorCode::DESTROYED, "the runtime that carries Kafka requests has ended")
}

/// Where a joiner gathers its batches.
struct Gathering<R: Request> {
    incoming: Incoming<R>,
    batching: Batching,
    company: Company,
}

/// One batch at a time: what comes while it is on its way goes together into the next one.
async fn serve<R: Request>(mut gathering: Gathering<R>, backend: R::Backend) {
    let mut backlog = Backlog::<R>::default();
    let mut crowd = Crowd::default();
    while gathering.gather(&mut backlog, &crowd).await {
        let batch = backlog.take(gathering.batching.max_topics);
        let topics = batch.requests.len();
        if topics > 0 {
            batch.askers.answer(R::ask(&backend, batch.requests).await);
            crowd = Crowd(Some((topics, Instant::now())));
        }
    }
}

impl<R: Request> Gathering<R> {
    /// Waits for a first request and, while it pays, for others; says whether there is anything to do.
    async fn gather(&mut self, backlog: &mut Backlog<R>, crowd: &Crowd) -> bool {
        const { assert!(R::PATIENCE <= MOST_PATIENCE) };
        let Batching { max_topics, linger } = self.batching;
        if backlog.len() == 0 {
            let Some((request, asker)) = self.incoming.recv().await else { return false };
            backlog.push(request, asker);
        }
        let first = Instant::now();
        let known = crowd.topics(first);
        let mut latest = first;
        while backlog.len() < max_topics {
            let coming = self.company.coming();
            let wait = Wait {
                first,
                latest,
                patience: known.clamp(R::PATIENCE, MOST_PATIENCE),
                known,
                waiting: backlog.len(),
                coming,
            };
            tokio::select! {
                biased;
                next = self.incoming.recv() => {
                    let Some((request, asker)) = next else { break };
                    backlog.push(request, asker);
                    latest = Instant::now();
                }
                () = self.company.is_not(coming) => latest = Instant::now(),
                () = sleep_until(wait.end(linger)) => break,
            }
        }
        true
    }
}

/// How many came together last, and when they were answered.
#[derive(Default)]
struct Crowd(Option<(usize, Instant)>);

impl Crowd {
    /// How many that were at `now`: nobody who asks alone waits for a crowd that has gone.
    fn topics(&self, now: Instant) -> usize {
        self.0.filter(|(_, answered)| now - *answered < MEMORY).map_or(0, |(topics, _)| topics)
    }
}

/// What tells how long a batch waits.
#[derive(Clone, Copy)]
struct Wait {
    /// When its first request came.
    first: Instant,
    /// When anybody came or went last.
    latest: Instant,
    /// How many lingers it waits for who comes next, where nobody else is about to.
    patience: usize,
    /// How many came together a moment ago. More will, and who waits for them makes the next batch as large.
    known: usize,
    /// How many are together now.
    waiting: usize,
    /// How many others may come.
    coming: usize,
}

impl Wait {
    /// When the batch goes if nothing happens. While others may come it waits for them, the longer the larger the crowd; where nobody
    /// may, for as long as a request takes that comes out of nothing.
    fn end(self, linger: Duration) -> Instant {
        let lingers = |count: usize| linger.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        if self.coming > 0 {
            let crowd = self.known + self.waiting + self.coming;
            return self.first + lingers((crowd * LINGERS_FOR_EACH).min(MOST_LINGERS));
        }
        let patience = lingers(self.patience);
        (self.first + patience.saturating_mul(MOST_WAITS)).min(self.latest + patience)
    }
}

#[cfg(test)]
mod tests;
