//! What is known of the records above a committed offset, as the text that is committed with it: which are settled, and what
//! the others have spent of their retry budgets. It survives the worker's end, whatever ended it.
//!
//! Pure. The text never says of an unsettled record that it is settled: where there is more to say than fits, it says less.

use std::{ops::Range, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};

use crate::retry::Spent;

/// What is known of records from a committed offset on. Both lists ascend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Offsets of settled records, each range not empty and apart from the next.
    pub(crate) settled: Vec<Range<i64>>,
    /// Offsets of records that are not settled and failed before.
    pub(crate) failing: Vec<(i64, Spent)>,
}

/// A text to commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) text: String,
    /// Whether it says all that is known.
    pub(crate) complete: bool,
}

/// The longest text. Kafka's `offset.metadata.max.bytes` is 4,096 by default, and refuses the whole commit beyond it.
pub(crate) const LIMIT: usize = 3_584;
/// Tells our texts, and their version, from those of others.
const MARK: &str = "sluice1.";
/// Bytes that the text can hold.
const ROOM: usize = (LIMIT - MARK.len()) / 4 * 3;
/// What the failing records may take of it; the settled ones get the rest.
const ROOM_OF_FAILING: usize = ROOM / 2;
/// The longest number, in bytes.
const LONGEST: usize = 10;

impl Progress {
    /// The text for a commit of this offset; empty where nothing is known. It belongs to this offset alone: some tools copy
    /// texts to other offsets.
    pub(crate) fn note(&self, offset: i64) -> Note {
        if self.settled.is_empty() && self.failing.is_empty() {
            return Note { text: String::new(), complete: true };
        }
        let (failing, failing_fit) = encode_failing(&self.failing, offset);
        let mut bytes = Vec::with_capacity(ROOM);
        put(&mut bytes, offset);
        put_count(&mut bytes, failing.count);
        bytes.extend_from_slice(&failing.bytes);
        let settled_fit = encode_settled(&mut bytes, &self.settled, offset);
        let text = format!("{MARK}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes));
        Note { text, complete: failing_fit && settled_fit }
    }

    /// What a text says that was committed with this offset; `None` where it is none of ours, or of another offset.
    pub(crate) fn read(text: &str, offset: i64) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.strip_prefix(MARK)?).ok()?;
        let mut bytes = bytes.as_slice();
        if take(&mut bytes)? != offset {
            return None;
        }
        let failing = decode_failing(&mut bytes, offset)?;
        let settled = decode_settled(&mut bytes, offset)?;
        Some(Self { settled, failing })
    }
}

/// The failing records that fit.
struct Failing {
    count: usize,
    bytes: Vec<u8>,
}

/// Each record as differences to the one before it: most failures of a partition come from the same trouble.
fn encode_failing(failing: &[(i64, Spent)], from: i64) -> (Failing, bool) {
    let mut encoded = Failing { count: 0, bytes: Vec::new() };
    let mut before = [from, 0, 0, 0];
    for (offset, spent) in failing {
        if encoded.bytes.len() + before.len() * LONGEST > ROOM_OF_FAILING {
            return (encoded, false);
        }
        let now = [*offset, i64::from(spent.attempts), tenths(spent.elapsed), spent.first_failed_at.timestamp_millis()];
        for (now, before) in now.iter().zip(before) {
            put(&mut encoded.bytes, now.wrapping_sub(before));
        }
        encoded.count += 1;
        before = now;
    }
    (encoded, true)
}

fn decode_failing(bytes: &mut &[u8], from: i64) -> Option<Vec<(i64, Spent)>> {
    let count = take_count(bytes)?;
    // A count that is no count of ours must not reserve memory.
    let mut failing = Vec::new();
    let mut before = [from, 0, 0, 0];
    for _ in 0..count {
        for value in &mut before {
            *value = value.wrapping_add(take(bytes)?);
        }
        let [offset, attempts, elapsed, first_failed_at] = before;
        let spent = Spent {
            attempts: attempts.try_into().ok()?,
            elapsed: Duration::from_millis(u64::try_from(elapsed).ok()?.checked_mul(100)?),
            first_failed_at: DateTime::<Utc>::from_timestamp_millis(first_failed_at)?,
        };
        let ascends = failing.last().map_or(from, |(last, _): &(i64, Spent)| last.saturating_add(1)) <= offset;
        failing.push(ascends.then_some((offset, spent))?);
    }
    Some(failing)
}

/// Alternately the records up to a range and those in it, until the room ends.
fn encode_settled(bytes: &mut Vec<u8>, settled: &[Range<i64>], from: i64) -> bool {
    let mut end = from;
    for range in settled {
        if bytes.len() + 2 * LONGEST > ROOM {
            return false;
        }
        put(bytes, range.start - end);
        put(bytes, range.end - range.start);
        end = range.end;
    }
    true
}

fn decode_settled(bytes: &mut &[u8], from: i64) -> Option<Vec<Range<i64>>> {
    let mut settled = Vec::new();
    let mut end = from;
    while !bytes.is_empty() {
        let start = end.checked_add(take(bytes).filter(|gap| *gap >= 0)?)?;
        end = start.checked_add(take(bytes).filter(|length| *length > 0)?)?;
        settled.push(start..end);
    }
    Some(settled)
}

