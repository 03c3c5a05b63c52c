//! Whether a figure is as it must be, for benchmarks.
#![allow(clippy::print_stdout, reason = "the figures are told on the terminal")]

/// Where a figure must be.
#[derive(Clone, Copy, Debug)]
pub enum At {
    /// Here or above.
    Least(f64),
    /// Here or below.
    Most(f64),
}

/// Tells a figure, and whether it is where it must be.
pub fn tell(what: &str, seen: f64, bound: At) {
    let (kept, bound) = match bound {
        At::Least(bound) => (seen >= bound, format!("at least {bound}")),
        At::Most(bound) => (seen <= bound, format!("at most {bound}")),
    };
    println!("{} {what}: {seen:.2}, {bound}", if kept { "kept  " } else { "MISSED" });
}

/// Tells the median of a figure's measurements as [`tell`] does, and nothing where there are none: what was not measured is not judged.
pub fn tell_median(what: &str, measured: Vec<f64>, bound: At) {
    if !measured.is_empty() {
        tell(what, median(measured), bound);
    }
}

/// The value in the middle; the upper one of two.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
