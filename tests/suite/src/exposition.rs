//! The answer of a program to Prometheus, and how it compares with the definitions.

use std::collections::{BTreeMap, BTreeSet};

use sluice_crds::metrics::{Chapter, Kind, Metric};

/// What `/metrics` said, by family.
#[derive(Debug, Default)]
pub struct Exposition(BTreeMap<String, Family>);

#[derive(Debug, Default)]
struct Family {
    kind: String,
    meaning: String,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    exemplar: Option<Exemplar>,
}

/// A trace that a bucket of a histogram names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemplar {
    /// The trace's id.
    pub trace: String,
    /// The id of a span in it.
    pub span: String,
}

impl Exposition {
    /// Reads the OpenMetrics text format. Panics where it is none.
    pub fn read(text: &str) -> Self {
        assert!(text.ends_with("# EOF\n"), "not OpenMetrics: {text}");
        let mut families = BTreeMap::<String, Family>::new();
        let mut current = String::new();
        for line in text.lines().filter(|line| *line != "# EOF") {
            if let Some(comment) = line.strip_prefix("# ") {
                let [what, name, text] = words(comment);
                name.clone_into(&mut current);
                let family = families.entry(name.to_owned()).or_default();
                match what {
                    "TYPE" => text.clone_into(&mut family.kind),
                    "HELP" => text.clone_into(&mut family.meaning),
                    _ => {}
                }
            } else {
                families.entry(current.clone()).or_default().samples.push(sample(line));
            }
        }
        Self(families)
    }

    /// The traces that the buckets of a histogram name.
    pub fn exemplars(&self, metric: &Metric) -> Vec<Exemplar> {
        let samples = self.0.get(metric.family()).map(|family| family.samples.as_slice()).unwrap_or_default();
        samples.iter().filter_map(|sample| sample.exemplar.clone()).collect()
    }

    /// Everything in which it is not what these chapters define.
    pub fn complaints(&self, chapters: &[Chapter]) -> Vec<String> {
        let defined: BTreeMap<&str, &Metric> =
            chapters.iter().flat_map(|chapter| chapter.metrics).map(|metric| (metric.family(), metric)).collect();
        let unknown = self.0.keys().filter(|name| !defined.contains_key(name.as_str()));
        let mut complaints: Vec<_> = unknown.map(|name| format!("{name} is not defined")).collect();
        for (name, metric) in defined {
            match self.0.get(name) {
                Some(family) => complaints.extend(family.complaints(metric)),
                None => complaints.push(format!("{name} is missing")),
            }
        }
        complaints
    }
}

impl Family {
    fn complaints(&self, metric: &Metric) -> Vec<String> {
        let mut complaints = Vec::new();
        let name = metric.name;
        if self.kind != metric.kind.name() {
            complaints.push(format!("{name} is a {}", self.kind));
        }
        if self.meaning != format!("{}.", metric.meaning) {
            complaints.push(format!("{name} means {:?}", self.meaning));
        }
        if self.samples.is_empty() && metric.labels.is_empty() {
            complaints.push(format!("{name} has no value"));
        }
        for Sample { name: sample, labels, .. } in &self.samples {
            let suffixes: &[&str] = if metric.kind == Kind::Histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
            if !suffixes.iter().any(|suffix| *sample == format!("{name}{suffix}")) {
                complaints.push(format!("{name} has a sample {sample}"));
            }
            let found: BTreeSet<&str> = labels.keys().map(String::as_str).filter(|label| *label != "le").collect();
            let expected: BTreeSet<&str> = metric.labels.iter().map(|label| label.name).collect();
            if found != expected {
                complaints.push(format!("{name} has the labels {found:?}, not {expected:?}"));
            }
            for label in metric.labels {
                let value = labels.get(label.name).map_or("", String::as_str);
                if !label.listed().is_empty() && !label.listed().contains(&value) {
                    complaints.push(format!("{name} has {}={value:?}", label.name));
                }
            }
        }
        complaints
    }
}

