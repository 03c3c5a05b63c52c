//! The states of one id by example, and of many against a model that forgets nothing by accident.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const WINDOW: Duration = Duration::from_secs(100);
const RESERVATION: Duration = Duration::from_secs(10);

fn remembering(capacity: usize) -> Deduplicator {
    Deduplicator::new(Limits { window: WINDOW, reservation: RESERVATION, capacity })
}

fn reserve(deduplicator: &mut Deduplicator, id: &str, now: Instant) -> Reservation {
    match deduplicator.reserve(Fingerprint::of(id), now) {
        Admission::Reserved(reservation) => reservation,
        other => panic!("{id}: {other:?}"),
    }
}

fn write(deduplicator: &mut Deduplicator, id: &str, now: Instant) {
    let reservation = reserve(deduplicator, id, now);
    deduplicator.confirm(&reservation, now);
}

#[test]
fn an_event_that_is_being_written_is_no_duplicate_yet() {
    let (mut deduplicator, now) = (remembering(10), Instant::now());
    let reservation = reserve(&mut deduplicator, "a", now);
    assert_eq!(deduplicator.reserve(Fingerprint::of("a"), now), Admission::InProgress);
    deduplicator.confirm(&reservation, now);
    assert_eq!(deduplicator.reserve(Fingerprint::of("a"), now), Admission::Duplicate);
}

#[test]
fn an_event_that_failed_for_certain_may_be_written_at_once() {
    let (mut deduplicator, now) = (remembering(10), Instant::now());
    let reservation = reserve(&mut deduplicator, "a", now);
    deduplicator.release(&reservation);
    write(&mut deduplicator, "a", now);
    deduplicator.release(&reservation);
    assert_eq!(deduplicator.reserve(Fingerprint::of("a"), now), Admission::Duplicate);
}

#[test]
fn an_unknown_outcome_keeps_its_reservation_until_it_expires() {
    let (mut deduplicator, now) = (remembering(10), Instant::now());
    let lost = reserve(&mut deduplicator, "a", now);
    let just_before = now + RESERVATION.saturating_sub(Duration::from_millis(1));
    assert_eq!(deduplicator.reserve(Fingerprint::of("a"), just_before), Admission::InProgress);
    let next = reserve(&mut deduplicator, "a", now + RESERVATION);
    deduplicator.confirm(&lost, now + RESERVATION);
    assert_eq!(deduplicator.reserve(Fingerprint::of("a"), now + RESERVATION), Admission::InProgress, "{next:?}");
}

#[test]
fn an_event_is_remembered_for_the_window_and_no_longer() {
    let (mut deduplicator, now) = (remembering(10), Instant::now());
    write(&mut deduplicator, "a", now);
    assert_eq!(deduplicator.reserve(Fingerprint::of("a"), now + WINDOW / 2), Admission::Duplicate);
    assert_eq!(deduplicator.effective_window(now + WINDOW / 2), WINDOW);
    write(&mut deduplicator, "a", now + WINDOW);
}

#[test]
fn a_full_memory_forgets_the_oldest_and_says_how_far_back_it_reaches() {
    let (mut deduplicator, now) = (remembering(2), Instant::now());
    let seconds = Duration::from_secs;
    for (id, second) in [("a", 0), ("b", 1), ("c", 2)] {
        write(&mut deduplicator, id, now + seconds(second));
    }
    let later = now + seconds(5);
    assert_eq!(deduplicator.effective_window(later), seconds(5));
    assert_eq!(deduplicator.reserve(Fingerprint::of("b"), later), Admission::Duplicate);
    write(&mut deduplicator, "a", later);
    assert_eq!(deduplicator.effective_window(later), seconds(4));
    assert_eq!(deduplicator.len(), 2);
}

#[test]
fn a_memory_full_of_reservations_admits_nothing_new() {
    let (mut deduplicator, now) = (remembering(2), Instant::now());
    let _first = reserve(&mut deduplicator, "a", now);
    let second = reserve(&mut deduplicator, "b", now);
    assert_eq!(deduplicator.reserve(Fingerprint::of("c"), now), Admission::Full);
    deduplicator.release(&second);
    write(&mut deduplicator, "c", now);
}

#[test]
fn what_has_expired_leaves_the_memory() {
    let (mut deduplicator, now) = (remembering(1000), Instant::now());
    for id in 0..500 {
        write(&mut deduplicator, &id.to_string(), now);
    }
    for id in 500..1000 {
        write(&mut deduplicator, &id.to_string(), now + WINDOW);
    }
    assert_eq!((deduplicator.len(), deduplicator.confirmed.len()), (500, 500));
}

