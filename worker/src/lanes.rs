//! What must wait for what within a partition: records of one lane go one after the other, lanes go side by side.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use bytes::Bytes;
use sluice_crds::Ordering;
use sluice_pipeline::Record;

/// Records of a partition that stay in order: those with this key, or all of them where there is none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lane(Option<Bytes>);

/// The lane of a record; `None` where it waits for nothing, and nothing for it.
pub(crate) fn lane(ordering: Ordering, record: &Record) -> Option<Lane> {
    match ordering {
        Ordering::Key => record.key.clone().map(|key| Lane(Some(key))),
        Ordering::Partition => Some(Lane(None)),
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: Option<&'static str>) -> Record {
        let key = key.map(Bytes::from);
        Record {
            topic: "t".into(),
            partition: 0,
            offset: 0,
            timestamp: None,
            log_append_time: false,
            key,
            value: None,
            headers: vec![],
        }
    }

    #[test]
    fn order_is_kept_where_it_is_asked_for() {
        let lanes = |ordering| {
            let of = |key| lane(ordering, &record(key));
            (of(Some("a")) == of(Some("b")), of(Some("a")) == of(Some("a")), of(None).is_some())
        };
        assert_eq!(lanes(Ordering::Key), (false, true, false));
        assert_eq!(lanes(Ordering::Partition), (true, true, true));
        assert_eq!(lanes(Ordering::None), (true, true, false));
    }

    #[test]
    fn a_lane_gives_out_one_record_after_the_other() {
        let mut lanes = Lanes::default();
        let [a, b] = ["a", "b"].map(|key| lane(Ordering::Key, &record(Some(key))).unwrap());
        assert_eq!((lanes.enter(&a, 1), lanes.enter(&a, 2), lanes.enter(&b, 3)), (Some(1), None, Some(3)));
        assert_eq!((lanes.leave(&a), lanes.leave(&a), lanes.leave(&b)), (Some(2), None, None));
        assert_eq!(lanes.enter(&a, 4), Some(4));
    }
}
