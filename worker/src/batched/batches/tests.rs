//! What one transaction holds: tables, and the law of conservation under random faults.

use std::collections::BTreeSet;

use proptest::prelude::*;
use sluice_crds::OnDataError;
use sluice_pipeline::{Code, Envelope, KafkaAddress, Media, Rejection};

use super::*;
use crate::{engine::tests::plain_record, source::GRACE};

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

fn id(partition: i32) -> PartitionId {
    PartitionId { topic: "t".into(), partition }
}

fn start(partition: i32, offset: i64) -> Start {
    let committed = Commit { partition: id(partition), offset, note: String::new() };
    Start { partition: id(partition), committed: Some(committed) }
}

fn batch(partition: i32, offsets: std::ops::Range<i64>) -> Batch {
    Batch { partition: id(partition), records: offsets.map(|offset| plain_record(partition, offset)).collect() }
}

/// Every tenth record is held back, and every tenth after it is malformed.
fn judge(record: &Record) -> Verdict {
    match record.offset % 10 {
        3 => Verdict::Skip { step: "filter".into() },
        7 => Verdict::Reject(Rejection { stage: "decode".into(), code: Code::InvalidJson, message: "no JSON".into() }),
        _ => {
            let address = KafkaAddress { key: None, partition: None, headers: vec![] };
            let (value, envelope) = (record.value.clone(), Envelope::Kafka(address));
            Verdict::Deliver(Message { value, media: Media::Json, envelope })
        }
    }
}

fn too_large() -> Refusal {
    Refusal { code: "MESSAGE_TOO_LARGE".to_owned(), message: "too large".to_owned() }
}

fn batches(delivery: Delivery) -> Batches {
    let mut batches = Batches::new(delivery, "kafka");
    batches.assign(start(0, 0));
    batches
}

/// Whether there is something to write of what waits.
fn next(batches: &mut Batches, is_enough: fn() -> bool) -> bool {
    batches.prepare(NOW, judge, is_enough);
    batches.next()
}

/// Offset and fate of each output, and the offset that is committed with them for the only partition.
fn written(batches: &Batches) -> (Vec<(i64, bool)>, Option<i64>) {
    let outputs = batches.outputs().map(|output| (output.record.offset, matches!(output.fate, Fate::Deliver(_))));
    (outputs.collect(), batches.offsets().first().map(|(_, committed)| committed.offset))
}

#[test]
fn outputs_dead_letters_and_offsets_go_together() {
    let mut batches = batches(Delivery::default());
    batches.receive(batch(0, 0..9));
    assert!(next(&mut batches, || false));
    let expected: Vec<_> = [0, 1, 2, 4, 5, 6, 7, 8].map(|offset| (offset, offset != 7)).into();
    assert_eq!(written(&batches), (expected.clone(), Some(9)));
    batches.fail();
    assert!(!next(&mut batches, || false) && batches.next_stuck(1), "what was not written is written again");
    assert_eq!(written(&batches), (expected, Some(9)));
    batches.succeed();
    assert!(!next(&mut batches, || false));
    let Counts { received, delivered, skipped, dead_lettered, .. } = batches.counts();
    assert_eq!((received, delivered, skipped, dead_lettered), (9, 7, 1, 1));
}

#[test]
fn what_is_only_skipped_moves_the_offset_and_so_does_a_position_once_it_is_looked_at() {
    let mut batches = batches(Delivery::default());
    batches.receive(batch(0, 3..4));
    assert!(next(&mut batches, || false));
    assert_eq!(written(&batches), (vec![], Some(4)));
    batches.succeed();
    batches.reach(vec![Position { partition: id(0), offset: 6 }]);
    assert!(!next(&mut batches, || false));
    batches.look_at_positions();
    assert!(next(&mut batches, || false));
    assert_eq!(written(&batches), (vec![], Some(6)));
    batches.succeed();
    batches.look_at_positions();
    assert!(!next(&mut batches, || false));
}

