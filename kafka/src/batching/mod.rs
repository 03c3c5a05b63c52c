//! Admin calls about single topics, joined into requests about many.
//!
//! A broker takes 35 requests a second that each create one topic, and one request that creates a thousand in a tenth of a
//! second. Callers should not have to know: each asks about its own topic, and those that ask at about the same time share
//! a request.
//!
//! - `backlog`: which of the waiting requests go together. Pure.
//! - `company`: who else is about to ask.
//! - `joiner`: waits for others to come along, sends, and hands each caller its answer.
//! - `requests`: what can be asked.

mod backlog;
mod company;
mod joiner;
mod requests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub use company::{Company, Presence};
pub use requests::Deletion;

use self::{
    joiner::Joiner,
    requests::{AlterConfig, Create, Delete, Describe, DescribeOwnConfig, Grow},
};
use crate::{Admin, ConfigChange, Error, KafkaError, NewTopic, TopicDescription};

/// How calls are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// How many topics one request speaks of at most. 1,000 by default: a broker answers such a request in about 0.1 s, and
    /// larger ones gain nothing.
    pub max_topics: usize,
    /// How long the latest call of a batch waits for another one: 5 ms by default, four times that where topics are made, and up to ten times
    /// where many came a moment ago; a batch no longer than forty times that. Calls that come while a batch is on its way go together into the next one.
    ///
    /// While others of the [`Company`] are about to ask, a batch waits for them: three lingers for each who waits, came a moment ago or may
    /// come, at most 500 lingers. Once nobody else may come it waits no longer than as if there were none.
    pub linger: Duration,
}

/// A client for admin calls about single topics. Clones share its connections and its batches.
///
/// Each kind of call has one request on its way at a time. A call whose future is dropped is not carried out, unless its
/// batch is on its way already. No call waits for another one's topic: what Kafka says about one is that one's own answer.
#[derive(Clone)]
pub struct TopicAdmin {
    admin: Admin,
    joiners: Arc<Joiners>,
}

struct Joiners {
    describe: Joiner<Describe>,
    describe_own_config: Joiner<DescribeOwnConfig>,
    create: Joiner<Create>,
    grow: Joiner<Grow>,
    alter_config: Joiner<AlterConfig>,
    delete: Joiner<Delete>,
}

/// Why a call about one topic came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TopicError {
    /// What Kafka said about this topic.
    #[error(transparent)]
    Topic(#[from] KafkaError),
    /// There is no answer to the request that the topic was part of.
    #[error(transparent)]
    Request(#[from] Error),
}

impl Default for Batching {
    fn default() -> Self {
        Self { max_topics: 1000, linger: Duration::from_millis(5) }
    }
}

impl TopicAdmin {
    /// Joins calls over the connections of `admin`. Call it inside a Tokio runtime, which carries the batches.
    pub fn new(admin: Admin, batching: Batching) -> Self {
        Self::in_company(admin, batching, &Company::default())
    }

    /// The same, where batches wait for those of a company who may ask soon. Calls of others are waited for as always.
    pub fn in_company(admin: Admin, batching: Batching, company: &Company) -> Self {
        let joiners = Joiners {
            describe: Joiner::start(batching, company.clone(), admin.clone()),
            describe_own_config: Joiner::start(batching, company.clone(), admin.clone()),
            create: Joiner::start(batching, company.clone(), admin.clone()),
            grow: Joiner::start(batching, company.clone(), admin.clone()),
            alter_config: Joiner::start(batching, company.clone(), admin.clone()),
            delete: Joiner::start(batching, company.clone(), admin.clone()),
        };
        Self { admin, joiners: Arc::new(joiners) }
    }

    /// The same connections, for calls that are about many things anyway.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// See [`Admin::describe_topics`].
    pub async fn describe(&self, topic: &str) -> Result<Option<TopicDescription>, TopicError> {
        self.joiners.describe.ask(Describe(topic.to_owned())).await
    }

    /// See [`Admin::describe_own_configs`]. Without keys nothing is asked.
    pub async fn describe_own_config(
        &self,
        topic: &str,
        keys: Vec<String>,
    ) -> Result<BTreeMap<String, String>, TopicError> {
        if keys.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.joiners.describe_own_config.ask(DescribeOwnConfig { topic: topic.to_owned(), keys }).await
    }

    /// See [`Admin::create_topics`]. Of two calls for the same name the second is told that the topic exists.
    pub async fn create(&self, topic: NewTopic) -> Result<(), TopicError> {
        self.joiners.create.ask(Create(topic)).await
    }

    /// See [`Admin::create_partitions`].
    pub async fn grow(&self, topic: &str, total: i32) -> Result<(), TopicError> {
        self.joiners.grow.ask(Grow { topic: topic.to_owned(), total }).await
    }

    /// See [`Admin::alter_configs_incrementally`].
    pub async fn alter_config(&self, topic: &str, changes: Vec<ConfigChange>) -> Result<(), TopicError> {
        self.joiners.alter_config.ask(AlterConfig { topic: topic.to_owned(), changes }).await
    }

    /// See [`Admin::delete_topics`]; deletes only the topic with that id. Kafka deletes by name, so the topics of a batch are described
    /// directly before: between the two requests somebody may still put another one in its place.
    pub async fn delete(&self, topic: &str, id: &str) -> Result<Deletion, TopicError> {
        self.joiners.delete.ask(Delete { topic: topic.to_owned(), id: id.to_owned() }).await
    }
}
