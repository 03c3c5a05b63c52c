//! What is done with one record: the pipeline's verdict, an attempt to deliver it, its dead letter.

use std::{sync::Arc, time::Instant};

use sluice_crds::Delivery;
use sluice_pipeline::{Message, Pipeline, Record, Verdict};
use sluice_telemetry::traces::{Span, Tracer, messaging};

use crate::{
    config::Job,
    dead_letters::{DeadLetters, Failed},
    engine::{End, Task},
    sink::{Outgoing, Sink},
    spans::Spans,
    status::{Area, Status},
    usage,
};

/// What all records of a worker have in common.
pub(crate) struct Flow {
    pub(crate) pipeline: Pipeline,
    pub(crate) sink: Sink,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) delivery: Delivery,
    pub(crate) status: Arc<Status>,
    spans: Spans,
    integration: String,
}

impl Flow {
    pub(crate) fn new(
        job: &Job,
        pipeline: Pipeline,
        sink: Sink,
        dead_letters: DeadLetters,
        status: Arc<Status>,
    ) -> Self {
        let (delivery, integration) = (job.config.delivery.clone(), job.config.integration.to_string());
        let spans = Spans::new(job, Tracer::default());
        Self { pipeline, sink, dead_letters, delivery, status, spans, integration }
    }

    /// With these spans.
    pub(crate) fn traced_by(self, spans: Spans) -> Self {
        Self { spans, ..self }
    }

    /// What is to become of a record.
    pub(crate) fn judge(&self, record: &Record) -> Verdict {
        let verdict = self.pipeline.apply(record, usage::METER);
        self.spans.note_skip(record, &verdict);
        verdict
    }

    /// Does one thing for a record, once. The record's span begins with the first one.
    pub(crate) async fn carry_out(&self, record: &Record, task: &Task, span: &mut Span) -> End {
        if !span.has_begun() {
            *span = self.spans.process(record);
        }
        match task {
            Task::Deliver(message) => self.deliver(record, message, span).await,
            // Seldom, and larger than a delivery: nobody else is to carry its size along.
            Task::Bury(failed, _) => Box::pin(self.bury(record, failed, span)).await,
        }
    }

    async fn deliver(&self, record: &Record, message: &Message, span: &Span) -> End {
        let idempotency_key = self.idempotency_key(record);
        let outgoing = Outgoing { record, message, idempotency_key: &idempotency_key, span };
        let begin = Instant::now();
        let result = self.sink.deliver(&outgoing).await;
        self.status.attempted(begin.elapsed(), span.exemplar(), result.as_ref().err());
        result.map_or_else(End::Failed, |()| End::Delivered)
    }

    /// A dead letter stays where its record was in its trace.
    async fn bury(&self, record: &Record, failed: &Failed, span: &mut Span) -> End {
        span.fail(|| failed.code.clone());
        let mut sending = span.child(|| messaging::send(self.dead_letters.topic()));
        let Err(error) = self.dead_letters.write(record, failed).await else {
            self.status.well(Area::DeadLetters);
            return End::Buried;
        };
        sending.fail(|| error.name());
        self.status.trouble(Area::DeadLetters, self.dead_letters.not_written(&error));
        End::NotBuried
    }

    /// The timestamp is part of it because a topic that is deleted and made again counts its offsets anew.
    fn idempotency_key(&self, record: &Record) -> String {
        let Record { topic, partition, offset, .. } = record;
        format!("{}/{topic}/{partition}/{offset}/{}", self.integration, record.timestamp.unwrap_or_default())
    }
}
