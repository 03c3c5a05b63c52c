//! Times for Prometheus, by buckets that name a trace where tracing is on: OpenMetrics' exemplars.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric, exemplar::HistogramWithExemplars, histogram::Histogram},
};

use crate::traces::{Exemplar, Tracer};

/// Seconds that things took. Clones count together.
#[derive(Clone, Debug)]
pub struct DurationHistogram(Kept);

/// What is kept of the times: traces take a second lock, which nobody pays for without tracing.
#[derive(Clone, Debug)]
enum Kept {
    Counts(Histogram),
    CountsAndTraces(HistogramWithExemplars<Exemplar>),
}

impl DurationHistogram {
    /// With buckets up to these seconds. They name traces where this tracer makes any.
    pub fn new(bounds: impl Iterator<Item = f64>, tracer: &Tracer) -> Self {
        Self(if tracer.is_on() {
            Kept::CountsAndTraces(HistogramWithExemplars::new(bounds))
        } else {
            Kept::Counts(Histogram::new(bounds))
        })
    }

    /// Counts a time. Its bucket names this span from now on; without one, the span that it named before.
    pub fn observe(&self, took: Duration, span: Option<Exemplar>) {
        match &self.0 {
            Kept::Counts(histogram) => histogram.observe(took.as_secs_f64()),
            Kept::CountsAndTraces(histogram) => {
                let now = span.is_some().then(SystemTime::now);
                histogram.observe(took.as_secs_f64(), span, now);
            }
        }
    }
}

impl TypedMetric for DurationHistogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for DurationHistogram {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        match &self.0 {
            Kept::Counts(histogram) => histogram.encode(encoder),
            Kept::CountsAndTraces(histogram) => histogram.encode(encoder),
        }
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::{
        metrics::text,
        traces::{Beginning, Span, tests::tracer},
    };

    /// What Prometheus reads of the buckets up to 0.25 s, 1 s and beyond.
    fn buckets(histogram: &DurationHistogram) -> Vec<String> {
        let mut registry = Registry::default();
        registry.register("times", "Times", histogram.clone());
        text(&registry).lines().filter(|line| line.contains("_bucket")).map(str::to_owned).collect()
    }

    fn observe(histogram: &DurationHistogram, span: &Span) {
        histogram.observe(Duration::from_millis(500), span.exemplar());
    }

    #[test]
    fn a_bucket_names_the_last_span_that_was_recorded() {
        let (recording, silent) = (tracer(true), tracer(false));
        let histogram = DurationHistogram::new([0.25, 1.0].into_iter(), &recording);
        let [first, last] = [(); 2].map(|()| recording.begin(|| Beginning::server("request")));
        for span in [&first, &last, &silent.begin(|| Beginning::server("request")), &Span::default()] {
            observe(&histogram, span);
        }
        let [low, middle, high]: [String; 3] = buckets(&histogram).try_into().unwrap();
        assert_eq!((low.as_str(), high.as_str()), ("times_bucket{le=\"0.25\"} 0", "times_bucket{le=\"+Inf\"} 4"));
        let header = last.context().unwrap().headers().next().unwrap().1;
        let ids: Vec<_> = header.split('-').collect();
        let expected =
            format!("times_bucket{{le=\"1.0\"}} 4 # {{trace_id=\"{}\",span_id=\"{}\"}} 0.5 ", ids[1], ids[2]);
        assert!(middle.starts_with(&expected), "{middle} is not {expected}");
        let second: f64 = middle[expected.len()..].parse().unwrap();
        assert!(second > 1_700_000_000.0, "{middle}");
    }

    #[test]
    fn without_tracing_buckets_are_as_they_were() {
        let histogram = DurationHistogram::new([1.0].into_iter(), &Tracer::default());
        observe(&histogram, &Span::default());
        assert_eq!(buckets(&histogram), ["times_bucket{le=\"1.0\"} 1", "times_bucket{le=\"+Inf\"} 1"]);
    }
}
