//! What a trace says of a record.

use sluice_crds::wire::SourceConfig;
use sluice_pipeline::{Record, Verdict};
use sluice_telemetry::traces::{Beginning, Span, TraceContext, Tracer, messaging};

use crate::config::Job;

/// Begins the spans of records.
pub(crate) struct Spans {
    tracer: Tracer,
    group: String,
}

impl Spans {
    /// For the records of this job.
    pub(crate) fn new(job: &Job, tracer: Tracer) -> Self {
        let SourceConfig::Kafka { group, .. } = &job.config.source;
        Self { tracer, group: group.clone() }
    }

    /// Whether tracing is on.
    pub(crate) fn are_made(&self) -> bool {
        self.tracer.is_on()
    }

    /// What this worker does with a record, in the trace that the record names.
    pub(crate) fn process(&self, record: &Record) -> Span {
        self.tracer.begin(|| self.beginning(record))
    }

    /// A record that is held back is seen in its trace too, with the step that did it.
    pub(crate) fn note_skip(&self, record: &Record, verdict: &Verdict) {
        if let Verdict::Skip { step } = verdict {
            drop(self.tracer.begin(|| self.beginning(record).with("sluice.skipped_by", step.clone())));
        }
    }

    fn beginning(&self, record: &Record) -> Beginning {
        let parent = TraceContext::read(|name| record.headers_named(name));
        messaging::process(&record.topic, record.partition, record.offset, &self.group).child_of(parent)
    }
}

#[cfg(test)]
mod tests {
    use sluice_pipeline::Header;

    use super::*;
    use crate::usage::allocated;

    /// A record that names a trace.
    fn record() -> Record {
        let header = |name: &str, value: &'static str| Header { name: name.to_owned(), value: Some(value.into()) };
        Record {
            topic: "shop.orders".into(),
            partition: 0,
            offset: 7,
            timestamp: None,
            log_append_time: false,
            key: None,
            value: None,
            headers: vec![
                header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
                header("tracestate", "shop=7"),
            ],
        }
    }

    #[test]
    fn without_a_collector_the_spans_of_a_record_take_no_memory() {
        let spans = Spans { tracer: Tracer::default(), group: "shop.to-api".to_owned() };
        let (record, skip) = (record(), Verdict::Skip { step: "only-payments".to_owned() });
        let before = allocated();
        let mut process = spans.process(&record);
        spans.note_skip(&record, &skip);
        let mut attempt = process.child(|| Beginning::client("POST /entries"));
        attempt.set("http.response.status_code", 503_i64);
        attempt.fail(|| "503".to_owned());
        process.written(0, 7);
        let told = (process.context(), process.exemplar(), attempt.context());
        drop((process, attempt));
        assert_eq!((allocated() - before, told), (0, (None, None, None)));

        // What is begun where there is a collector takes some.
        let before = allocated();
        drop(spans.beginning(&record));
        assert!(allocated() > before);
    }
}
