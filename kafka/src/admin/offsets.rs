//! Offsets: where partitions begin and end, and how far a consumer group has come.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::CString,
};

use super::{Admin, PerPartition, TopicPartition, batch::Answers, rights::Task};
use crate::{Error, ErrorCode, KafkaError, native};

/// Which offset of a partition is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetAt {
    /// The first record that still exists.
    Earliest,
    /// The end of what a consumer with `read_committed` can read: the first offset of an open transaction, else `Latest`.
    LastStable,
    /// The high watermark: one past the last record that all in-sync replicas have.
    Latest,
    /// The first record whose timestamp is not before this one, in milliseconds since the epoch; -1 where there is none.
    Time(i64),
}

/// How far a group has come in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next record to be read.
    pub offset: i64,
    /// What the consumer noted with its commit; often empty.
    pub metadata: String,
}

/// `Describe` would do for this alone; who looks after a group has to read.
const READ_GROUP: Task =
    Task { doing: "read the offsets of a consumer group", right: ("Read", "--group"), changes: false };

impl Admin {
    /// Looks up offsets of partitions: one request to each broker that leads some of them.
    ///
    /// A partition or topic that does not exist is that partition's error.
    pub async fn list_offsets(&self, partitions: &[TopicPartition], at: OffsetAt) -> Result<PerPartition<i64>, Error> {
        let mut answers = self.ask_for_offsets(partitions, at).await?;
        let outdated: Vec<_> = answers.iter().filter(|(_, answer)| may_have_another_leader(answer)).collect();
        if !outdated.is_empty() {
            let topics: BTreeSet<_> = outdated.iter().map(|(partition, _)| partition.topic.as_str()).collect();
            let again: Vec<_> = outdated.iter().map(|(partition, _)| (*partition).clone()).collect();
            // The client would go on with the leaders that it knows for a quarter of an hour; a description renews them.
            self.describe_topics(&Vec::from_iter(topics)).await?;
            answers.extend(self.ask_for_offsets(&again, at).await?);
        }
        Ok(answers)
    }

    async fn ask_for_offsets(&self, partitions: &[TopicPartition], at: OffsetAt) -> Result<PerPartition<i64>, Error> {
        let (requests, refused) = distinct(partitions);
        let mut answers = PerPartition::new();
        if !requests.is_empty() {
            let submit = move |call: native::Call<'_>| native::list_offsets(call, &requests, at);
            answers = match self.request_each("list offsets", false, submit, native::listed_offsets).await {
                Ok(Answers { each, .. }) => each,
                Err(Error::Refused { error, .. }) if error.code == ErrorCode::NO_LEADERS => leaderless(partitions),
                Err(error) => return Err(error),
            };
        }
        answers.extend(refused.into_iter().map(|(partition, error)| (partition, Err(error))));
        Ok(answers)
    }

    /// The offsets that a group has committed, in all topics; empty for a group that does not exist or never committed.
    ///
    /// Errors of the group as a whole, such as a missing permission, are [`Error::Refused`]; while a broker starts or the
    /// group's coordinator moves, a retriable one.
    pub async fn group_offsets(&self, group: &str) -> Result<PerPartition<CommittedOffset>, Error> {
        let refused = |error| Error::Refused { doing: READ_GROUP.doing, error };
        let name = native::name(group).map_err(refused)?;
        let submit = |call: native::Call<'_>| native::list_group_offsets(call, &name);
        let event = self.request(READ_GROUP.doing, READ_GROUP.changes, submit).await;
        let offsets = event.and_then(|event| native::group_offsets(&event).map_err(refused));
        offsets.map_err(|error| self.advise(error, READ_GROUP, group))
    }

    /// Commits offsets for a group, all in one request. Kafka takes them while the group has no members, and refuses each afterwards
    /// (`UNKNOWN_MEMBER_ID`): its members' are not overwritten.
    ///
    /// It takes the rights to read the group and the topics. Errors as for [`Admin::group_offsets`].
    pub async fn commit_group_offsets(
        &self,
        group: &str,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<PerPartition<()>, Error> {
        const DOING: &str = "commit the offsets of a consumer group";
        let refused = |error| Error::Refused { doing: DOING, error };
        let name = native::name(group).map_err(refused)?;
        let request = |(partition, offset): (&TopicPartition, &i64)| {
            said(partition).map(|(topic, number)| (topic, number, *offset))
        };
        let requests = offsets.iter().map(request).collect::<Result<Vec<_>, _>>().map_err(refused)?;
        if requests.is_empty() {
            return Ok(PerPartition::new());
        }
        let event = self.request(DOING, true, |call| native::alter_group_offsets(call, &name, &requests)).await?;
        native::altered_group_offsets(&event).map_err(refused)
    }
}

/// What is said of partitions none of which has a leader: librdkafka then fails the whole request.
fn leaderless(partitions: &[TopicPartition]) -> PerPartition<i64> {
    let error = || KafkaError::local(ErrorCode::LEADER_NOT_AVAILABLE, "no broker leads the partition");
    partitions.iter().map(|partition| (partition.clone(), Err(error()))).collect()
}

/// Whether the partition may have another leader than the one that was asked.
fn may_have_another_leader(answer: &Result<i64, KafkaError>) -> bool {
    answer.as_ref().is_err_and(|error| error.code.may_be_of_another_leader())
}

type Refused = Vec<(TopicPartition, KafkaError)>;

/// What can be asked of a broker, each once, and what cannot: librdkafka would fail the whole request for it.
fn distinct(partitions: &[TopicPartition]) -> (Vec<(CString, i32)>, Refused) {
    let (mut requests, mut refused) = (Vec::with_capacity(partitions.len()), Refused::new());
    for partition in partitions.iter().collect::<BTreeSet<_>>() {
        match said(partition) {
            Ok(request) => requests.push(request),
            Err(error) => refused.push((partition.clone(), error)),
        }
    }
    (requests, refused)
}

fn said(partition: &TopicPartition) -> Result<(CString, i32), KafkaError> {
    if partition.partition < 0 {
        return Err(KafkaError::local(ErrorCode::INVALID_ARGUMENT, "partitions are numbered from 0"));
    }
    Ok((native::name(&partition.topic)?, partition.partition))
}
