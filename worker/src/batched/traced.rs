//! What a trace says of the records of a batch.

use sluice_kafka::{OutgoingRecord, TransactionError};
use sluice_telemetry::traces::{Exemplar, Span, TRACE_HEADERS, messaging};

use super::{
    End,
    batches::{Fate, Output},
};
use crate::spans::Spans;

/// The spans of a record that is being written; they end with this.
pub(super) struct Traced {
    process: Span,
    send: Span,
}

/// Begins the spans of what is to be written, and puts each record into its place in its trace: a dead letter stays where it was. None
/// where tracing is off.
pub(super) fn begin<'a>(
    spans: &Spans,
    outputs: impl Iterator<Item = &'a Output>,
    records: &mut [OutgoingRecord],
) -> Vec<Traced> {
    if !spans.are_made() {
        return Vec::new();
    }
    outputs.zip(records).map(|(output, record)| traced(spans, output, record)).collect()
}

fn traced(spans: &Spans, output: &Output, record: &mut OutgoingRecord) -> Traced {
    let mut process = spans.process(&output.record);
    let send = process.child(|| messaging::send(&record.topic));
    match &output.fate {
        Fate::Deliver(_) => {
            if let Some(context) = send.context() {
                record.replace_headers(&TRACE_HEADERS, context.headers());
            }
        }
        Fate::Bury(failed) => process.fail(|| failed.code.clone()),
    }
    Traced { process, send }
}

impl Traced {
    /// What names the span of the record beside a metric.
    pub(super) fn exemplar(&self) -> Option<Exemplar> {
        self.process.exemplar()
    }

    fn fail(&mut self, error_type: impl Fn() -> String) {
        self.process.fail(&error_type);
        self.send.fail(error_type);
    }
}

/// Notes what was not written. What shares a transaction fails with it.
pub(super) fn note_failures(traced: &mut [Traced], end: &End) {
    match end {
        _ if traced.is_empty() => {}
        End::Batch(unwritten) => {
            for (place, error) in unwritten.refused.iter().chain(&unwritten.failed) {
                if let Some(traced) = traced.get_mut(*place) {
                    traced.fail(|| error.code.name());
                }
            }
        }
        End::Transaction(Ok(())) => {}
        End::Transaction(Err(error)) => {
            let (TransactionError::Refused { error, .. }
            | TransactionError::Aborted { error, .. }
            | TransactionError::Unknown(error)) = error;
            for traced in traced {
                traced.fail(|| error.code.name());
            }
        }
    }
}
