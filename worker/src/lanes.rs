//! What must wait for what: records of one lane go one after the other, lanes go side by side.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use bytes::Bytes;
use sluice_crds::Ordering;
use sluice_pipeline::Record;

use crate::source::PartitionId;

/// Records that stay in order. Lanes of different partitions are different lanes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    partition: PartitionId,
    /// `None`: all records of the partition.
    key: Option<Bytes>,
}

/// The lane of a record; `None` where it waits for nothing, and nothing for it.
pub(crate) fn lane(ordering: Ordering, partition: &PartitionId, record: &Record) -> Option<Lane> {
    match ordering {
        Ordering::Key => record.key.clone().map(|key| Lane { partition: partition.clone(), key: Some(key) }),
        Ordering::Partition => Some(Lane { partition: partition.clone(), key: None }),
        Ordering::None => None,
    }
}

/// The lanes in which a record is under way, each with those that wait behind it.
#[derive(Debug)]
pub(crate) struct Lanes<T>(HashMap<Lane, VecDeque<T>>);

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Lanes<T> {
    /// Puts a record into its lane. It is given back where nothing is before it: then it is under way from now on.
    pub(crate) fn enter(&mut self, lane: &Lane, record: T) -> Option<T> {
        match self.0.entry(lane.clone()) {
            Entry::Vacant(free) => {
                free.insert(VecDeque::new());
                Some(record)
            }
            Entry::Occupied(mut waiting) => {
                waiting.get_mut().push_back(record);
                None
            }
        }
    }

    /// The record that was under way has left its lane. The next one is given out and is under way from now on.
    pub(crate) fn leave(&mut self, lane: &Lane) -> Option<T> {
        let next = self.0.get_mut(lane)?.pop_front();
        if next.is_none() {
            self.0.remove(lane);
        }
        next
    }

    /// Drops those that wait in the lanes of a partition and need not. What is under way there still leaves its lane.
    pub(crate) fn drop_waiting(&mut self, partition: &PartitionId, needless: impl Fn(&T) -> bool) {
        for (_, waiting) in self.0.iter_mut().filter(|(lane, _)| lane.partition == *partition) {
            waiting.retain(|record| !needless(record));
        }
    }

    /// Forgets all lanes of a partition.
    pub(crate) fn forget(&mut self, partition: &PartitionId) {
        self.0.retain(|lane, _| lane.partition != *partition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: i32) -> PartitionId {
        PartitionId { topic: "t".into(), partition: number }
    }

    fn record(key: Option<&'static str>) -> Record {
        let key = key.map(Bytes::from);
        Record { topic: "t".into(), partition: 0, offset: 0, timestamp: None, key, value: None, headers: vec![] }
    }

    #[test]
    fn order_is_kept_where_it_is_asked_for() {
        let lanes = |ordering| {
            let of = |partition, key| lane(ordering, partition, &record(key));
            let (p0, p1) = (partition(0), partition(1));
            (
                of(&p0, Some("a")) == of(&p0, Some("b")),
                of(&p0, Some("a")) == of(&p1, Some("a")),
                of(&p0, None).is_some(),
            )
        };
        assert_eq!(lanes(Ordering::Key), (false, false, false));
        assert_eq!(lanes(Ordering::Partition), (true, false, true));
        assert_eq!(lanes(Ordering::None), (true, true, false));
    }

    #[test]
    fn a_lane_gives_out_one_record_after_the_other() {
        let mut lanes = Lanes::default();
        let a = lane(Ordering::Partition, &partition(0), &record(None)).unwrap();
        let b = lane(Ordering::Partition, &partition(1), &record(None)).unwrap();
        assert_eq!((lanes.enter(&a, 1), lanes.enter(&a, 2), lanes.enter(&b, 3)), (Some(1), None, Some(3)));
        assert_eq!((lanes.leave(&a), lanes.leave(&a), lanes.leave(&b)), (Some(2), None, None));
        assert_eq!(lanes.enter(&a, 4), Some(4));
    }

    #[test]
    fn what_waits_in_a_revoked_partition_is_dropped_and_nothing_else() {
        let mut lanes = Lanes::default();
        let [a, b] = [0, 1].map(|number| lane(Ordering::Partition, &partition(number), &record(None)).unwrap());
        let entered = [0, 1, 2].map(|number| (lanes.enter(&a, number), lanes.enter(&b, number)));
        assert_eq!(entered, [(Some(0), Some(0)), (None, None), (None, None)]);
        lanes.drop_waiting(&partition(0), |number| *number > 1);
        assert_eq!([lanes.leave(&a), lanes.leave(&a)], [Some(1), None]);
        assert_eq!([lanes.leave(&b), lanes.leave(&b)], [Some(1), Some(2)]);
    }
}
