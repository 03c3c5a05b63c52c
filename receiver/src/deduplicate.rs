//! Remembers the ids of events, so that one that is sent twice is written once. Pure: the time is an argument.
//!
//! An id is reserved, the event is written, the id is confirmed. Between the two, a second request with the same id is
//! neither written nor acknowledged: whether the first one arrives is not known yet. A reservation that nobody confirms or
//! releases, because the outcome of its write is unknown, ends with its time to live, which outlasts every write.
//!
//! - `table`: what is known of each id.

mod table;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use aws_lc_rs::digest;

use self::table::{Entry, Table};

/// An event's id, in a form of fixed size: the first half of its SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

/// The right to write an event. Only its owner can confirm or release it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an event that is reserved is to be written, then confirmed or released"]
pub struct Reservation {
    fingerprint: Fingerprint,
    token: u64,
}

/// What to do with an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// Write it.
    Reserved(Reservation),
    /// It is being written: it may yet fail, so it is no duplicate.
    InProgress,
    /// It was written.
    Duplicate,
    /// As many events are being written as fit in memory.
    Full,
}

/// What is remembered, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a confirmed id is remembered.
    pub window: Duration,
    /// How long an id stays reserved that is neither confirmed nor released.
    pub reservation: Duration,
    /// How many ids are remembered at most; more make the oldest confirmed ones be forgotten.
    pub capacity: usize,
}

/// The ids that are remembered.
#[derive(Debug)]
pub struct Deduplicator {
    limits: Limits,
    entries: Table,
    /// By token, and so by deadline: every reservation lives as long as any other. One that was confirmed or released is `None`.
    reserved: VecDeque<(u64, Option<Item>)>,
    /// How many of these are `None`.
    settled: usize,
    /// By deadline: every confirmed id is remembered equally long. An item whose deadline is not its entry's is out of date.
    confirmed: VecDeque<Item>,
    next_token: u64,
    /// What times are counted from: the first one that is told.
    start: Option<Instant>,
    /// When the youngest event was confirmed that had to be forgotten before its time.
    forgotten: Option<Instant>,
}

/// When an entry ends, or would have ended.
#[derive(Clone, Copy, Debug)]
struct Item {
    fingerprint: Fingerprint,
    /// In nanoseconds.
    deadline: u64,
}

/// How many reservations that have ended may wait behind one that has not; beyond that they go as soon as they are more than half of all. Each
/// takes 40 bytes.
const MOST_SETTLED: usize = if cfg!(test) { 4 } else { 1024 };
/// Each reservation adds at most two items, so forgetting more than two at a time keeps up, and none takes long.
const FORGOTTEN_AT_A_TIME: usize = 4;

impl Fingerprint {
    /// The fingerprint of an id.
    pub fn of(id: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, id.as_bytes());
        Self(*hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes"))
    }

    /// Its hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

impl Deduplicator {
    /// Remembers nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: Table::default(),
            reserved: VecDeque::new(),
            settled: 0,
            confirmed: VecDeque::new(),
            next_token: 0,
            start: None,
            forgotten: None,
        }
    }

    /// From now on at most so many ids are remembered.
    pub fn hold(&mut self, capacity: usize) {
        self.limits.capacity = capacity;
    }

    /// Says what to do with an event that has just come in.
    pub fn reserve(&mut self, fingerprint: Fingerprint, now: Instant) -> Admission {
        let time = self.time(now);
        self.forget_expired(time);
        match self.entries.get(&fingerprint) {
            Some(entry) if entry.deadline <= time => self.entries.remove(&fingerprint),
            Some(entry) if entry.is_confirmed() => return Admission::Duplicate,
            Some(_) => return Admission::InProgress,
            None => {}
        }
        if self.entries.len() >= self.limits.capacity && !self.forget_oldest_confirmed(time) {
            return Admission::Full;
        }
        let token = self.next_token;
        self.next_token += 1;
        let deadline = time.saturating_add(nanos(self.limits.reservation));
        self.entries.insert(fingerprint, Entry::reserved(token, deadline));
        self.reserved.push_back((token, Some(Item { fingerprint, deadline })));
        Admission::Reserved(Reservation { fingerprint, token })
    }

    /// The event was written: from now on it is a duplicate. Without effect where the reservation expired and is another's now.
    pub fn confirm(&mut self, reservation: &Reservation, now: Instant) {
        let &Reservation { fingerprint, token } = reservation;
        let deadline = self.time(now).saturating_add(nanos(self.limits.window));
        let Some(entry) = self.entries.get_mut(&fingerprint).filter(|entry| entry.is_reserved_as(token)) else {
            return;
        };
        *entry = Entry::confirmed(token, deadline);
        self.confirmed.push_back(Item { fingerprint, deadline });
        self.settle(token);
    }

    /// The event was certainly not written: the next request with its id may write it.
    pub fn release(&mut self, reservation: &Reservation) {
        let &Reservation { fingerprint, token } = reservation;
        if self.entries.get(&fingerprint).is_some_and(|entry| entry.is_reserved_as(token)) {
            self.entries.remove(&fingerprint);
            self.settle(token);
        }
    }

    /// The reservation has ended before its time. Those that have are kept until all before them have ended, unless they become too many.
    fn settle(&mut self, token: u64) {
        if let Ok(place) = self.reserved.binary_search_by_key(&token, |(token, _)| *token) {
            self.reserved[place].1 = None;
            self.settled += 1;
        }
        if self.settled > MOST_SETTLED && self.settled > self.reserved.len() / 2 {
            self.reserved.retain(|(_, item)| item.is_some());
            self.settled = 0;
        }
    }

    /// How many ids are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How far back every confirmed id is remembered: the window, unless ids had to be forgotten before their time.
    pub fn effective_window(&self, now: Instant) -> Duration {
        let since = self.forgotten.map_or(Duration::MAX, |forgotten| now.saturating_duration_since(forgotten));
        since.min(self.limits.window)
    }

    /// As entries have it: half of what an `Instant` takes.
    fn time(&mut self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(*self.start.get_or_insert(now)))
    }

    /// Also lets go of reservations that have ended before their time, as nearly all do within milliseconds.
    fn forget_expired(&mut self, time: u64) {
        for _ in 0..FORGOTTEN_AT_A_TIME {
            let is_over = |(_, item): &mut (u64, Option<Item>)| item.is_none_or(|item| item.deadline <= time);
            let Some((_, ended)) = self.reserved.pop_front_if(is_over) else { break };
            match ended {
                None => self.settled -= 1,
                Some(item) if self.entries.has(&item) => self.entries.remove(&item.fingerprint),
                Some(_) => {}
            }
        }
        for _ in 0..FORGOTTEN_AT_A_TIME {
            let Some(item) = self.confirmed.pop_front_if(|item| item.deadline <= time) else { break };
            if self.entries.has(&item) {
                self.entries.remove(&item.fingerprint);
            }
        }
    }

    /// Makes room. Reservations are never given up: their events are on the way.
    fn forget_oldest_confirmed(&mut self, time: u64) -> bool {
        while let Some(item) = self.confirmed.pop_front() {
            if self.entries.has(&item) {
                self.entries.remove(&item.fingerprint);
                if item.deadline > time {
                    let deadline = self.start.map(|start| start + Duration::from_nanos(item.deadline));
                    self.forgotten = deadline.and_then(|deadline| deadline.checked_sub(self.limits.window));
                }
                return true;
            }
        }
        false
    }
}

/// Five hundred years fit.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
