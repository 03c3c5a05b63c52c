//! Admin calls: what a Kafka cluster has and what is to change, many things in each request.
//!
//! - `inbox`: one thread per client that hands each answer to whoever waits for it, and a new client after one that got none.
//! - `count`: how many requests were made, and how they ended.
//! - `outage`: while a cluster does not answer, one call at a time finds out and all others fail at once.
//! - `rights`: what a user has to be allowed for a call, said where Kafka refuses it.
//! - `batch`: what every answer about many topics, groups or partitions has in common.
//! - `cluster`, `topics`, `configs`, `offsets`, `groups`: the calls.

mod batch;
mod cluster;
mod configs;
mod count;
mod groups;
mod inbox;
mod offsets;
mod outage;
mod rights;
mod topics;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use sluice_crds::KafkaConnection;

pub use batch::{PerPartition, PerTopic, TopicPartition};
pub use cluster::{Broker, ClusterDescription};
pub use configs::{ConfigChange, ConfigEntry, ConfigSource};
pub use count::Made;
pub use groups::{GroupDescription, GroupMember, GroupState};
pub use offsets::{CommittedOffset, OffsetAt};
pub use topics::{NewTopic, PartitionDescription, TopicDescription};

use self::{
    batch::{Answers, Batch},
    count::Counts,
    inbox::{Inbox, Kept, Line},
    outage::{Attempt, Outage},
    rights::{Task, principal, with_advice},
};
use crate::{
    Error, KafkaError, client_config,
    native::{Call, Event},
};

/// A client for admin calls. Clones share its connections; calls may run at the same time, as many as one likes.
///
/// A call gives [`Error`] when there is no answer as a whole; what a broker says about one topic, partition or group of
/// many stands in the answer and holds up no other. A call whose future is dropped is carried out all the same.
///
/// A call that is not answered is followed by others over new connections, which ask the given servers who takes them.
///
/// Once a call found that the cluster does not answer, one call a second tries again and all others fail at once with what
/// it came to, until one is answered.
#[derive(Clone)]
pub struct Admin {
    line: Arc<Line>,
    outage: Arc<Outage>,
    principal: Arc<str>,
    counts: Arc<Counts>,
    timeout: Duration,
    permit: Arc<dyn Fn(bool) -> Option<Kept> + Send + Sync>,
}

/// An answer, the attempt that got it, and where it came in.
struct Answered<'a> {
    event: Event,
    attempt: Attempt<'a>,
    inbox: Arc<Inbox>,
}

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

impl Admin {
    /// Makes a client. It connects in the background: an unreachable cluster is the first call's error, not this one's.
    ///
    /// Errors: [`Error::File`] and [`Error::Settings`], as [`client_config`].
    pub fn connect(connection: &KafkaConnection) -> Result<Self, Error> {
        let config = client_config(connection)?;
        Ok(Self {
            principal: principal(connection, &config).into(),
            line: Arc::new(Line::open(config)?),
            outage: Arc::default(),
            counts: Arc::default(),
            timeout: DEFAULT_TIMEOUT,
            permit: Arc::new(|_| Some(Box::new(()))),
        })
    }