#[test]
fn a_position_never_overtakes_records_that_wait_before_it() {
    let mut batches = batches(Delivery::default());
    batches.receive(batch(0, 0..2));
    batches.reach(vec![Position { partition: id(0), offset: 5 }]);
    batches.look_at_positions();
    assert!(next(&mut batches, || false));
    assert_eq!(written(&batches), (vec![(0, true), (1, true)], Some(5)));
}

#[test]
fn a_position_of_an_earlier_hold_says_nothing_about_a_later_one() {
    let mut batches = batches(Delivery::default());
    batches.receive(batch(0, 0..2));
    batches.reach(vec![Position { partition: id(0), offset: 5 }]);
    batches.release(&[id(0)]);
    batches.assign(start(0, 0));
    batches.receive(batch(0, 0..2));
    assert!(next(&mut batches, || false));
    assert_eq!(written(&batches), (vec![(0, true), (1, true)], Some(2)));
}

#[test]
fn a_partition_is_read_on_behind_what_is_in_hand_and_only_one_that_is_shorter_waits_for_it() {
    let extent = |low, high| Extent { partition: id(0), low, high, committed: None };
    let mut batches = batches(Delivery::default());
    batches.receive(batch(0, 0..3));
    let from = |offset| Place::From { offset, paused: false };
    assert_eq!(batches.place(&extent(0, 100)), from(3), "it may be another one that is in trouble");
    for what in ["deleted before it was read", "and told once"] {
        assert_eq!((batches.place(&extent(9, 100)), batches.counts().gone), (from(9), 6), "{what}");
    }
    assert_eq!(batches.place(&extent(0, 2)), Place::Later, "it waits");
    assert!(next(&mut batches, || false));
    assert_eq!(written(&batches), (vec![(0, true), (1, true), (2, true)], Some(9)));
    assert_eq!(batches.place(&extent(9, 100)), from(9));
    assert_eq!(batches.place(&extent(0, 2)), Place::Later, "it is being written");
    batches.succeed();
    assert_eq!(batches.place(&extent(0, 2)), from(0));
    batches.look_at_positions();
    assert!(next(&mut batches, || false));
    assert_eq!(written(&batches), (vec![], Some(0)), "what is committed is not left beyond its end");
}

#[test]
fn a_record_that_is_refused_after_its_partition_went_stops_nobody() {
    let mut batches = batches(Delivery { on_delivery_error: OnDeliveryError::Halt, ..Delivery::default() });
    batches.receive(batch(0, 0..2));
    assert!(next(&mut batches, || false));
    batches.release(&[id(0)]);
    batches.assign(start(0, 2));
    batches.refuse(0, &too_large(), NOW);
    batches.forget_what_is_gone();
    assert!(batches.halts().is_none() && batches.commands().count() == 0);
    let Counts { received, returned, .. } = batches.counts();
    assert_eq!((received, returned), (2, 2));
}

#[test]
fn a_refused_record_is_a_dead_letter_in_the_next_try_or_stops_its_partition() {
    let mut letters = batches(Delivery::default());
    letters.receive(batch(0, 0..3));
    assert!(next(&mut letters, || false) && letters.refuse(1, &too_large(), NOW) && letters.next_stuck(1));
    assert_eq!(written(&letters), (vec![(0, true), (1, false), (2, true)], Some(3)));
    assert!(!letters.refuse(1, &too_large(), NOW), "nor can its dead letter be written");

    let mut halting = batches(Delivery { on_delivery_error: OnDeliveryError::Halt, ..Delivery::default() });
    halting.receive(batch(0, 0..3));
    halting.receive(batch(0, 3..6));
    assert!(next(&mut halting, || false) && halting.refuse(1, &too_large(), NOW));
    assert!(halting.next_stuck(1));
    assert_eq!(written(&halting), (vec![(0, true)], Some(1)));
    halting.succeed();
    assert_eq!(halting.commands().collect::<Vec<_>>(), [Command::Pause(id(0))]);
    let halts = halting.halts().unwrap();
    assert_eq!((halts[0].offset, halts[0].reason.as_str()), (1, "kafka: MESSAGE_TOO_LARGE: too large"));
    halting.receive(batch(0, 6..8));
    assert!(!next(&mut halting, || false), "nothing behind it is written");
}

