//! The metrics of all programs: what each is called, what it counts, and by which labels. `make generate` writes them down in
//! `docs/metrics.md`; the programs register them by these definitions, so that a name stands in one place.
//!
//! - `process`: what every program tells about itself.
//! - `operator`, `receiver`, `worker`: what each counts.
//! - `resource`: what the operator tells about single resources.
//! - `labels`: the labels, and what their values are taken from.

pub mod labels;
pub mod operator;
pub mod process;
pub mod receiver;
pub mod resource;
pub mod worker;

/// A metric as Prometheus shows it.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its whole name, with the unit and, of a counter, `_total`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels; where there are none, it has one value in each process.
    pub labels: &'static [Label],
    /// What it says, without a full stop.
    pub meaning: &'static str,
}

/// What a metric is, in the words of OpenMetrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; begins with 0 when the process does.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
    /// Always 1; its labels say something.
    Info,
}

/// A label, the same wherever it stands.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it tells.
    pub meaning: &'static str,
    /// What bounds the number of its values.
    pub values: Values,
}

/// What bounds the number of a label's values. Nothing that a sender, a record or an API writes may become one.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// Only these.
    OneOf(&'static [&'static str]),
    /// As many as there are of something that people declare or a standard lists.
    AsMany(&'static str),
}

impl Label {
    /// All its values, where they are listed.
    pub const fn listed(&self) -> &'static [&'static str] {
        match self.values {
            Values::OneOf(values) => values,
            Values::AsMany(_) => &[],
        }
    }
}

impl Metric {
    /// The name of its family in OpenMetrics, which says by the kind what its samples are called.
    pub fn family(&self) -> &'static str {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.name.strip_suffix(suffix).unwrap_or(self.name)
    }

    /// The unit that its name ends with, where it is one of time or size.
    pub fn unit(&self) -> Option<&'static str> {
        ["seconds", "bytes"].into_iter().find(|unit| self.family().ends_with(&format!("_{unit}")))
    }
}

impl Kind {
    /// The kind in the words of OpenMetrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}

/// The metrics of one program or subject.
#[derive(Clone, Copy, Debug)]
pub struct Chapter {
    /// Whose they are.
    pub title: &'static str,
    /// What a reader has to know of all of them.
    pub preface: &'static str,
    /// The metrics.
    pub metrics: &'static [Metric],
}

/// All metrics there are.
pub const CHAPTERS: [Chapter; 5] =
    [process::CHAPTER, operator::CHAPTER, resource::CHAPTER, receiver::CHAPTER, worker::CHAPTER];

/// Declares metrics as constants whose documentation is their meaning, and the list of them.
macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal [$($label:ident),*] $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $constant: $crate::metrics::Metric = $crate::metrics::Metric {
                name: $name,
                kind: $crate::metrics::Kind::$kind,
                labels: &[$($crate::metrics::labels::$label),*],
                meaning: $meaning,
            };
        )*
        /// Every metric of this chapter.
        const METRICS: &[$crate::metrics::Metric] = &[$($constant),*];
    };
}
use metrics;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::wire::{DeferredBecause, RejectedBecause};

    fn all() -> impl Iterator<Item = &'static Metric> {
        CHAPTERS.iter().flat_map(|chapter| chapter.metrics)
    }

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for metric in all() {
            let name = metric.name;
            assert!(name.starts_with("sluice_") || name.starts_with("process_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert_eq!(metric.kind == Kind::Info, name.ends_with("_info"), "{name}");
            assert!(metric.kind != Kind::Histogram || metric.unit().is_some(), "{name}");
            assert!(!metric.meaning.ends_with('.') && !metric.meaning.contains(['\n', '|']), "{name}");
        }
    }

    #[test]
    fn causes_of_receivers_are_all_listed() {
        let rejected: Vec<_> = RejectedBecause::ALL.iter().map(|because| format!("{because:?}")).collect();
        let deferred: Vec<_> = DeferredBecause::ALL.iter().map(|because| format!("{because:?}")).collect();
        assert_eq!(labels::REJECTED_REASON.listed(), rejected);
        assert_eq!(labels::DEFERRED_REASON.listed(), deferred);
    }

    #[test]
    fn a_name_means_one_thing() {
        let mut names = BTreeSet::new();
        for metric in all() {
            assert!(names.insert(metric.name), "{} is defined twice", metric.name);
        }
    }
}
