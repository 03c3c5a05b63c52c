//! What is known of each id. It is most of what a receiver holds in memory: an entry and its id take 33 bytes in it.

use std::collections::HashMap;

use super::{Fingerprint, Item};

/// What is known of each id, in parts: one that grows, or is made anew, takes its memory twice for a moment.
#[derive(Debug, Default)]
pub(super) struct Table {
    parts: [HashMap<Fingerprint, Entry>; PARTS],
}

/// What is known of an id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The token of its reservation, and in the last bit whether that is confirmed.
    state: u64,
    /// In nanoseconds.
    pub(super) deadline: u64,
}

const PARTS: usize = 8;

impl Table {
    pub(super) fn get(&self, fingerprint: &Fingerprint) -> Option<&Entry> {
        self.parts[part(fingerprint)].get(fingerprint)
    }

    pub(super) fn get_mut(&mut self, fingerprint: &Fingerprint) -> Option<&mut Entry> {
        self.parts[part(fingerprint)].get_mut(fingerprint)
    }

    /// Whether there is an entry that ends so.
    pub(super) fn has(&self, item: &Item) -> bool {
        self.get(&item.fingerprint).is_some_and(|entry| entry.deadline == item.deadline)
    }

    pub(super) fn insert(&mut self, fingerprint: Fingerprint, entry: Entry) {
        let part = &mut self.parts[part(&fingerprint)];
        make_room(part);
        part.insert(fingerprint, entry);
    }

    pub(super) fn remove(&mut self, fingerprint: &Fingerprint) {
        self.parts[part(fingerprint)].remove(fingerprint);
    }

    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(HashMap::len).sum()
    }
}

/// Ids are spread evenly, as their fingerprints are hashes.
fn part(fingerprint: &Fingerprint) -> usize {
    usize::from(fingerprint.0[0]) % PARTS
}

/// Makes a map anew that has no room left. Where ids come and go, some of the places of those that went stay unusable; once these are all that
/// was free, the map itself would take twice as much as it needs.
fn make_room(map: &mut HashMap<Fingerprint, Entry>) {
    let length = map.len();
    if length == map.capacity() {
        let mut larger = HashMap::with_capacity(length + length / 16 + 1);
        larger.extend(map.drain());
        *map = larger;
    }
}

impl Entry {
    pub(super) fn reserved(token: u64, deadline: u64) -> Self {
        Self { state: token << 1, deadline }
    }

    pub(super) fn confirmed(token: u64, deadline: u64) -> Self {
        Self { state: (token << 1) | 1, deadline }
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.state & 1 == 1
    }

    /// Whether this reservation still stands. One that has been confirmed does not.
    pub(super) fn is_reserved_as(&self, token: u64) -> bool {
        self.state == token << 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_ids_that_come_and_go_does_not_grow() {
        const KEPT: usize = 12_000;
        let fingerprint = |number: usize| Fingerprint::of(&number.to_string());
        let capacity = |table: &Table| table.parts.iter().map(HashMap::capacity).sum::<usize>();
        let mut table = Table::default();
        for number in 0..20 * KEPT {
            if let Some(old) = number.checked_sub(KEPT) {
                table.remove(&fingerprint(old));
            }
            table.insert(fingerprint(number), Entry::reserved(0, 0));
            assert!(capacity(&table) <= 2 * KEPT, "{} after {number}", capacity(&table));
        }
        assert_eq!(table.len(), KEPT);
    }
}