    /// The same client with another timeout for each call; 10 s by default.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The same client, which sends nothing without a permit: each call asks for one right before it is sent, says whether it may change
    /// something, and keeps it until the answer is there, whether anybody still waits for that or not. Without one it gives [`Error::NotAllowed`].
    #[must_use]
    pub fn only_with<P: Send + 'static>(self, permit: impl Fn(bool) -> Option<P> + Send + Sync + 'static) -> Self {
        Self { permit: Arc::new(move |changes| Some(Box::new(permit(changes)?))), ..self }
    }

    /// Whether the cluster answered when it was last asked; true before the first call.
    pub fn is_answering(&self) -> bool {
        self.outage.is_answering()
    }

    /// The same client, which goes on where `other` is: it counts on, and knows whether the cluster answers.
    #[must_use]
    pub fn in_place_of(self, other: &Self) -> Self {
        Self { counts: Arc::clone(&other.counts), outage: Arc::clone(&other.outage), ..self }
    }

    /// How many requests were made so far. One about many topics counts once; what is said about single ones does not count.
    pub fn requests_made(&self) -> BTreeMap<Made, u64> {
        self.counts.so_far()
    }

    /// Asks for a whole batch and adds what was refused before it was asked; an error where nobody answers about any.
    async fn ask<R, T>(
        &self,
        task: Task,
        batch: Batch<R>,
        submit: fn(Call<'_>, &[R]),
        read: fn(&Event) -> BTreeMap<String, Result<T, KafkaError>>,
    ) -> Result<BTreeMap<String, Result<T, KafkaError>>, Error> {
        let Batch { requests, refused } = batch;
        let mut answers = BTreeMap::new();
        if !requests.is_empty() {
            let submit = move |call: Call<'_>| submit(call, &requests);
            let Answers { each, silence } = self.request_each(task.doing, task.changes, submit, read).await?;
            if let Some(error) = silence {
                return Err(Error::of_request(task.doing, self.timeout, error, None));
            }
            answers = each;
        }
        let advise = |(name, answer): (String, Result<T, KafkaError>)| {
            let answer = answer.map_err(|error| with_advice(error, task, &self.principal, &name));
            (name, answer)
        };
        let mut answers: BTreeMap<_, _> = answers.into_iter().map(advise).collect();
        answers.extend(refused.into_iter().map(|(name, error)| (name, Err(error))));
        Ok(answers)
    }

    /// The error of a call about one thing, with what a Kafka administrator can do about it.
    fn advise(&self, error: Error, task: Task, name: &str) -> Error {
        match error {
            Error::Refused { doing, error } => {
                Error::Refused { doing, error: with_advice(error, task, &self.principal, name) }
            }
            other => other,
        }
    }

    /// Sends what `submit` asks for and waits for the answer; `doing` names it in errors, and `changes` says whether it may change
    /// something.
    async fn request(&self, doing: &'static str, changes: bool, submit: impl FnOnce(Call<'_>)) -> Result<Event, Error> {
        let Answered { event, attempt, .. } = self.send(doing, changes, submit).await?;
        attempt.end(None, Instant::now());
        Ok(event)
    }

    /// The same of many things, of which `read` tells what was answered about each. Where no broker has answered, that says nothing about the
    /// cluster: those that were not asked may.
    async fn request_each<K, T>(
        &self,
        doing: &'static str,
        changes: bool,
        submit: impl FnOnce(Call<'_>),
        read: impl FnOnce(&Event) -> BTreeMap<K, Result<T, KafkaError>>,
    ) -> Result<Answers<K, T>, Error> {
        let Answered { event, attempt, inbox } = self.send(doing, changes, submit).await?;
        let answers = Answers::of(read(&event));
        if answers.silence.is_some() {
            self.line.replace(&inbox);
            attempt.end_unknown(Instant::now());
        } else {
            attempt.end(None, Instant::now());
        }
        Ok(answers)
    }

    async fn send(
        &self,
        doing: &'static str,
        changes: bool,
        submit: impl FnOnce(Call<'_>),
    ) -> Result<Answered<'_>, Error> {
        let attempt = self.outage.begin(Instant::now()).map_err(|error| error.while_doing(doing))?;
        let Some(permit) = (self.permit)(changes) else { return Err(Error::NotAllowed { doing }) };
        let count = self.counts.begin(doing);
        let inbox = self.line.inbox();
        // Whoever drops this call does not end its client, which another one may have replaced meanwhile.
        let kept = Box::new((permit, Arc::clone(&inbox)));
        let answer = inbox.request(self.timeout, kept, submit).await;
        let answer = answer.map_err(|(error, trouble)| Error::of_request(doing, self.timeout, error, trouble));
        count.end(answer.as_ref().err());
        match answer {
            Ok(event) => Ok(Answered { event, attempt, inbox }),
            Err(error) => {
                if error.is_silence() {
                    self.line.replace(&inbox);
                }
                attempt.end(Some(&error), Instant::now());
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::*;

    struct Told(UnboundedSender<()>);

    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }

    #[tokio::test]
    async fn a_permit_is_kept_until_a_call_is_answered_whether_anybody_waits_or_not() {
        let nobody = KafkaConnection { bootstrap_servers: vec!["127.0.0.1:9".into()], ..KafkaConnection::default() };
        let (given, mut back) = unbounded_channel();
        let admin = Admin::connect(&nobody).unwrap().with_timeout(Duration::from_secs(1));
        let admin = admin.only_with(move |_| Some(Told(given.clone())));
        {
            let mut call = pin!(admin.delete_groups(&["shop.to-api"]));
            assert!(poll!(&mut call).is_pending());
        }
        assert!(back.try_recv().is_err(), "it may still be carried out");
        assert_eq!(back.recv().await, Some(()));
    }
}
