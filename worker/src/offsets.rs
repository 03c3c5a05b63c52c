//! Which records of one partition are settled, and how far its offset may be committed: never past an unsettled record.

use std::collections::VecDeque;

/// The records of one partition since it was assigned, each unsettled one with something that is kept for it. Pure; offsets
/// begin in the order of the partition.
#[derive(Debug)]
pub(crate) struct Offsets<T> {
    /// From the lowest unsettled record on, in order; those above it may be settled already.
    window: VecDeque<Begun<T>>,
    /// The offset after the last one that is known: of records, transaction markers and holes alike.
    next: Option<i64>,
    unsettled: usize,
}

#[derive(Debug)]
struct Begun<T> {
    offset: i64,
    /// `None`: settled.
    unsettled: Option<T>,
}

impl<T> Offsets<T> {
    /// Nothing before `next` matters; `None` where it is not known where the partition is read from.
    pub(crate) fn new(next: Option<i64>) -> Self {
        Self { window: VecDeque::new(), next, unsettled: 0 }
    }

    /// A record was read. Errors: the offset is not above all that began before, so it was begun already.
    pub(crate) fn begin(&mut self, offset: i64, kept: T) -> Result<(), AlreadyBegun> {
        self.advance(offset)?;
        self.window.push_back(Begun { offset, unsettled: Some(kept) });
        self.unsettled += 1;
        Ok(())
    }

    /// A record was read that is settled already. One that began already is no news.
    pub(crate) fn pass(&mut self, offset: i64) {
        if self.advance(offset).is_ok() && !self.window.is_empty() {
            self.window.push_back(Begun { offset, unsettled: None });
        }
    }

    /// A record is settled: delivered, skipped, or a confirmed dead letter. Gives what was kept for it; settling what is not
    /// unsettled changes nothing.
    pub(crate) fn settle(&mut self, offset: i64) -> Option<T> {
        let index = self.index(offset)?;
        let kept = self.window[index].unsettled.take()?;
        self.unsettled -= 1;
        while self.window.front().is_some_and(|begun| begun.unsettled.is_none()) {
            self.window.pop_front();
        }
        Some(kept)
    }

    /// Everything before this offset was read: what is no record there (transaction markers, compacted holes) counts as
    /// settled.
    pub(crate) fn reach(&mut self, position: i64) {
        self.next = self.next.max(Some(position));
    }

    /// The wall: the offset that may be committed, which is that of the lowest unsettled record. `None` before anything is
    /// known.
    pub(crate) fn wall(&self) -> Option<i64> {
        self.window.front().map(|begun| begun.offset).or(self.next)
    }

    /// The offset after the last one that is known.
    pub(crate) fn next(&self) -> Option<i64> {
        self.next
    }

    /// Records that are not settled.
    pub(crate) fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Records from the wall on, settled or not.
    pub(crate) fn span(&self) -> usize {
        self.window.len()
    }

    /// The records from the wall on: what is kept for those that are not settled.
    pub(crate) fn window(&self) -> impl Iterator<Item = (i64, Option<&T>)> {
        self.window.iter().map(|begun| (begun.offset, begun.unsettled.as_ref()))
    }

    /// Whether a record with this offset may begin: it is above all that began before.
    pub(crate) fn is_next(&self, offset: i64) -> bool {
        self.next.is_none_or(|next| offset >= next)
    }

    fn advance(&mut self, offset: i64) -> Result<(), AlreadyBegun> {
        if !self.is_next(offset) {
            return Err(AlreadyBegun);
        }
        self.next = Some(offset + 1);
        Ok(())
    }

    /// Where there are no holes, which is nearly always, no search is needed.
    fn index(&self, offset: i64) -> Option<usize> {
        let distance = usize::try_from(offset - self.window.front()?.offset).ok()?;
        match self.window.get(distance) {
            Some(begun) if begun.offset == offset => Some(distance),
            _ => self.window.binary_search_by_key(&offset, |begun| begun.offset).ok(),
        }
    }
}

/// A record was read a second time within one assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AlreadyBegun;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_wall_is_the_lowest_unsettled_record() {
        let mut offsets = Offsets::new(None);
        assert_eq!(offsets.wall(), None);
        for offset in [5, 6, 9] {
            offsets.begin(offset, ()).unwrap();
        }
        offsets.settle(6);
        assert_eq!((offsets.wall(), offsets.unsettled(), offsets.span()), (Some(5), 2, 3));
        offsets.settle(5);
        assert_eq!((offsets.wall(), offsets.unsettled(), offsets.span()), (Some(9), 1, 1));
        offsets.settle(9);
        assert_eq!((offsets.wall(), offsets.unsettled(), offsets.span()), (Some(10), 0, 0));
    }

    #[test]
    fn markers_at_the_end_are_passed_once_all_before_them_is_settled() {
        let mut offsets = Offsets::new(None);
        offsets.begin(1, ()).unwrap();
        offsets.reach(3);
        assert_eq!(offsets.wall(), Some(1));
        offsets.settle(1);
        assert_eq!(offsets.wall(), Some(3));
        offsets.reach(2);
        assert_eq!(offsets.wall(), Some(3));
    }

    #[test]
    fn a_record_begins_once() {
        let mut offsets = Offsets::new(None);
        offsets.begin(7, ()).unwrap();
        assert_eq!(offsets.begin(7, ()), Err(AlreadyBegun));
        offsets.settle(7);
        offsets.settle(7);
        offsets.settle(99);
        assert_eq!(offsets.unsettled(), 0);
    }

    #[derive(Clone, Debug)]
    enum Move {
        /// A record, this far after the one before.
        Begin(i64),
        /// The unsettled record at this index, modulo how many there are.
        Settle(usize),
        /// The end, this far after the last record.
        Reach(i64),
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            3 => (0..4_i64).prop_map(Move::Begin),
            3 => any::<usize>().prop_map(Move::Settle),
            1 => (0..3_i64).prop_map(Move::Reach),
        ];
        proptest::collection::vec(one, 0..200)
    }

    proptest! {
        #[test]
        fn no_unsettled_record_lies_below_the_wall(moves in moves()) {
            let mut offsets = Offsets::new(None);
            let (mut next, mut unsettled) = (0, BTreeSet::new());
            for one in moves {
                match one {
                    Move::Begin(gap) => {
                        offsets.begin(next + gap, ()).unwrap();
                        unsettled.insert(next + gap);
                        next += gap + 1;
                    }
                    Move::Settle(index) if !unsettled.is_empty() => {
                        let offset = *unsettled.iter().nth(index % unsettled.len()).unwrap();
                        unsettled.remove(&offset);
                        offsets.settle(offset);
                    }
                    Move::Settle(_) => {}
                    Move::Reach(gap) => {
                        next += gap;
                        offsets.reach(next);
                    }
                }
                let expected = unsettled.first().copied().or((next > 0 || offsets.wall().is_some()).then_some(next));
                prop_assert_eq!(offsets.wall(), expected);
                prop_assert_eq!(offsets.unsettled(), unsettled.len());
                prop_assert!(offsets.span() >= unsettled.len());
            }
        }
    }
}
