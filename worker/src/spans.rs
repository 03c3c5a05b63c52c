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