#[test]
fn a_malformed_record_stops_its_partition_where_that_is_asked_for() {
    let mut halting = batches(Delivery { on_data_error: OnDataError::Halt, ..Delivery::default() });
    halting.receive(batch(0, 5..9));
    assert!(next(&mut halting, || false));
    assert_eq!(written(&halting), (vec![(5, true), (6, true)], Some(7)));
    assert_eq!(halting.halts().unwrap()[0].offset, 7);
}

#[test]
fn what_an_earlier_worker_settled_above_its_commit_is_not_written_again() {
    let note = crate::progress::Progress { settled: vec![1..3, 5..6], failing: vec![] }.note(0).text;
    let mut batches = Batches::new(Delivery::default(), "kafka");
    batches.assign(Start { partition: id(0), committed: Some(Commit { partition: id(0), offset: 0, note }) });
    batches.receive(batch(0, 0..3));
    assert!(next(&mut batches, || false));
    assert_eq!(written(&batches), (vec![(0, true)], Some(3)));
    let (_, CommittedOffset { metadata, .. }) = &batches.offsets()[0];
    assert_eq!(crate::progress::Progress::read(metadata, 3).unwrap().settled.first(), Some(&(5..6)));
}

#[test]
fn when_it_is_enough_the_rest_waits_for_the_next_batch() {
    let mut batches = batches(Delivery::default());
    batches.receive(batch(0, 0..2));
    batches.receive(batch(0, 2..3));
    assert!(next(&mut batches, || true));
    assert_eq!(written(&batches), (vec![(0, true), (1, true)], Some(2)));
    batches.succeed();
    assert!(next(&mut batches, || true), "something is always taken");
    assert_eq!(written(&batches), (vec![(2, true)], Some(3)));
}

#[test]
fn what_is_left_of_records_that_were_read_together_waits_too() {
    let mut batches = batches(Delivery::default());
    batches.receive(batch(0, 0..40));
    batches.reach(vec![Position { partition: id(0), offset: 50 }]);
    for offset in [16, 32, 40, 50] {
        batches.look_at_positions();
        assert!(next(&mut batches, || true));
        assert_eq!(written(&batches).1, Some(offset));
        batches.succeed();
    }
    let Counts { received, delivered, skipped, dead_lettered, .. } = batches.counts();
    assert_eq!((received, delivered, skipped, dead_lettered), (40, 32, 4, 4));
    assert_eq!(batches.bytes, 0);
}

#[test]
fn commits_do_not_wait_for_their_time_once_many_are_written() {
    let mut batches = batches(Delivery::default());
    for (offsets, owes) in [(0..9_990, false), (9_990..10_000, true)] {
        batches.receive(batch(0, offsets));
        while next(&mut batches, || false) {
            batches.succeed();
        }
        assert_eq!(batches.owes_commits(), owes);
    }
    let commits = batches.commits(Instant::now());
    assert_eq!(commits.iter().map(|commit| commit.offset).collect::<Vec<_>>(), [10_000]);
    assert!(!batches.owes_commits());
}

