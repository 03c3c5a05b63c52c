//! Numbers as a status shows them: rounded, so that they change no more often than a person cares.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

const UNITS: [(u64, &str); 3] = [(1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];

/// `0`, `999`, `1.2k`, `35k`, `1.2M`: two digits at least, rounded down.
pub(crate) fn rounded(number: u64) -> String {
    let Some((unit, name)) = UNITS.iter().find(|(unit, _)| number >= *unit) else {
        return number.to_string();
    };
    let (whole, tenth) = (number / unit, number % unit * 10 / unit);
    if whole < 10 && tenth > 0 { format!("{whole}.{tenth}{name}") } else { format!("{whole}{name}") }
}

/// `0`, `99`, `350`, `1.2k`, `350k`: two digits, rounded down; for what moves all the time.
pub(crate) fn coarse(number: u64) -> String {
    let digits = number.checked_ilog10().map_or(1, |digits| digits + 1);
    let unit = 10_u64.pow(digits.saturating_sub(2));
    rounded(number / unit * unit)
}

/// The times that are shown. Between two of them a person does the same.
const STEPS: [(u64, &str); 15] = [
    (60, "1m"),
    (2 * 60, "2m"),
    (5 * 60, "5m"),
    (10 * 60, "10m"),
    (20 * 60, "20m"),
    (30 * 60, "30m"),
    (3600, "1h"),
    (2 * 3600, "2h"),
    (4 * 3600, "4h"),
    (8 * 3600, "8h"),
    (12 * 3600, "12h"),
    (24 * 3600, "1d"),
    (48 * 3600, "2d"),
    (4 * 24 * 3600, "4d"),
    (7 * 24 * 3600, "7d"),
];

/// `<1m`, `1m`, `2m`, `5m` ... `7d`: rounded down.
pub(crate) fn time(time: Duration) -> String {
    step(time).unwrap_or("<1m").to_owned()
}

/// `>0m`, `>1m`, `>2m` ... `>7d`: of a time that is longer than this one.
pub(crate) fn more_than(time: Duration) -> String {
    format!(">{}", step(time).unwrap_or("0m"))
}

fn step(time: Duration) -> Option<&'static str> {
    let step = STEPS.iter().rev().find(|(seconds, _)| time.as_secs() >= *seconds);
    step.map(|(_, text)| *text)
}

/// The least that a text of [`time`] stands for.
pub(crate) fn parsed_time(text: &str) -> Option<Duration> {
    let known = STEPS.iter().find(|(_, name)| *name == text).map(|(seconds, _)| *seconds);
    known.or_else(|| ["<1m", "0m"].contains(&text).then_some(0)).map(Duration::from_secs)
}

/// About the number that a text of [`rounded`] stands for, never more than it was.
pub(crate) fn parsed(text: &str) -> Option<u64> {
    let (digits, unit) = match UNITS.iter().find(|(_, name)| text.ends_with(name)) {
        Some((unit, name)) => (text.strip_suffix(name)?, *unit),
        None => (text, 1),
    };
    let (whole, tenth) = digits.split_once('.').unwrap_or((digits, "0"));
    let (whole, tenth): (u64, u64) = (whole.parse().ok()?, tenth.parse().ok().filter(|tenth| *tenth < 10)?);
    whole.checked_mul(unit)?.checked_add(tenth * unit / 10)
}

/// `0/s`, `<0.1/s`, `3.1/s`, `35/s`, `1.2k/s`.
pub(crate) fn per_second(rate: f64) -> String {
    if rate <= 0.0 {
        "0/s".to_owned()
    } else if rate < 0.1 {
        "<0.1/s".to_owned()
    } else if rate < 10.0 {
        format!("{rate:.1}/s")
    } else {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is positive, and no event counter holds more"
        )]
        let whole = rate as u64;
        format!("{}/s", rounded(whole))
    }
}

/// `0%`, `<0.1%`, `0.3%`, `35%`: rounded down. `None`: of nothing there is no part.
pub(crate) fn percent(part: u64, of: u64) -> Option<String> {
    let thousandths = part.checked_mul(1_000)?.checked_div(of)?;
    Some(match (part, thousandths) {
        (0, _) => "0%".to_owned(),
        (_, 0) => "<0.1%".to_owned(),
        (_, ..100) => format!("{}.{}%", thousandths / 10, thousandths % 10),
        _ => format!("{}%", thousandths / 10),
    })
}

/// The minute of a second since 1970.
pub(crate) fn minute(second: i64) -> Option<Timestamp> {
    Timestamp::from_second(second - second.rem_euclid(60)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_for_people() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1k"),
            (1_249, "1.2k"),
            (35_700, "35k"),
            (1_200_000, "1.2M"),
            (u64::MAX, "18446744073G"),
        ] {
            assert_eq!(rounded(number), text);
            let about = parsed(text).unwrap();
            assert!(about <= number && rounded(about) == text, "{number} {about}");
        }
        for text in ["", "k", "1.25k", "x", "-1", "1.k", "99999999999999999999"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn what_moves_all_the_time_has_two_digits() {
        for (number, text) in [
            (0, "0"),
            (7, "7"),
            (99, "99"),
            (100, "100"),
            (356, "350"),
            (1_249, "1.2k"),
            (35_700, "35k"),
            (356_700, "350k"),
        ] {
            assert_eq!(coarse(number), text);
        }
    }

    #[test]
    fn times_have_few_values() {
        for (seconds, text) in [(0, "<1m"), (59, "<1m"), (60, "1m"), (299, "2m"), (3 * 3600, "2h"), (10_000_000, "7d")]
        {
            let shown = time(Duration::from_secs(seconds));
            assert_eq!(shown, text);
            assert!(parsed_time(&shown).unwrap() <= Duration::from_secs(seconds));
        }
        assert_eq!([30, 300].map(|seconds| more_than(Duration::from_secs(seconds))), [">0m", ">5m"]);
        assert_eq!(
            ["2h", "0m", "<1m", "3m", ""].map(|text| parsed_time(text).map(|time| time.as_secs())),
            [Some(7_200), Some(0), Some(0), None, None]
        );
    }

    #[test]
    fn rates_are_rounded_for_people() {
        for (rate, text) in
            [(0.0, "0/s"), (0.01, "<0.1/s"), (0.14, "0.1/s"), (3.12, "3.1/s"), (35.9, "35/s"), (1_234.0, "1.2k/s")]
        {
            assert_eq!(per_second(rate), text);
        }
    }

    #[test]
    fn shares_are_rounded_for_people() {
        for (part, of, text) in [
            (0, 7, Some("0%")),
            (1, 100_000, Some("<0.1%")),
            (3, 1_000, Some("0.3%")),
            (1, 11, Some("9.0%")),
            (99, 100, Some("99%")),
            (7, 7, Some("100%")),
            (0, 0, None),
        ] {
            assert_eq!(percent(part, of).as_deref(), text, "{part} of {of}");
        }
    }
}
