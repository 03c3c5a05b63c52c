//! The way of a record through its steps.

use sluice_crds::{
    Decode, Format,
    wire::{SinkConfig, StepConfig},
};
use vrl::{
    compiler::{TypeState, state::ExternalEnv},
    value::{Kind, Value},
};

use crate::{
    Code, CompileError, CpuTime, Message, Record, Rejection, Verdict, decode, metadata, step::Step, work::Work,
};

/// How records are decoded, and compiled steps. Cheap to share: applying it changes nothing in it.
#[derive(Debug)]
pub struct Pipeline {
    decode: Decode,
    steps: Vec<Step>,
    /// Whether any step reads metadata; else it is not made.
    reads_metadata: bool,
    /// Whether a record that no step looks at must still be what its format says.
    checks_format: bool,
}

impl Pipeline {
    /// Compiles the steps, or says all that is wrong with them. Each step is compiled for what the steps before it make of
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
        if !errors.is_empty() {
            return Err(errors);
        }
        let reads_metadata = compiled.iter().any(Step::reads_metadata);
        let checks_format = sink.is_some_and(tells_format);
        Ok(Self { decode: decode.clone(), steps: compiled, reads_metadata, checks_format })
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
        if self.checks_format {
            work.check()?;
        }
        let (value, media) = work.payload()?;
        Ok(Verdict::Deliver(Message { value: value.ok_or_else(no_value)?, media }))
    }

    fn metadata(&self, record: &Record) -> Value {
        if self.reads_metadata { metadata::value(record) } else { Value::Null }
    }
}

/// Whether what is sent to the sink says of itself what it is, so that it has to be that.
fn tells_format(sink: &SinkConfig) -> bool {
    match sink {
        SinkConfig::Http { .. } => true,
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
