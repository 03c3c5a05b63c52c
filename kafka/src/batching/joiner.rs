//! Waits for others to come along, sends them together, and hands each caller its answer.

use std::time::Duration;

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::{
    Batching, TopicError,
    backlog::{Asker, Backlog, Request},
};
use crate::{ErrorCode, KafkaError};

/// A batch waits no longer than so many lingers, however many come along.
const MOST_LINGERS: u32 = 40;
/// Where many come, each is waited for so many times longer at most.
const MOST_PATIENCE: usize = 10;
/// So long after a batch it tells how many come.
const MEMORY: Duration = Duration::from_secs(1);

/// Joins requests of one kind. Its task ends with it, once everybody who waits is answered.
pub(super) struct Joiner<R: Request> {
    queue: Queue<R>,
}

type Queue<R> = mpsc::UnboundedSender<(R, Asker<<R as Request>::Answer>)>;
type Incoming<R> = mpsc::UnboundedReceiver<(R, Asker<<R as Request>::Answer>)>;

impl<R: Request> Joiner<R> {
    /// Starts the task that joins and sends. Call it inside a Tokio runtime.
    pub(super) fn start(batching: Batching, backend: R::Backend) -> Self {
        let (queue, incoming) = mpsc::unbounded_channel();
        tokio::spawn(serve(incoming, batching, backend));
        Self { queue }
    }

    /// Asks together with others, and waits for the answer.
    pub(super) async fn ask(&self, request: R) -> Result<R::Answer, TopicError> {
        let (asker, answer) = oneshot::channel();
        drop(self.queue.send((request, asker)));
        answer.await.unwrap_or_else(|_| Err(TopicError::Topic(closed())))
    }
}

fn closed() -> KafkaError {
    KafkaError::local(ErrorCode::DESTROYED, "the runtime that carries Kafka requests has ended")
}

/// One batch at a time: what comes while it is on its way goes together into the next one.
async fn serve<R: Request>(mut incoming: Incoming<R>, batching: Batching, backend: R::Backend) {
    let mut backlog = Backlog::<R>::default();
    let mut crowd = Crowd::default();
    while gather(&mut incoming, &mut backlog, batching, &crowd).await {
        let batch = backlog.take(batching.max_topics);
        let topics = batch.requests.len();
        if topics > 0 {
            batch.askers.answer(R::ask(&backend, batch.requests).await);
            crowd = Crowd(Some((topics, Instant::now())));
        }
    }
}

/// How many came together last, and when they were answered.
#[derive(Default)]
struct Crowd(Option<(usize, Instant)>);

impl Crowd {
    /// How long a further request is waited for at `now`. Where many came a moment ago, more will: who waits for them makes the
    /// next batch as large, and nobody who asks alone waits for a crowd that has gone.
    fn linger(&self, linger: Duration, now: Instant) -> Duration {
        let topics = self.0.filter(|(_, answered)| now - *answered < MEMORY).map_or(1, |(topics, _)| topics);
        linger.saturating_mul(u32::try_from(topics.min(MOST_PATIENCE)).unwrap_or(1))
    }
}

/// Waits for a first request, and as long as each further one comes within the linger of the one before; says whether there is
/// anything to do.
async fn gather<R: Request>(
    incoming: &mut Incoming<R>,
    backlog: &mut Backlog<R>,
    batching: Batching,
    crowd: &Crowd,
) -> bool {
    if backlog.len() == 0 {
        let Some((request, asker)) = incoming.recv().await else { return false };
        backlog.push(request, asker);
    }
    let linger = crowd.linger(batching.linger, Instant::now());
    let end = Instant::now() + linger.saturating_mul(MOST_LINGERS);
    while backlog.len() < batching.max_topics {
        let deadline = end.min(Instant::now() + linger);
        let Ok(Some((request, asker))) = timeout_at(deadline, incoming.recv()).await else { break };
        backlog.push(request, asker);
    }
    true
}

#[cfg(test)]
mod tests;
