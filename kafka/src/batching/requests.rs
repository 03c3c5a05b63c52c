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

pub(super) struct Delete {
    pub(super) topic: String,
    pub(super) id: String,
}

/// What became of a topic that was to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It is deleted.
    Done,
    /// There was none of that name.
    Gone,
    /// There is another one of that name, which stays.
    Another {
        /// Kafka's id of it.
        id: String,
    },
}

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
    // Topics are made once, many together, and come no faster than an API server stores their resources.
    const PATIENCE: usize = 4;

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
    type Answer = Deletion;
    const REPEATS: Repeats = Repeats::Wait;

    fn topic(&self) -> &str {
        &self.topic
    }

    /// The ids are looked at here, directly before the request: a batch may have waited for seconds.
    async fn ask(admin: &Admin, batch: Vec<Self>) -> Answers<Deletion> {
        let found = admin.describe_topics(&names(&batch)).await?;
        let (mut answers, same) = sorted(&batch, found);
        if same.is_empty() {
            return Ok(answers);
        }
        let deleted = admin.delete_topics(&same).await?;
        answers.extend(deleted.into_iter().map(|(topic, answer)| (topic, answer.map(|()| Deletion::Done))));
        Ok(answers)
    }
}

/// What is found instead of the topics that are to be deleted, and which of them are there. One of which Kafka tells nothing is neither.
fn sorted(batch: &[Delete], mut found: PerTopic<Option<TopicDescription>>) -> (PerTopic<Deletion>, Vec<&str>) {
    let (mut answers, mut same) = (PerTopic::new(), Vec::new());
    for Delete { topic, id } in batch {
        let answer = match found.remove(topic) {
            None => continue,
            Some(Ok(Some(found))) if found.id == *id => {
                same.push(topic.as_str());
                continue;
            }
            Some(Ok(Some(found))) => Ok(Deletion::Another { id: found.id }),
            Some(Ok(None)) => Ok(Deletion::Gone),
            Some(Err(error)) => Err(error),
        };
        answers.insert(topic.clone(), answer);
    }
    (answers, same)
}

fn names<R: Request>(batch: &[R]) -> Vec<&str> {
    batch.iter().map(Request::topic).collect()
}

fn count(partitions: i32) -> usize {
    usize::try_from(partitions).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorCode, KafkaError};

    #[test]
    fn only_topics_that_are_the_ones_that_were_meant_are_deleted() {
        let delete = |topic: &str| Delete { topic: topic.to_owned(), id: "meant".to_owned() };
        let batch = ["same", "another", "gone", "refused", "untold"].map(delete);
        let topic = |id: &str| TopicDescription { id: id.to_owned(), internal: false, partitions: Vec::new() };
        let refusal = KafkaError::local(ErrorCode::TOPIC_AUTHORIZATION_FAILED, "");
        let found = [
            ("same", Ok(Some(topic("meant")))),
            ("another", Ok(Some(topic("other")))),
            ("gone", Ok(None)),
            ("refused", Err(refusal)),
        ];
        let (answers, same) = sorted(&batch, found.map(|(topic, found)| (topic.to_owned(), found)).into());
        assert_eq!(same, ["same"]);
        let told = |topic: &str| answers.get(topic).map(|answer| answer.as_ref().ok());
        assert_eq!(told("another"), Some(Some(&Deletion::Another { id: "other".to_owned() })));
        assert_eq!(told("gone"), Some(Some(&Deletion::Gone)));
        assert_eq!((told("refused"), told("untold"), told("same")), (Some(None), None, None));
    }
}