#[test]
fn too_much_that_waits_is_read_later() {
    let mut batches = batches(Delivery::default());
    let thousand = i64::try_from(BYTES / 512 / 10).unwrap();
    for number in 0..11 {
        batches.receive(batch(0, number * thousand..(number + 1) * thousand));
    }
    let begin = Instant::now();
    batches.pause_or_resume(begin);
    assert!(!batches.has_room() && batches.pauses_at() == Some(begin + GRACE));
    assert_eq!(batches.commands().count(), 0, "it may be over in a moment");
    batches.pause_or_resume(begin + GRACE);
    assert!(batches.has_room(), "what the source has in hand is still received");
    assert_eq!(batches.commands().collect::<Vec<_>>(), [Command::Pause(id(0))]);
    while next(&mut batches, || false) {
        batches.succeed();
    }
    batches.pause_or_resume(begin + GRACE);
    assert_eq!(batches.commands().collect::<Vec<_>>(), [Command::Resume(id(0))]);
}

#[test]
fn where_there_is_room_again_in_a_moment_nothing_is_paused() {
    let mut batches = batches(Delivery::default());
    batches.receive(batch(0, 0..i64::try_from(BYTES / 256).unwrap()));
    let begin = Instant::now();
    batches.pause_or_resume(begin);
    assert!(!batches.has_room() && next(&mut batches, || false));
    for now in [begin + GRACE / 2, begin + 2 * GRACE] {
        batches.pause_or_resume(now);
        assert!(batches.has_room() && batches.commands().count() == 0);
    }
}

#[test]
fn what_is_prepared_meanwhile_comes_behind_what_has_to_be_written_again() {
    let mut batches = batches(Delivery::default());
    batches.receive(batch(0, 0..2));
    assert!(next(&mut batches, || false));
    batches.receive(batch(0, 2..5));
    batches.prepare(NOW, judge, || false);
    assert_eq!(written(&batches), (vec![(0, true), (1, true)], Some(2)));
    batches.succeed_but(&[], &[1], NOW);
    assert!(!batches.next() && batches.next_stuck(1));
    assert_eq!(written(&batches), (vec![(1, true), (2, true), (4, true)], Some(5)));
    batches.succeed();
    let Counts { received, delivered, skipped, .. } = batches.counts();
    assert_eq!((received, delivered, skipped), (5, 4, 1));
}

#[test]
fn nothing_is_written_that_was_prepared_of_a_partition_that_stops_or_is_given_back() {
    for delivery in [Delivery { on_delivery_error: OnDeliveryError::Halt, ..Delivery::default() }, Delivery::default()]
    {
        let mut batches = batches(delivery);
        batches.receive(batch(0, 0..2));
        assert!(next(&mut batches, || false));
        batches.receive(batch(0, 2..5));
        batches.prepare(NOW, judge, || false);
        batches.refuse(0, &too_large(), NOW);
        batches.release(&[id(0)]);
        batches.assign(start(0, 0));
        assert!(!batches.next_stuck(1) && !batches.next());
        let Counts { received, returned, .. } = batches.counts();
        assert_eq!((received, returned), (5, 5));
    }
}

/// Two partitions with three records each that are being written, and the place of the second record of the first partition.
fn two_partitions(delivery: Delivery) -> (Batches, usize) {
    let mut batches = batches(delivery);
    batches.assign(start(1, 0));
    (0..2).for_each(|partition| batches.receive(batch(partition, 0..3)));
    assert!(next(&mut batches, || false));
    let is_it = |output: &Output| (output.record.partition, output.record.offset) == (0, 1);
    let place = batches.outputs().position(is_it).unwrap();
    (batches, place)
}

/// Partition and offset of each output.
fn outputs(batches: &Batches) -> Vec<(i32, i64)> {
    batches.outputs().map(|output| (output.record.partition, output.record.offset)).collect()
}

