//! The queue's state. Pure: time is an argument.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    time::Duration,
};

use sluice_crds::NamespacedName;
use tokio::time::Instant;

use super::Depth;

/// What comes after a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Another one, at that time or when the object is woken.
    At(Instant),
    /// Nothing until it is woken.
    WhenWoken,
    /// The pass found that the object was written meanwhile: another one as soon as a newer version was seen. It may be lost, so not after
    /// `patience`.
    AfterNewer {
        /// Until when the newer version is waited for.
        patience: Instant,
    },
}

/// The watch brings what a pass wrote within milliseconds; where it does not, the object is looked at as it is known.
const OWN_LIMIT: Duration = Duration::from_secs(1);

/// So many passes over what changed may begin in a lane before the next one over what is only looked at again. Objects that change all the time
/// would else leave those no room: also those whose passes failed are looked at again.
const MOST_IN_A_ROW: usize = 7;

/// All objects that are not at rest.
#[derive(Debug, Default)]
pub struct Backlog {
    places: HashMap<NamespacedName, Place>,
    /// Names that wait and are in no lane yet.
    arrived: Vec<(Line, NamespacedName)>,
    /// How many of these are gone, at most.
    gone: usize,
    lanes: BTreeMap<String, Lane>,
    times: BTreeSet<(Instant, NamespacedName)>,
    /// What passes wrote and the watch did not bring in time.
    overdue: HashMap<NamespacedName, Overdue>,
}

/// Objects whose passes may wait for the same thing.
#[derive(Debug, Default)]
struct Lane {
    running: usize,
    /// Passes over what changed that have begun in a row while others waited to be looked at again.
    in_a_row: usize,
    /// Names that wait, by [`Line`]; one that has left its place since is passed over.
    lines: [VecDeque<NamespacedName>; 2],
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Waiting(Line),
    Running {
        lane: String,
        since: Instant,
        woken: bool,
        /// The newest version of the object that has come meanwhile.
        seen: Option<u64>,
        /// The one that the pass wrote.
        wrote: Option<u64>,
        gone: bool,
    },
    Held {
        patience: Instant,
        /// What is waited for: any newer version where it is none.
        wrote: Option<u64>,
        next: Option<Instant>,
        woken: bool,
    },
    Asleep {
        until: Instant,
    },
}

/// What a pass wrote and the watch did not bring in time.
#[derive(Debug)]
struct Overdue {
    version: u64,
    /// Whether another pass looked at the object as it was before. What that found may be what the status said then, so that it wrote nothing.
    is_missed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Changed,
    Again,
}

impl Lane {
    fn can_begin(&self, line: Line, room: usize) -> bool {
        self.running < room && !self.lines[line as usize].is_empty()
    }

    fn begins(&mut self, line: Line) {
        self.running += 1;
        let others_wait = line == Line::Changed && !self.lines[Line::Again as usize].is_empty();
        self.in_a_row = if others_wait { self.in_a_row + 1 } else { 0 };
    }

    fn is_at_rest(&self) -> bool {
        self.running == 0 && self.lines.iter().all(VecDeque::is_empty)
    }
}

impl Backlog {
    /// The object changed.
    pub fn wake(&mut self, name: &NamespacedName) {
        match self.places.get_mut(name) {
            None | Some(Place::Waiting(Line::Again)) => self.line_up(name, Line::Changed),
            Some(Place::Asleep { until }) => {
                let until = *until;
                self.times.remove(&(until, name.clone()));
                self.line_up(name, Line::Changed);
            }
            Some(Place::Running { woken, gone, .. }) => (*woken, *gone) = (true, false),
            Some(Place::Held { woken, .. }) => *woken = true,
            Some(Place::Waiting(Line::Changed)) => {}
        }
    }

    /// The object is looked at again, after those that changed.
    pub fn wake_later(&mut self, name: &NamespacedName) {
        match self.places.get(name) {
            None => self.line_up(name, Line::Again),
            Some(Place::Asleep { until }) => {
                let until = *until;
                self.times.remove(&(until, name.clone()));
                self.line_up(name, Line::Again);
            }
            Some(Place::Waiting(_)) => {}
            Some(Place::Running { .. } | Place::Held { .. }) => self.wake(name),
        }
    }

