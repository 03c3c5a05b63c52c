//! What can be asked about one topic, and how many of it are asked in one request.

use std::{collections::BTreeMap, future::Future};

use super::backlog::{Repeats, Request};
use crate::{Admin, ConfigChange, Error, NewTopic, PerTopic, TopicDescription};

pub(super) struct Describe(pub(super) String);

pub(super) struct DescribeOwnConfig {
    pub(super) topic: String,
    pub(super) keys: Vec<String>,
}

pub(super) struct Create(pub(super) NewTopic);

pub(super) struct Grow {
    pub(super) topic: String,
    pub(super) total: i32,
}

pub(super) struct AlterConfig {
    pub(super) topic: String,
    pub(super) changes: Vec<ConfigChange>,
}

pub(super) struct Delete(pub(super) String);

/// What a whole batch comes to.
pub(super) type Answers<T> = Result<PerTopic<T>, Error>;

impl Request for Describe {
    type Backend = Admin;
    type Answer = Option<TopicDescription>;
    const REPEATS: Repeats = Repeats::Share;

    fn topic(&self) -> &str {
        &self.0
    }

    async fn ask(admin: &Admin, batch: Vec<Self>) -> Answers<Self::Answer> {
        admin.describe_topics(&names(&batch)).await
    }
}

impl Request for DescribeOwnConfig {
    type Backend = Admin;
    type Answer = BTreeMap<String, String>;
    // Others may ask for other keys.
    const REPEATS: Repeats = Repeats::Wait;

    fn topic(&self) -> &str {
        &self.topic
    }

    async fn ask(admin: &Admin, batch: Vec<Self>) -> Answers<Self::Answer> {
        let topics: Vec<_> = batch.iter().map(|asked| (asked.topic.as_str(), asked.keys.clone())).collect();
        admin.describe_own_configs(&topics).await
    }
}

impl Request for Create {
    type Backend = Admin;
    type Answer = ();
    const REPEATS: Repeats = Repeats::Wait;

    fn topic(&self) -> &str {
        &self.0.name
    }

    fn records(&self) -> usize {
        1 + count(self.0.partitions.unwrap_or(1)) + self.0.config.len()
    }

    fn ask(admin: &Admin, batch: Vec<Self>) -> impl Future<Output = Answers<()>> + Send {
        let topics: Vec<_> = batch.into_iter().map(|create| create.0).collect();
        async move { admin.create_topics(&topics).await }
    }
}

impl Request for Grow {
    type Backend = Admin;
    type Answer = ();
    const REPEATS: Repeats = Repeats::Wait;

    fn topic(&self) -> &str {
        &self.topic
    }

    /// At most: how many partitions there are already is not known here.
    fn records(&self) -> usize {
        count(self.total)
    }

    async fn ask(admin: &Admin, batch: Vec<Self>) -> Answers<()> {
        let totals: Vec<_> = batch.iter().map(|grow| (grow.topic.as_str(), grow.total)).collect();
        admin.create_partitions(&totals).await
    }
}

impl Request for AlterConfig {
    type Backend = Admin;
    type Answer = ();
    const REPEATS: Repeats = Repeats::Wait;

    fn topic(&self) -> &str {
        &self.topic
    }

    fn records(&self) -> usize {
        self.changes.len()
    }

    async fn ask(admin: &Admin, batch: Vec<Self>) -> Answers<()> {
        let changes: Vec<_> = batch.iter().map(|alter| (alter.topic.as_str(), alter.changes.clone())).collect();
        admin.alter_configs_incrementally(&changes).await
    }
}

impl Request for Delete {
    type Backend = Admin;
    type Answer = ();
    const REPEATS: Repeats = Repeats::Wait;

    fn topic(&self) -> &str {
        &self.0
    }

    async fn ask(admin: &Admin, batch: Vec<Self>) -> Answers<()> {
        admin.delete_topics(&names(&batch)).await
    }
}

fn names<R: Request>(batch: &[R]) -> Vec<&str> {
    batch.iter().map(Request::topic).collect()
}

fn count(partitions: i32) -> usize {
    usize::try_from(partitions).unwrap_or(0)
}