#[test]
fn a_partition_that_is_stuck_holds_up_no_other() {
    let (mut batches, place) = two_partitions(Delivery::default());
    batches.succeed_but(&[], &[place], NOW);
    assert_eq!(batches.commands().collect::<Vec<_>>(), [Command::Pause(id(0))]);
    let commits: BTreeSet<_> =
        batches.commits(Instant::now()).iter().map(|commit| (commit.partition.partition, commit.offset)).collect();
    assert_eq!(commits, [(0, 0), (1, 3)].into());
    for partition in 0..2 {
        batches.receive(batch(partition, 4..5));
        batches.reach(vec![Position { partition: id(partition), offset: 9 }]);
    }
    batches.look_at_positions();
    assert!(next(&mut batches, || false));
    assert_eq!((outputs(&batches), batches.offsets()[0].1.offset), (vec![(1, 4)], 9));
    batches.succeed();

    assert!(batches.next_stuck(usize::MAX));
    assert_eq!((outputs(&batches), batches.offsets()[0].1.offset), (vec![(0, 1), (0, 2)], 3));
    batches.succeed();
    assert_eq!(batches.commands().collect::<Vec<_>>(), [Command::Resume(id(0))]);
    assert!(!batches.has_stuck() && next(&mut batches, || false));
    assert_eq!((outputs(&batches), batches.offsets()[0].1.offset), (vec![(0, 4)], 9));
}

#[test]
fn a_dead_letter_that_is_refused_holds_up_no_other_partition() {
    let (mut batches, place) = two_partitions(Delivery::default());
    assert!(batches.refuse(place, &too_large(), NOW));
    assert!(batches.next_stuck(usize::MAX));
    let place = batches.outputs().position(|output| matches!(output.fate, Fate::Bury(_))).unwrap();
    assert!(!batches.refuse(place, &too_large(), NOW));
    // Now partition by partition, the one at fault last.
    assert!(batches.next_stuck(1));
    assert_eq!(outputs(&batches), [(1, 0), (1, 1), (1, 2)]);
    batches.succeed();
    batches.receive(batch(1, 4..5));
    assert!(next(&mut batches, || false));
    assert_eq!(outputs(&batches), [(1, 4)]);
    batches.succeed();
    assert!(batches.next_stuck(1));
    assert_eq!(outputs(&batches), [(0, 0), (0, 1), (0, 2)]);
}

#[test]
fn what_waits_behind_a_stuck_partition_takes_no_room_of_others() {
    let (mut batches, place) = two_partitions(Delivery::default());
    let many = i64::try_from(BYTES / 256).unwrap();
    batches.receive(batch(0, 10..10 + many));
    let begin = Instant::now();
    for now in [begin, begin + GRACE] {
        batches.pause_or_resume(now);
    }
    assert_eq!(batches.commands().count(), 2, "both are paused");
    batches.succeed_but(&[], &[place], NOW);
    batches.pause_or_resume(begin + GRACE);
    let commands: Vec<_> = batches.commands().collect();
    assert!(commands.contains(&Command::Resume(id(1))) && !commands.contains(&Command::Resume(id(0))), "{commands:?}");
}

#[test]
fn a_batch_is_full_by_what_is_made_of_its_records_however_small_they_are() {
    let mut batches = batches(Delivery::default());
    batches.receive(batch(0, 0..25));
    let mut written = Vec::new();
    loop {
        batches.prepare(NOW, |record| enlarged(record, BYTES / 10), || false);
        if !batches.next() {
            break;
        }
        written.push(batches.outputs().count());
        batches.succeed();
    }
    assert_eq!((written, batches.bytes), (vec![10, 10, 5], 0));
}

#[test]
fn what_is_made_of_records_that_are_stuck_is_held_up_with_them() {
    let mut batches = batches(Delivery::default());
    (1..6).for_each(|partition| batches.assign(start(partition, 0)));
    let mut now = Instant::now();
    for partition in 0..4 {
        for _ in 0..2 {
            batches.pause_or_resume(now);
            now += GRACE;
        }
        assert!(!batches.paused, "{partition} are stuck");
        batches.receive(batch(partition, 0..1));
        batches.prepare(NOW, |record| enlarged(record, HELD_UP / 4), || false);
        assert!(batches.next());
        batches.fail();
    }
    for _ in 0..2 {
        batches.pause_or_resume(now);
        now += GRACE;
    }
    assert!(batches.paused, "{:?} are held up", batches.bytes_held_up());
}