fn words(comment: &str) -> [&str; 3] {
    let mut words = comment.splitn(3, ' ');
    [(); 3].map(|()| words.next().unwrap_or_default())
}

/// `name{label="value",...} value # exemplar`. No value of ours holds a quotation mark or a comma.
fn sample(line: &str) -> Sample {
    let (head, exemplar) = line.split_once(" # ").unwrap_or((line, ""));
    let name = head.split(['{', ' ']).next().unwrap_or_default();
    let mut named = labels(exemplar);
    let exemplar = named.remove("trace_id").zip(named.remove("span_id")).map(|(trace, span)| Exemplar { trace, span });
    Sample { name: name.to_owned(), labels: labels(head), exemplar }
}

/// What stands between the first braces.
fn labels(text: &str) -> BTreeMap<String, String> {
    let inside = text.split_once('{').and_then(|(_, rest)| rest.split_once('}')).unwrap_or_default().0;
    let labels = inside.split(',').filter_map(|label| label.split_once('='));
    labels.map(|(label, value)| (label.to_owned(), value.trim_matches('"').to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use sluice_crds::metrics::operator;

    use super::*;

    const CHAPTER: Chapter =
        Chapter { title: "", preface: "", metrics: &[operator::LEADER, operator::RECONCILE_DURATION] };
    const LEADER: &str = "# HELP sluice_operator_leader 1 where this replica leads, 0 where it stands by.\n\
                          # TYPE sluice_operator_leader gauge\nsluice_operator_leader 1\n";
    const DURATION: &str = "# HELP sluice_operator_reconcile_duration_seconds Time of a pass.\n\
                            # TYPE sluice_operator_reconcile_duration_seconds histogram\n\
                            # UNIT sluice_operator_reconcile_duration_seconds seconds\n\
                            sluice_operator_reconcile_duration_seconds_bucket{le=\"1.0\",kind=\"Topic\"} 1 # {trace_id=\"a\"} 0.5\n";

    fn complaints(text: &str) -> Vec<String> {
        Exposition::read(&format!("{text}# EOF\n")).complaints(&[CHAPTER])
    }

    #[test]
    fn what_is_as_defined_is_no_complaint() {
        assert_eq!(complaints(&format!("{LEADER}{DURATION}")), Vec::<String>::new());
    }

    #[test]
    fn a_bucket_names_a_trace_by_both_ids() {
        let named = |labels| {
            let text = DURATION.replace("{trace_id=\"a\"}", labels) + "# EOF\n";
            Exposition::read(&text).exemplars(&operator::RECONCILE_DURATION)
        };
        let expected = Exemplar { trace: "a".to_owned(), span: "b".to_owned() };
        assert_eq!(named("{trace_id=\"a\",span_id=\"b\"}"), [expected]);
        assert!(named("{trace_id=\"a\"}").is_empty());
    }

    #[test]
    fn whatever_differs_from_the_definition_is_one() {
        let whole = format!("{LEADER}{DURATION}");
        for (text, complaint) in [
            (LEADER.to_owned(), "sluice_operator_reconcile_duration_seconds is missing"),
            (format!("{whole}# TYPE other gauge\nother 1\n"), "other is not defined"),
            (whole.replace("gauge", "counter"), "sluice_operator_leader is a counter"),
            (whole.replace("a pass", "passes"), "sluice_operator_reconcile_duration_seconds means \"Time of passes.\""),
            (
                whole.replace("leader 1\n", "leader{a=\"b\"} 1\n"),
                "sluice_operator_leader has the labels {\"a\"}, not {}",
            ),
            (whole.replace("Topic", "Tonic"), "sluice_operator_reconcile_duration_seconds has kind=\"Tonic\""),
            (whole.replace("\nsluice_operator_leader 1", ""), "sluice_operator_leader has no value"),
        ] {
            assert_eq!(complaints(&text), [complaint]);
        }
    }
}
