//! When a request was signed: near enough to now, in both directions.

use std::time::Duration;

use jiff::Timestamp;

use super::Refusal;

/// What counts as recent.
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    pub now: Timestamp,
    /// How far the sender's time may lie before or after `now`.
    pub tolerance: Duration,
}

impl Freshness {
    /// Judges a time of sending, in seconds since 1970.
    pub(super) fn check(&self, seconds: &[u8]) -> Result<(), Refusal> {
        let sent = seconds_since_1970(seconds).ok_or(Refusal::TimestampMalformed)?;
        let now = self.now.as_second();
        if u128::from(now.abs_diff(sent)) * 1000 <= self.tolerance.as_millis() {
            return Ok(());
        }
        Err(if sent < now { Refusal::TimestampTooOld } else { Refusal::TimestampTooNew })
    }
}

/// Digits only: `+5`, `-5`, ` 5` and `5.0` are other texts than the one that was signed.
fn seconds_since_1970(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn a_time_is_read_only_as_it_is_written(text in "[0-9]{0,22}|[ -~]{0,12}") {
            let digits = text.trim_start_matches('0');
            let read = seconds_since_1970(text.as_bytes());
            prop_assert!(read.is_none_or(|seconds| seconds.to_string().trim_start_matches('0') == digits), "{} {:?}", text, read);
        }
    }

    #[test]
    fn a_time_may_lie_as_far_before_now_as_after() {
        let freshness =
            Freshness { now: Timestamp::from_second(1_000_000).unwrap(), tolerance: Duration::from_mins(5) };
        let cases: [(&str, Result<(), Refusal>); 12] = [
            ("1000000", Ok(())),
            ("999700", Ok(())),
            ("1000300", Ok(())),
            ("999699", Err(Refusal::TimestampTooOld)),
            ("1000301", Err(Refusal::TimestampTooNew)),
            ("0", Err(Refusal::TimestampTooOld)),
            ("9223372036854775807", Err(Refusal::TimestampTooNew)),
            ("9223372036854775808", Err(Refusal::TimestampMalformed)),
            ("", Err(Refusal::TimestampMalformed)),
            ("+1000000", Err(Refusal::TimestampMalformed)),
            ("1e6", Err(Refusal::TimestampMalformed)),
            ("1000000.0", Err(Refusal::TimestampMalformed)),
        ];
        for (text, expected) in cases {
            assert_eq!(freshness.check(text.as_bytes()), expected, "{text}");
        }
    }
}