/// Delivered as so many bytes.
fn enlarged(record: &Record, bytes: usize) -> Verdict {
    let address = KafkaAddress { key: record.key.clone(), partition: None, headers: vec![] };
    let value = Some(vec![b'x'; bytes].into());
    Verdict::Deliver(Message { value, media: Media::Bytes, envelope: Envelope::Kafka(address) })
}

/// So many bytes of records, about.
fn records_of(bytes: usize) -> i64 {
    i64::try_from(bytes / 512).unwrap()
}

#[test]
fn while_nothing_can_be_written_only_so_much_is_read() {
    let mut batches = batches(Delivery::default());
    (1..100).for_each(|partition| batches.assign(start(partition, 0)));
    let mut now = Instant::now();
    let (mut read, mut paused) = (0, BTreeSet::new());
    // Each is read until it is paused, and nothing of it is ever written.
    for partition in 0..100 {
        if !paused.contains(&id(partition)) {
            batches.receive(batch(partition, 0..records_of(BYTES / 2)));
            read += BYTES / 2;
        }
        if batches.next_stuck(usize::MAX) {
            batches.fail();
        }
        if next(&mut batches, || false) {
            batches.fail();
        }
        for _ in 0..2 {
            batches.pause_or_resume(now);
            now += GRACE;
        }
        for command in batches.commands() {
            match command {
                Command::Pause(partition) => paused.insert(partition),
                Command::Resume(partition) => paused.remove(&partition),
                other => panic!("{other:?}"),
            };
        }
    }
    assert!((HELD_UP..HELD_UP + 2 * BYTES).contains(&read) && paused.len() == 100, "{read}");

    while batches.next_stuck(usize::MAX) {
        batches.succeed();
        batches.pause_or_resume(now);
    }
    let resumed: BTreeSet<_> = batches
        .commands()
        .map(|command| match command {
            Command::Resume(partition) => partition,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(resumed, paused);
}

#[test]
fn what_waits_behind_stuck_partitions_is_no_more_than_what_is_stuck_may_be() {
    let mut batches = batches(Delivery::default());
    (1..3).for_each(|partition| batches.assign(start(partition, 0)));
    (0..2).for_each(|partition| batches.receive(batch(partition, 0..3)));
    assert!(next(&mut batches, || false));
    batches.fail();
    batches.commands().for_each(drop);
    let mut now = Instant::now();
    let mut pauses = |batches: &mut Batches| {
        for _ in 0..2 {
            batches.pause_or_resume(now);
            now += GRACE;
        }
        batches.commands().collect::<Vec<_>>()
    };
    batches.receive(batch(0, 3..records_of(HELD_UP / 3 * 2)));
    assert!(pauses(&mut batches).is_empty(), "one alone holds up no other");
    batches.receive(batch(1, 3..records_of(HELD_UP / 3 * 2)));
    assert_eq!(pauses(&mut batches), [Command::Pause(id(2))]);
    assert!(batches.next_stuck(usize::MAX));
    batches.succeed();
    while next(&mut batches, || false) {
        batches.succeed();
    }
    let resumed = pauses(&mut batches);
    assert_eq!(resumed.len(), 3, "{resumed:?}");
}

#[test]
fn what_is_stuck_is_written_again_as_much_at_once_as_a_batch_holds() {
    let mut batches = batches(Delivery::default());
    let half = records_of(BYTES / 2);
    for partition in 0..5 {
        batches.assign(start(partition, 0));
        batches.receive(batch(partition, 0..half));
        assert!(next(&mut batches, || false));
        batches.fail();
    }
    let mut turns = Vec::new();
    while batches.next_stuck(usize::MAX) {
        turns.push(outputs(&batches).into_iter().map(|(partition, _)| partition).collect::<BTreeSet<_>>());
        batches.succeed();
    }
    assert_eq!(turns, [BTreeSet::from([0, 1]), BTreeSet::from([2, 3]), BTreeSet::from([4])]);

    batches.receive(batch(0, half..half + records_of(2 * BYTES)));
    assert!(next(&mut batches, || false));
    batches.fail();
    assert!(batches.next_stuck(usize::MAX), "one that is larger is written all the same");
}

/// What happens to one of a few partitions, or to what is being written.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Read(i32, u8),
    Judge,
    Begin,
    Succeed,
    /// The output at this place fails.
    Fail(u8),
    /// It is refused.
    Refuse(u8),
    Rebalance(i32),
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let one = prop_oneof![
        3 => (0..3_i32, 1..40_u8).prop_map(|(partition, number)| Turn::Read(partition, number)),
        3 => Just(Turn::Judge),
        3 => Just(Turn::Begin),
        2 => Just(Turn::Succeed),
        3 => any::<u8>().prop_map(Turn::Fail),
        1 => any::<u8>().prop_map(Turn::Refuse),
        1 => (0..3_i32).prop_map(Turn::Rebalance),
    ];
    proptest::collection::vec(one, 0..100)
}

/// The memory of what waits, of what is stuck and of what waits behind it, counted anew.
fn counted_anew(batches: &Batches) -> (usize, (usize, usize)) {
    let is_stuck = |id: &PartitionId, number: u64| {
        batches.holds.get(id).is_some_and(|held| held.number == number && held.is_stuck())
    };
    let (mut all, mut behind) = (0, 0);
    for waiting in &batches.waiting {
        if let Waiting::Records(number, batch) = waiting {
            all += memory(batch);
            behind += if is_stuck(&batch.partition, *number) { memory(batch) } else { 0 };
        }
    }
    let parts = batches.parts.iter().chain(&batches.stuck);
    let stuck = parts.filter(|part| is_stuck(&part.commit.partition, part.hold)).flat_map(|part| &part.outputs);
    (all, (stuck.map(Output::memory).sum(), behind))
}

proptest! {
    #[test]
    fn memory_is_counted_as_it_comes_and_goes(turns in turns(), halts in any::<bool>()) {
        let on_delivery_error = if halts { OnDeliveryError::Halt } else { OnDeliveryError::DeadLetter };
        let mut batches = batches(Delivery { on_delivery_error, ..Delivery::default() });
        (1..3).for_each(|partition| batches.assign(start(partition, 0)));
        let (mut next, mut writing) = ([0_i64; 3], false);
        for turn in turns {
            let number = batches.outputs().count().max(1);
            match turn {
                Turn::Read(partition, number) => {
                    let next = &mut next[usize::try_from(partition).unwrap()];
                    let end = *next + i64::from(number);
                    batches.receive(batch(partition, *next..end));
                    *next = end;
                }
                Turn::Judge => {
                    let some_larger = |record: &Record| match judge(record) {
                        Verdict::Deliver(_) if record.offset % 2 == 0 => enlarged(record, 1_000),
                        verdict => verdict,
                    };
                    batches.prepare(NOW, some_larger, || false);
                }
                Turn::Begin if !writing => writing = batches.next_stuck(1) || batches.next(),
                Turn::Succeed if writing => {
                    batches.succeed();
                    writing = false;
                }
                Turn::Fail(place) if writing => {
                    batches.succeed_but(&[], &[usize::from(place) % number], NOW);
                    writing = false;
                }
                Turn::Refuse(place) if writing => {
                    batches.refuse(usize::from(place) % number, &too_large(), NOW);
                    writing = false;
                }
                Turn::Rebalance(partition) => {
                    batches.release(&[id(partition)]);
                    batches.assign(start(partition, next[usize::try_from(partition).unwrap()]));
                }
                Turn::Begin | Turn::Succeed | Turn::Fail(_) | Turn::Refuse(_) => {}
            }
            prop_assert_eq!((batches.bytes, batches.bytes_held_up()), counted_anew(&batches));
        }
    }
}

#[derive(Clone, Debug)]
enum Move {
    Read(u8),
    Write,
    /// So many are read and judged while it is written.
    WriteMeanwhile(u8),
    Abort,
    /// The same.
    AbortMeanwhile(u8),
    /// The partition goes, and comes back with what is committed.
    Rebalance,
    /// The same, told after the transaction under way was written.
    LateRebalance,
    Refuse(u8),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (1..20_u8).prop_map(Move::Read),
        4 => Just(Move::Write),
        4 => (1..20_u8).prop_map(Move::WriteMeanwhile),
        1 => Just(Move::Abort),
        1 => (1..20_u8).prop_map(Move::AbortMeanwhile),
        1 => Just(Move::Rebalance),
        1 => Just(Move::LateRebalance),
        1 => any::<u8>().prop_map(Move::Refuse),
    ];
    proptest::collection::vec(one, 0..100)
}