    /// That version of the object was seen.
    pub fn seen(&mut self, name: &NamespacedName, version: u64, now: Instant) {
        match self.places.get_mut(name) {
            Some(Place::Running { seen, .. }) => *seen = (*seen).max(Some(version)),
            Some(Place::Held { wrote, .. }) => {
                let is_it = *wrote <= Some(version);
                if is_it {
                    self.release(name, now);
                }
            }
            Some(Place::Waiting(_) | Place::Asleep { .. }) | None => {}
        }
        if self.overdue.get(name).is_some_and(|overdue| overdue.version <= version) {
            let is_missed = self.overdue.remove(name).is_some_and(|overdue| overdue.is_missed);
            if is_missed {
                self.wake_later(name);
            }
        }
    }

    /// The object's pass wrote that version of it: no other one begins before it was seen. That one would take it back, or find that the status
    /// says already what it should.
    pub fn wrote(&mut self, name: &NamespacedName, version: u64) {
        if let Some(Place::Running { wrote, .. }) = self.places.get_mut(name) {
            *wrote = (*wrote).max(Some(version));
        }
    }

    /// The object is gone. Its pass, if it has one, still ends.
    pub fn forget(&mut self, name: &NamespacedName) {
        self.overdue.remove(name);
        match self.places.get_mut(name) {
            Some(Place::Running { woken, gone, .. }) => (*woken, *gone) = (false, true),
            Some(Place::Held { patience: time, .. } | Place::Asleep { until: time }) => {
                let time = *time;
                self.times.remove(&(time, name.clone()));
                self.places.remove(name);
            }
            Some(Place::Waiting(_)) => {
                self.places.remove(name);
                self.gone += 1;
                self.clear_up();
            }
            None => {}
        }
    }

    /// Where nobody takes anything, as in a replica that stands by, names of what is gone do not pile up.
    fn clear_up(&mut self) {
        if self.gone * 2 > self.arrived.len() {
            let (places, mut kept) = (&self.places, HashSet::new());
            let waits = |name: &NamespacedName| matches!(places.get(name), Some(Place::Waiting(_)));
            self.arrived.retain(|(_, name)| waits(name) && kept.insert(name.clone()));
            self.gone = 0;
        }
    }

    /// The next object whose pass is due, and whose lane has room; from now on it is running. `lane_of` tells in which lane an object is,
    /// and each has room for so many passes.
    pub fn next(
        &mut self,
        now: Instant,
        room: usize,
        lane_of: impl Fn(&NamespacedName) -> String,
    ) -> Option<NamespacedName> {
        self.pass_time(now);
        for (line, name) in self.arrived.drain(..) {
            self.lanes.entry(lane_of(&name)).or_default().lines[line as usize].push_back(name);
        }
        let turns = [(Line::Again, MOST_IN_A_ROW), (Line::Changed, 0), (Line::Again, 0)];
        turns.into_iter().find_map(|(line, in_a_row)| self.begin(line, in_a_row, room, now))
    }

    /// In the lane where the fewest are under way, of those where so many of what changed have begun in a row: nobody waits for the crowd of
    /// another lane.
    fn begin(&mut self, line: Line, in_a_row: usize, room: usize, since: Instant) -> Option<NamespacedName> {
        loop {
            let can_begin = |lane: &Lane| lane.in_a_row >= in_a_row && lane.can_begin(line, room);
            let with_room = self.lanes.iter_mut().filter(|(_, lane)| can_begin(lane));
            let (key, chosen) = with_room.min_by_key(|(_, lane)| lane.running)?;
            let name = chosen.lines[line as usize].pop_front()?;
            if let Some(place @ Place::Waiting(_)) = self.places.get_mut(&name) {
                chosen.begins(line);
                *place =
                    Place::Running { lane: key.clone(), since, woken: false, seen: None, wrote: None, gone: false };
                if let Some(overdue) = self.overdue.get_mut(&name) {
                    overdue.is_missed = true;
                }
                return Some(name);
            }
        }
    }

    /// When something will be due that is not yet.
    pub fn next_time(&self) -> Option<Instant> {
        self.times.first().map(|(time, _)| *time)
    }

