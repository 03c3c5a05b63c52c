//! Tells the person who waits what is done and how long it took, one line a step, on standard error.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Runs a step and prints its name with its time once it succeeded.
pub(crate) fn step<T>(name: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let result = run()?;
    note(&line(name, started.elapsed()));
    Ok(result)
}

pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}

fn line(name: &str, took: Duration) -> String {
    format!("{name:<44} {:>6.1} s", took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_below_each_other() {
        assert_eq!(line("kafka ready", Duration::from_millis(2_340)), format!("kafka ready{}2.3 s", " ".repeat(37)));
    }
}