/// What is written next.
fn begin(batches: &mut Batches) -> bool {
    batches.next_stuck(usize::MAX) || next(batches, || false)
}

/// So many are read, from that offset on, and judged; gives the next offset.
fn meanwhile(batches: &mut Batches, offset: i64, number: u8) -> i64 {
    let end = offset + i64::from(number);
    batches.receive(batch(0, offset..end));
    batches.prepare(NOW, judge, || false);
    end
}

proptest! {
    #[test]
    fn every_record_is_written_once_in_order_whatever_happens(moves in moves()) {
        let mut batches = batches(Delivery::default());
        let (mut next, mut committed) = (0_i64, 0_i64);
        let mut written = Vec::new();
        for one in moves {
            match one {
                Move::Read(number) => {
                    batches.receive(batch(0, next..next + i64::from(number)));
                    next += i64::from(number);
                }
                Move::Write | Move::WriteMeanwhile(_) | Move::LateRebalance => if begin(&mut batches) {
                    let late = matches!(one, Move::LateRebalance);
                    written.extend(batches.outputs().map(|output| output.record.offset));
                    let before = committed;
                    committed = batches.offsets().iter().map(|(_, committed)| committed.offset).max().unwrap();
                    prop_assert!(committed >= before);
                    if let Move::WriteMeanwhile(number) = one {
                        next = meanwhile(&mut batches, next, number);
                    }
                    if late {
                        batches.release(&[id(0)]);
                        batches.assign(start(0, committed));
                        next = committed;
                    }
                    batches.succeed();
                },
                Move::Abort | Move::AbortMeanwhile(_) => if begin(&mut batches) {
                    if let Move::AbortMeanwhile(number) = one {
                        next = meanwhile(&mut batches, next, number);
                    }
                    batches.fail();
                },
                Move::Rebalance => {
                    let begun = begin(&mut batches);
                    batches.release(&[id(0)]);
                    batches.assign(start(0, committed));
                    next = committed;
                    if begun {
                        batches.fail();
                    }
                }
                Move::Refuse(index) => if begin(&mut batches) {
                    let number = batches.outputs().count().max(1);
                    batches.refuse(usize::from(index) % number, &too_large(), NOW);
                },
            }
            let Counts { received, delivered, skipped, dead_lettered, returned, .. } = batches.counts();
            prop_assert!(received >= delivered + skipped + dead_lettered + returned);
        }
        prop_assert!(written.is_sorted());
        let once: BTreeSet<_> = written.iter().copied().collect();
        prop_assert_eq!(once.len(), written.len(), "written twice");
        let expected: BTreeSet<_> = (0..committed).filter(|offset| offset % 10 != 3).collect();
        prop_assert_eq!(once, expected);
    }
}
