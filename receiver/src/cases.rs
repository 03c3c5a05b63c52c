//! How often the property tests of what senders write are tried.

use proptest::test_runner::Config;

/// Enough for a test that everybody runs; `PROPTEST_CASES=1000000` looks further.
const USUAL: u32 = 1_000;

pub(crate) fn cases() -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok();
    let cases = cases.map_or(USUAL, |text| text.parse().expect("PROPTEST_CASES is a number of cases"));
    Config { cases, max_global_rejects: cases.max(1024), ..Config::default() }
}
