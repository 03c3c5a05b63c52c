//! Numbers as a status shows them: rounded, so that they change no more often than a person cares.

const UNITS: [(u64, &str); 3] = [(1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];

/// `0`, `999`, `1.2k`, `35k`, `1.2M`: two digits at least, rounded down.
pub(crate) fn rounded(number: u64) -> String {
    let Some((unit, name)) = UNITS.iter().find(|(unit, _)| number >= *unit) else {
        return number.to_string();
    };
    let (whole, tenth) = (number / unit, number % unit * 10 / unit);
    if whole < 10 && tenth > 0 { format!("{whole}.{tenth}{name}") } else { format!("{whole}{name}") }
}

#[cfg(test)]
mod tests {
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
            assert_eq!(super::rounded(number), text);
        }
    }
}
