//! The way of a record through its steps.

use bytes::Bytes;
use sluice_crds::{
    Decode, Format,
    wire::{SinkConfig, StepConfig},
};
use vrl::{
    compiler::{TypeState, state::ExternalEnv},
    value::{Kind, Value},
};

use crate::{
    Code, CompileError, CpuTime, Media, Message, Record, Rejection, Verdict, decode, metadata, request::Request,
    step::Step, work::Work,
};

/// How records are decoded, and compiled steps. Cheap to share: applying it changes nothing in it.
#[derive(Debug)]
pub struct Pipeline {
    decode: Decode,
    steps: Vec<Step>,
    /// How records are sent; `None` where the sink is no HTTP API.
    request: Option<Request>,
    /// Whether any program reads metadata; else it is not made.
    reads_metadata: bool,
}

impl Pipeline {
    /// Compiles the steps and the sink's templates, or says all that is wrong with them. Each step is compiled for what the steps before it make of
    /// the record; those after a wrong one are compiled as if it changed nothing they can know. Without a sink it is only
    /// said what is wrong with the steps.
    pub fn compile(
        decode: &Decode,
        steps: &[StepConfig],
        sink: Option<&SinkConfig>,
    ) -> Result<Self, Vec<CompileError>> {
        let mut types = types_of(decode.format);
        let mut compiled = Vec::with_capacity(steps.len());
        let mut errors = Vec::new();
        for config in steps {
            match Step::compile(config, &mut types) {
                Ok(step) => compiled.push(step),
                Err(found) => {
                    errors.extend(found);
                    types = types_of(decode.format);
                }
            }
        }
        let request = match sink {
            Some(SinkConfig::Http(http)) => Request::compile(http, &types).map_err(|found| errors.extend(found)).ok(),
            None => None,
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        let reads_metadata =
            compiled.iter().any(Step::reads_metadata) || request.as_ref().is_some_and(Request::reads_metadata);
        Ok(Self { decode: decode.clone(), steps: compiled, request, reads_metadata })
    }

    /// Judges one record. Never panics, whatever the record holds. A record that takes more than its share of `cpu_time`,
    /// which is the calling thread's, is rejected.
    pub fn apply(&self, record: &Record, cpu_time: CpuTime) -> Verdict {
        self.judge(record, cpu_time).unwrap_or_else(Verdict::Reject)
    }

    fn judge(&self, record: &Record, cpu_time: CpuTime) -> Result<Verdict, Rejection> {
        let mut work = Work::new(record, &self.decode, self.metadata(record), cpu_time);
        for step in &self.steps {
            if step.run(&mut work)?.is_break() {
                return Ok(Verdict::Skip { step: step.name.clone() });
            }
        }
        let request = self.request.as_ref().map(|request| request.of(&mut work)).transpose()?;
        if request.as_ref().is_some_and(|request| !request.has_body) {
            return Ok(Verdict::Deliver(Message { value: Bytes::new(), media: Media::Bytes, request }));
        }
        if request.is_some() {
            // It says of itself what it is, so that it has to be that.
            work.check()?;
        }
        let (value, media) = work.payload()?;
        Ok(Verdict::Deliver(Message { value: value.ok_or_else(no_value)?, media, request }))
    }

    fn metadata(&self, record: &Record) -> Value {
        if self.reads_metadata { metadata::value(record) } else { Value::Null }
    }
}

fn types_of(format: Format) -> TypeState {
    let value = match format {
        Format::Json => Kind::json(),
        Format::Text | Format::Bytes => Kind::bytes().or_null(),
    };
    TypeState { external: ExternalEnv::new_with_kind(value, metadata::kind()), ..TypeState::default() }
}

fn no_value() -> Rejection {
    let message = "the record has no value (a tombstone); a filter such as `. != null` holds such records back";
    Rejection::new(decode::STAGE, Code::NoValue, message)
}