    /// The object's pass has ended.
    pub fn finished(&mut self, name: &NamespacedName, then: Then, now: Instant) {
        let Some(Place::Running { lane, woken, seen, wrote, gone, .. }) = self.places.remove(name) else { return };
        self.leave(&lane);
        let (newer_by, next) = match then {
            Then::At(next) => (None, Some(next)),
            Then::WhenWoken => (None, None),
            Then::AfterNewer { patience } => (Some(patience).filter(|_| seen.is_none()), Some(now)),
        };
        let own_by = (seen < wrote).then(|| now + OWN_LIMIT);
        match own_by.or(newer_by) {
            _ if gone => {}
            Some(patience) => self.set_time(name, patience, Place::Held { patience, wrote, next, woken }),
            None => self.go_on(name, woken, next, now),
        }
    }

    fn leave(&mut self, lane: &str) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.running = lane.running.saturating_sub(1);
        }
        self.lanes.retain(|_, lane| !lane.is_at_rest());
    }

    /// What it is like at `now`.
    pub fn depth(&self, now: Instant) -> Depth {
        let mut depth = Depth::default();
        for place in self.places.values() {
            match place {
                Place::Waiting(_) => depth.waiting += 1,
                Place::Running { since, .. } => {
                    depth.running += 1;
                    depth.oldest = depth.oldest.max(now.duration_since(*since).as_secs_f64());
                }
                Place::Held { .. } | Place::Asleep { .. } => {}
            }
        }
        depth
    }

    fn pass_time(&mut self, now: Instant) {
        while let Some((time, _)) = self.times.first()
            && *time <= now
        {
            let (_, name) = self.times.pop_first().expect("there is a first");
            match self.places.get(&name) {
                Some(Place::Held { wrote, .. }) => {
                    let overdue = wrote.map(|version| (name.clone(), Overdue { version, is_missed: false }));
                    self.overdue.extend(overdue);
                    self.release(&name, now);
                }
                _ => self.line_up(&name, Line::Again),
            }
        }
    }

    /// What was held goes on as it would have after its pass.
    fn release(&mut self, name: &NamespacedName, now: Instant) {
        let Some(Place::Held { patience, next, woken, .. }) = self.places.remove(name) else { return };
        self.times.remove(&(patience, name.clone()));
        self.go_on(name, woken, next, now);
    }

    /// The object waits for its next pass, where it has one.
    fn go_on(&mut self, name: &NamespacedName, woken: bool, next: Option<Instant>, now: Instant) {
        match next {
            _ if woken => self.line_up(name, Line::Changed),
            Some(next) => self.sleep(name, next, now),
            None => {}
        }
    }

    /// What is due at once is what changed a moment ago.
    fn sleep(&mut self, name: &NamespacedName, until: Instant, now: Instant) {
        if until <= now {
            self.line_up(name, Line::Changed);
        } else {
            self.set_time(name, until, Place::Asleep { until });
        }
    }

    fn set_time(&mut self, name: &NamespacedName, time: Instant, place: Place) {
        self.times.insert((time, name.clone()));
        self.places.insert(name.clone(), place);
    }

    fn line_up(&mut self, name: &NamespacedName, line: Line) {
        self.places.insert(name.clone(), Place::Waiting(line));
        self.arrived.push((line, name.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> NamespacedName {
        NamespacedName { namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// The next one where all are in one lane that is never full.
    fn next(backlog: &mut Backlog, now: Instant) -> Option<NamespacedName> {
        backlog.next(now, usize::MAX, |_| String::new())
    }

    fn drain(backlog: &mut Backlog, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| next(backlog, now)).map(|name| name.name).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_waits_once_and_what_changed_comes_first() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        backlog.wake_later(&name("a"));
        backlog.wake_later(&name("b"));
        backlog.wake(&name("c"));
        backlog.wake(&name("c"));
        backlog.wake(&name("b"));
        assert_eq!(backlog.depth(now).waiting, 3);
        assert_eq!(drain(&mut backlog, now), ["c", "b", "a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_changes_during_its_pass_gets_another_one_after_it() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        backlog.wake(&name("a"));
        assert_eq!(drain(&mut backlog, now), ["a"]);
        backlog.wake(&name("a"));
        assert_eq!(drain(&mut backlog, now), [""; 0], "one pass at a time");
        backlog.finished(&name("a"), Then::WhenWoken, now);
        assert_eq!(drain(&mut backlog, now), ["a"]);
        backlog.finished(&name("a"), Then::WhenWoken, now);
        assert_eq!((drain(&mut backlog, now), backlog.places.len()), (vec![], 0), "what is at rest takes no room");
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_sleeps_until_its_time_or_until_it_is_woken() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        for object in ["a", "b"] {
            backlog.wake(&name(object));
            next(&mut backlog, now).unwrap();
            backlog.finished(&name(object), Then::At(now + seconds(10)), now);
        }
        backlog.wake(&name("b"));
        assert_eq!(drain(&mut backlog, now + seconds(9)), ["b"]);
        assert_eq!(backlog.next_time(), Some(now + seconds(10)));
        assert_eq!(drain(&mut backlog, now + seconds(10)), ["a"]);
        assert_eq!(backlog.next_time(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn where_an_object_was_written_meanwhile_no_pass_begins_before_a_newer_version_is_seen() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        let then = Then::AfterNewer { patience: now + seconds(1) };
        backlog.wake(&name("a"));
        next(&mut backlog, now).unwrap();
        backlog.finished(&name("a"), then, now);
        backlog.wake(&name("a"));
        assert_eq!(drain(&mut backlog, now), [""; 0]);
        backlog.seen(&name("a"), 1, now);
        assert_eq!(drain(&mut backlog, now), ["a"]);

        // It came while the pass was still under way.
        backlog.seen(&name("a"), 2, now);
        backlog.finished(&name("a"), then, now);
        assert_eq!(drain(&mut backlog, now), ["a"]);

        // It was lost.
        backlog.finished(&name("a"), then, now);
        assert_eq!(drain(&mut backlog, now + seconds(1)), ["a"]);
        assert_eq!(backlog.times.len(), 0);
    }

    /// Has a pass that writes this version and then comes to that, while `seen` comes and something else wakes the object.
    fn pass_that_writes(backlog: &mut Backlog, version: u64, seen: Option<u64>, then: Then, now: Instant) {
        backlog.wake(&name("a"));
        next(backlog, now).unwrap();
        backlog.wrote(&name("a"), version);
        if let Some(seen) = seen {
            backlog.seen(&name("a"), seen, now);
        }
        backlog.wake(&name("a"));
        backlog.finished(&name("a"), then, now);
    }

    #[tokio::test(start_paused = true)]
    async fn no_pass_begins_before_what_the_last_one_wrote_is_seen_whatever_that_one_came_to() {
        let now = Instant::now();
        // A pass that failed has its time, and may have said so in the status.
        for then in [Then::WhenWoken, Then::At(now), Then::At(now + seconds(10))] {
            let mut backlog = Backlog::default();
            // Somebody else's version that came meanwhile is not what it wrote.
            pass_that_writes(&mut backlog, 7, Some(6), then, now);
            assert_eq!(drain(&mut backlog, now), [""; 0], "{then:?}");
            backlog.seen(&name("a"), 6, now);
            assert_eq!(drain(&mut backlog, now), [""; 0], "{then:?}");
            backlog.seen(&name("a"), 7, now);
            assert_eq!(drain(&mut backlog, now), ["a"], "{then:?}");
            backlog.finished(&name("a"), Then::WhenWoken, now);

            pass_that_writes(&mut backlog, 8, Some(8), then, now);
            assert_eq!(drain(&mut backlog, now), ["a"], "it came already");
            assert_eq!((backlog.times.len(), backlog.overdue.len()), (0, 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_at_which_a_pass_looked_before_it_saw_what_was_written_is_looked_at_once_more() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        pass_that_writes(&mut backlog, 7, None, Then::WhenWoken, now);
        let late = now + OWN_LIMIT;
        assert_eq!(drain(&mut backlog, late), ["a"], "nobody waits for ever");
        backlog.finished(&name("a"), Then::WhenWoken, late);
        assert_eq!(drain(&mut backlog, late), [""; 0]);
        backlog.seen(&name("a"), 6, late);
        assert_eq!(drain(&mut backlog, late), [""; 0]);
        backlog.seen(&name("a"), 7, late);
        assert_eq!(drain(&mut backlog, late), ["a"]);
        backlog.finished(&name("a"), Then::WhenWoken, late);
        backlog.seen(&name("a"), 8, late);
        assert_eq!((drain(&mut backlog, late), backlog.overdue.len()), (vec![], 0), "once");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_late_and_nobody_missed_wakes_nobody() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        backlog.wake(&name("a"));
        next(&mut backlog, now).unwrap();
        backlog.wrote(&name("a"), 7);
        backlog.finished(&name("a"), Then::WhenWoken, now);
        assert_eq!(drain(&mut backlog, now + OWN_LIMIT), [""; 0]);
        backlog.seen(&name("a"), 7, now + OWN_LIMIT);
        assert_eq!((drain(&mut backlog, now + OWN_LIMIT), backlog.overdue.len()), (vec![], 0));

        pass_that_writes(&mut backlog, 8, None, Then::WhenWoken, now);
        assert_eq!(drain(&mut backlog, now + OWN_LIMIT), ["a"]);
        backlog.forget(&name("a"));
        assert!(backlog.overdue.is_empty(), "it is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_is_gone_has_no_further_pass_and_a_new_one_of_its_name_waits_for_the_end_of_the_old_pass() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        backlog.wake(&name("a"));
        backlog.forget(&name("a"));
        assert_eq!(drain(&mut backlog, now), [""; 0]);

        backlog.wake(&name("a"));
        next(&mut backlog, now).unwrap();
        backlog.forget(&name("a"));
        backlog.finished(&name("a"), Then::At(now + seconds(1)), now);
        assert_eq!((drain(&mut backlog, now + seconds(1)), backlog.places.len()), (vec![], 0));

        backlog.wake(&name("a"));
        next(&mut backlog, now).unwrap();
        backlog.forget(&name("a"));
        backlog.wake(&name("a"));
        assert_eq!(drain(&mut backlog, now), [""; 0]);
        backlog.finished(&name("a"), Then::At(now + seconds(1)), now);
        assert_eq!(drain(&mut backlog, now), ["a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_is_full_holds_up_no_other() {
        const ROOM: usize = 2;
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        let lane_of = |name: &NamespacedName| name.name[..1].to_owned();
        let begun = |backlog: &mut Backlog| -> Vec<String> {
            std::iter::from_fn(|| backlog.next(now, ROOM, lane_of)).map(|name| name.name).collect()
        };
        backlog.wake_later(&name("a0"));
        for object in ["a1", "a2", "a3", "a4", "b1"] {
            backlog.wake(&name(object));
        }
        assert_eq!(begun(&mut backlog), ["a1", "b1", "a2"]);
        assert_eq!(backlog.depth(now).waiting, 3);
        backlog.wake(&name("b2"));
        assert_eq!(begun(&mut backlog), ["b2"]);

        // Whoever goes while it waits takes no room; what changed still comes first.
        backlog.forget(&name("a3"));
        backlog.finished(&name("a2"), Then::WhenWoken, now);
        assert_eq!(begun(&mut backlog), ["a4"]);
        for object in ["a1", "a4", "b1", "b2"] {
            backlog.finished(&name(object), Then::WhenWoken, now);
        }
        assert_eq!(begun(&mut backlog), ["a0"]);
        backlog.forget(&name("a0"));
        backlog.finished(&name("a0"), Then::WhenWoken, now);
        assert!(backlog.lanes.is_empty() && backlog.places.is_empty(), "{backlog:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_all_the_time_leaves_room_for_what_is_looked_at_again() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        for object in ["a", "b"] {
            backlog.wake_later(&name(object));
        }
        let mut begun = Vec::new();
        for _ in 0..2 * (MOST_IN_A_ROW + 1) {
            backlog.wake(&name("busy"));
            let next = backlog.next(now, 1, |_| String::new()).unwrap();
            backlog.finished(&next, Then::WhenWoken, now);
            begun.push(next.name);
        }
        let mut expected = vec!["busy"; MOST_IN_A_ROW];
        expected.push("a");
        expected.extend(["busy"; MOST_IN_A_ROW]);
        expected.push("b");
        assert_eq!(begun, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_takes_anything_names_of_what_is_gone_do_not_pile_up() {
        let mut backlog = Backlog::default();
        for turn in 0..100 {
            for object in [format!("a{turn}"), "b".to_owned()] {
                backlog.wake(&name(&object));
                backlog.forget(&name(&object));
            }
        }
        backlog.wake(&name("b"));
        assert!(backlog.arrived.len() < 4, "{:?}", backlog.arrived);
        assert_eq!(drain(&mut backlog, Instant::now()), ["b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_pass_is_known() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        for (object, begin) in [("a", 0), ("b", 3)] {
            backlog.wake(&name(object));
            next(&mut backlog, now + seconds(begin)).unwrap();
        }
        assert_eq!(backlog.depth(now + seconds(5)), Depth { waiting: 0, running: 2, oldest: 5.0 });
    }
}