#[test]
fn reservations_that_have_ended_leave_the_memory_long_before_their_time() {
    let (mut deduplicator, now) = (remembering(1000), Instant::now());
    for id in 0..500 {
        let reservation = reserve(&mut deduplicator, &id.to_string(), now);
        if id % 3 == 0 {
            deduplicator.release(&reservation);
        } else {
            deduplicator.confirm(&reservation, now);
        }
        assert!(deduplicator.reserved.len() < 3, "{} after {id}", deduplicator.reserved.len());
    }
}

#[test]
fn one_of_unknown_outcome_does_not_keep_those_after_it_in_memory() {
    let (mut deduplicator, now) = (remembering(1000), Instant::now());
    let unknown = reserve(&mut deduplicator, "unknown", now);
    for id in 0..10_000 {
        write(&mut deduplicator, &id.to_string(), now);
        assert!(deduplicator.reserved.len() <= MOST_SETTLED + 2, "{} after {id}", deduplicator.reserved.len());
    }
    assert_eq!(deduplicator.reserve(Fingerprint::of("unknown"), now), Admission::InProgress);
    let next = reserve(&mut deduplicator, "unknown", now + RESERVATION);
    deduplicator.confirm(&unknown, now + RESERVATION);
    assert_eq!(deduplicator.reserve(Fingerprint::of("unknown"), now + RESERVATION), Admission::InProgress, "{next:?}");
}

/// Something that happens to one of a few ids.
#[derive(Clone, Debug)]
enum Step {
    Reserve(u8),
    Confirm(prop::sample::Index),
    Release(prop::sample::Index),
    Wait(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u8..12).prop_map(Step::Reserve),
        3 => any::<prop::sample::Index>().prop_map(Step::Confirm),
        1 => any::<prop::sample::Index>().prop_map(Step::Release),
        2 => (0_u16..15_000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..300)
}

/// What must be true of an id, kept in the plainest way.
#[derive(Clone, Copy, Debug)]
enum Fact {
    Writing { owner: usize, until: Instant },
    Written { at: Instant },
}

proptest! {
    #[test]
    fn no_id_has_two_writers_and_no_written_one_is_written_again(steps in steps(), capacity in 1_usize..16) {
        let mut deduplicator = remembering(capacity);
        let mut facts: HashMap<u8, Fact> = HashMap::new();
        let mut held: Vec<(u8, usize, Reservation)> = Vec::new();
        let mut now = Instant::now();
        let mut owners = 0;
        for step in steps {
            match step {
                Step::Wait(millis) => now += Duration::from_millis(millis.into()),
                Step::Reserve(id) => {
                    let surely = now.checked_sub(deduplicator.effective_window(now)).unwrap();
                    match (deduplicator.reserve(Fingerprint::of(&id.to_string()), now), facts.get(&id)) {
                        (Admission::Reserved(reservation), fact) => {
                            match fact {
                                Some(Fact::Writing { until, .. }) => prop_assert!(*until <= now, "two writers"),
                                Some(Fact::Written { at }) => prop_assert!(*at <= surely, "written again"),
                                None => {}
                            }
                            owners += 1;
                            facts.insert(id, Fact::Writing { owner: owners, until: now + RESERVATION });
                            held.push((id, owners, reservation));
                        }
                        (Admission::InProgress, Some(Fact::Writing { until, .. })) => prop_assert!(*until > now),
                        // Confirmed after its reservation had expired, and before anybody else came.
                        (Admission::Duplicate, Some(Fact::Writing { until, .. })) => prop_assert!(*until <= now),
                        (Admission::Duplicate, Some(Fact::Written { at })) => prop_assert!(*at + WINDOW > now),
                        (Admission::Full, _) => prop_assert!(deduplicator.len() == capacity),
                        (other, fact) => prop_assert!(false, "{other:?} for {fact:?}"),
                    }
                }
                Step::Confirm(index) if !held.is_empty() => {
                    let (id, owner, reservation) = held.swap_remove(index.index(held.len()));
                    deduplicator.confirm(&reservation, now);
                    if matches!(facts.get(&id), Some(Fact::Writing { owner: of, until }) if *of == owner && *until > now) {
                        facts.insert(id, Fact::Written { at: now });
                    }
                }
                Step::Release(index) if !held.is_empty() => {
                    let (id, owner, reservation) = held.swap_remove(index.index(held.len()));
                    deduplicator.release(&reservation);
                    if matches!(facts.get(&id), Some(Fact::Writing { owner: of, .. }) if *of == owner) {
                        facts.remove(&id);
                    }
                }
                Step::Confirm(_) | Step::Release(_) => {}
            }
            prop_assert!(deduplicator.len() <= capacity);
            let settled = deduplicator.reserved.iter().filter(|(_, item)| item.is_none()).count();
            prop_assert!(deduplicator.settled == settled && settled <= MOST_SETTLED.max(deduplicator.reserved.len() / 2));
        }
    }
}