fn tenths(time: Duration) -> i64 {
    i64::try_from(time.as_millis() / 100).unwrap_or(i64::MAX)
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    put(bytes, i64::try_from(count).expect("there is room for some thousands"));
}

fn take_count(bytes: &mut &[u8]) -> Option<usize> {
    take(bytes)?.try_into().ok()
}

/// A number in as few bytes as it needs: zigzag, then seven bits a byte, as Kafka's own records and Protocol Buffers do.
fn put(bytes: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        bytes.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    bytes.push(rest.to_le_bytes()[0]);
}

fn take(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Known {
        Settled,
        Untouched,
        Failing(Spent),
    }

    fn spent() -> impl Strategy<Value = Spent> {
        (1..1_000_u32, 0..864_000_u64, 0..4_000_000_000_000_i64).prop_map(|(attempts, tenths, first)| Spent {
            attempts,
            elapsed: Duration::from_millis(tenths * 100),
            first_failed_at: DateTime::from_timestamp_millis(first).unwrap(),
        })
    }

    fn known() -> impl Strategy<Value = Known> {
        prop_oneof![3 => Just(Known::Settled), 3 => Just(Known::Untouched), 1 => spent().prop_map(Known::Failing)]
    }

    /// A base, and what is known of the records from there on, with holes between some of them.
    fn window(size: usize) -> impl Strategy<Value = (i64, Vec<(i64, Known)>)> {
        let gap = prop_oneof![20 => Just(0_i64), 1 => 1..5_000_i64];
        (0..i64::MAX / 4, proptest::collection::vec((gap, known()), 0..size)).prop_map(|(base, records)| {
            let mut next = base;
            let place = |(gap, known)| {
                let offset = next + gap;
                next = offset + 1;
                (offset, known)
            };
            (base, records.into_iter().map(place).collect())
        })
    }

    fn progress(records: &[(i64, Known)]) -> Progress {
        let mut progress = Progress::default();
        let mut joined = false;
        for (offset, known) in records {
            match known {
                Known::Settled if joined => progress.settled.last_mut().unwrap().end = offset + 1,
                Known::Settled => progress.settled.push(*offset..offset + 1),
                Known::Untouched => {}
                Known::Failing(spent) => progress.failing.push((*offset, *spent)),
            }
            joined = matches!(known, Known::Settled);
        }
        progress
    }

    proptest! {
        #[test]
        fn what_fits_is_read_back_as_it_was((base, records) in window(100)) {
            let progress = progress(&records);
            let note = progress.note(base);
            prop_assert!(note.complete);
            let read = if note.text.is_empty() { Progress::default() } else { Progress::read(&note.text, base).unwrap() };
            prop_assert_eq!(read, progress);
        }
    }

    proptest! {
        // It takes its time: a hundredth of what `make fuzz` asks for.
        #![proptest_config(ProptestConfig { cases: (ProptestConfig::default().cases / 100).max(256), ..ProptestConfig::default() })]

        #[test]
        fn it_is_never_too_long_and_never_says_of_an_unsettled_record_that_it_is_settled((base, records) in window(6_000)) {
            let progress = progress(&records);
            let note = progress.note(base);
            prop_assert!(note.text.len() <= LIMIT, "{}", note.text.len());
            let read = if note.text.is_empty() { Progress::default() } else { Progress::read(&note.text, base).unwrap() };
            let unsettled: BTreeSet<_> =
                records.iter().filter(|(_, known)| !matches!(known, Known::Settled)).map(|(offset, _)| *offset).collect();
            for range in &read.settled {
                prop_assert_eq!(unsettled.range(range.clone()).next(), None);
            }
            prop_assert!(progress.settled.starts_with(&read.settled), "it says less, and nothing else");
            prop_assert!(progress.failing.starts_with(&read.failing), "it says less, and nothing else");
            prop_assert_eq!(note.complete, read == progress);
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200), offset: i64) {
            let text = format!("{MARK}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes));
            if let Some(Progress { settled, failing }) = Progress::read(&text, offset) {
                prop_assert!(settled.iter().all(|range| range.start < range.end && range.start >= offset));
                prop_assert!(failing.is_sorted_by_key(|(offset, _)| *offset));
            }
        }
    }

    #[test]
    fn a_text_of_another_offset_or_of_somebody_else_says_nothing() {
        let progress = Progress { settled: vec![7..9, 12..13], failing: vec![] };
        let note = progress.note(5);
        assert_eq!(Progress::read(&note.text, 5), Some(progress));
        assert_eq!(Progress::read(&note.text, 6), None);
        for text in ["", "checkpoint 5", "sluice1.%", "sluice1.", "sluice2.Cg"] {
            assert_eq!(Progress::read(text, 5), None, "{text}");
        }
    }

    /// The figure that the documentation gives.
    #[test]
    fn a_thousand_blocked_records_among_ten_thousand_fit() {
        let settled = (0..1_000).map(|n| n * 10 + 1..n * 10 + 10).collect();
        assert!(Progress { settled, failing: vec![] }.note(0).complete);
    }
}
