//! What an HTTP answer means for the record that was sent, and what it says.

use std::{
    io::Read as _,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{
    HeaderMap, StatusCode,
    header::{CONTENT_ENCODING, RETRY_AFTER},
};

use crate::retry::Failure;

/// The body of an answer, part by part.
pub(crate) trait Parts {
    /// The next part; `None` at the end, also where it breaks off.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

/// How much of an answer is read: enough for a message, and for most connections to be used again.
const READ_LIMIT: usize = 64 * 1024;
/// How much of an answer a message quotes.
const QUOTE_LIMIT: usize = 768;

/// What an answer means that is no success. See RFC 9110 for the codes, and RFC 6585 for 429. A time that comes with too many requests,
/// or with being unavailable, is about all requests; with other codes it is about this one.
pub(crate) fn failure(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Failure {
    match status.as_u16() {
        code @ (408 | 409 | 425 | 429 | 500..=599) => match (code, retry_after(headers, now)) {
            (429 | 503, Some(retry_after)) => Failure::Busy { retry_after },
            (_, retry_after) => Failure::Passing { retry_after },
        },
        _ => Failure::Refusal,
    }
}

/// The wait that `Retry-After` asks for, in seconds or as a date. What is neither asks for nothing.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// Reads what nobody looks at of an answer, so that its connection can be used again.
pub(crate) async fn finish(body: &mut impl Parts) {
    let mut length = 0;
    while length < READ_LIMIT
        && let Some(part) = body.next().await
    {
        length += part.len();
    }
}

/// The beginning of an answer's body, unpacked. One that breaks off changes nothing about the answer's status.
pub(crate) async fn text(headers: &HeaderMap, body: &mut impl Parts) -> Vec<u8> {
    let is_packed = headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip");
    let mut text = Vec::new();
    while text.len() < READ_LIMIT
        && let Some(part) = body.next().await
    {
        text.extend_from_slice(&part[..part.len().min(READ_LIMIT - text.len())]);
    }
    if is_packed { unpacked(&text) } else { text }
}

/// As much as a message quotes, whatever it would unpack to.
fn unpacked(packed: &[u8]) -> Vec<u8> {
    let (mut text, limit) = (Vec::new(), QUOTE_LIMIT as u64);
    // What was unpacked before it breaks off is worth a look.
    drop(MultiGzDecoder::new(packed).take(limit).read_to_end(&mut text));
    text
}

/// What an answer says, for a message.
pub(crate) fn quoted(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(QUOTE_LIMIT)]);
    if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use http::HeaderValue;
    use proptest::{collection::vec, prelude::*};
    use sluice_crds::Retry;

    use super::*;
    use crate::retry::{Decision, Spent, decide};

    /// The last second that an HTTP date can say: year 9999.
    const LAST: u64 = 253_402_300_799;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// What an answer may ask for: a number, a date, one that was damaged, or anything.
    fn wait() -> impl Strategy<Value = Vec<u8>> {
        let date = || (0..=LAST).prop_map(|seconds| httpdate::fmt_http_date(at(seconds)).into_bytes());
        let damaged = (date(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut date, place, byte)| {
            *place.get_mut(&mut date) = byte;
            date
        });
        let number = any::<u128>().prop_map(|number| number.to_string().into_bytes());
        prop_oneof![number, date(), damaged, vec(any::<u8>(), 0..40)]
    }

    proptest! {
        #[test]
        fn whatever_an_answer_asks_for_holds_up_nobody_for_long(code in 100..1_000_u16, wait in wait(), now in 0..=LAST) {
            let value = HeaderValue::from_bytes(&wait);
            let headers = value.map(|value| HeaderMap::from_iter([(RETRY_AFTER, value)])).unwrap_or_default();
            let failure = failure(StatusCode::from_u16(code).unwrap(), &headers, at(now));
            prop_assert!(failure.hold() <= Duration::from_mins(5));
            let spent = Spent { attempts: 1, elapsed: Duration::ZERO, first_failed_at: DateTime::UNIX_EPOCH };
            let policy = Retry::default();
            if let Decision::Retry { after } = decide(&policy, &spent, failure, 0.5) {
                prop_assert!(after <= policy.max_elapsed.get() + failure.hold());
            }
        }

        #[test]
        fn a_number_of_seconds_and_a_date_are_understood(seconds: u64, date in 0..=LAST, now in 0..=LAST) {
            let asked = |text: String| {
                retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::try_from(text).unwrap())]), at(now))
            };
            prop_assert_eq!(asked(seconds.to_string()), Some(Duration::from_secs(seconds)));
            let until = Duration::from_secs(date.saturating_sub(now));
            prop_assert_eq!(asked(httpdate::fmt_http_date(at(date))), Some(until));
        }
    }

    #[test]
    fn answers_are_passing_or_refusals() {
        let meaning = |code| failure(StatusCode::from_u16(code).unwrap(), &HeaderMap::new(), SystemTime::UNIX_EPOCH);
        for code in [408, 409, 425, 429, 500, 502, 503, 504, 599] {
            assert_eq!(meaning(code), Failure::Passing { retry_after: None }, "{code}");
        }
        for code in [301, 302, 304, 400, 401, 403, 404, 410, 413, 415, 422, 600] {
            assert_eq!(meaning(code), Failure::Refusal, "{code}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Tue, 24 Nov 2026 12:00:00 GMT").unwrap();
        for (text, seconds) in [
            ("120", Some(120)),
            ("0", Some(0)),
            ("Tue, 24 Nov 2026 12:00:30 GMT", Some(30)),
            ("Tue, 24 Nov 2026 11:00:00 GMT", Some(0)),
            ("-5", None),
            ("soon", None),
            ("1.5", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            let retry_after = seconds.map(Duration::from_secs);
            let passing = Failure::Passing { retry_after };
            let busy = retry_after.map_or(passing, |retry_after| Failure::Busy { retry_after });
            for (code, expected) in [(429, busy), (503, busy), (409, passing), (502, passing)] {
                assert_eq!(failure(StatusCode::from_u16(code).unwrap(), &headers, now), expected, "{code} {text}");
            }
        }
    }

    #[test]
    fn a_packed_answer_is_quoted_as_text_and_never_grows_beyond_the_quote() {
        use std::io::Write as _;
        let packed = |text: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(quoted(&unpacked(&packed(b"amount is negative"))), ": amount is negative");
        let bomb = packed(&vec![b'a'; 64 * 1024 * 1024]);
        assert_eq!(unpacked(&bomb[..READ_LIMIT.min(bomb.len())]).len(), QUOTE_LIMIT);
        assert_eq!(unpacked(b"no gzip"), b"");
    }
}
