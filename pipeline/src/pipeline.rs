//! The way of a record through its steps.

use bytes::Bytes;
use sluice_crds::{Format, wire::StepConfig};
use vrl::{
    compiler::{TypeState, state::ExternalEnv},
    value::{Kind, Value},
};

use crate::{Code, CompileError, Record, Rejection, Verdict, decode, encode, metadata, step::Step, target::StepTarget};

/// A format and compiled steps. Cheap to share: applying it changes nothing in it.
#[derive(Debug)]
pub struct Pipeline {
    format: Format,
    steps: Vec<Step>,
    /// Whether any step reads metadata; else it is not made.
    reads_metadata: bool,
}

impl Pipeline {
    /// Compiles the steps, or says all that is wrong with them. Each step is compiled for what the steps before it make of
    /// the record; those after a wrong one are compiled as if it changed nothing they can know.
    pub fn compile(format: Format, steps: &[StepConfig]) -> Result<Self, Vec<CompileError>> {
        let mut types = types_of(format);
        let mut compiled = Vec::with_capacity(steps.len());
        let mut errors = Vec::new();
        for config in steps {
            match Step::compile(config, &mut types) {
                Ok(step) => compiled.push(step),
                Err(found) => {
                    errors.extend(found);
                    types = types_of(format);
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let reads_metadata = compiled.iter().any(Step::reads_metadata);
        Ok(Self { format, steps: compiled, reads_metadata })
    }

    /// Judges one record. Never panics, whatever the record holds.
    pub fn apply(&self, record: &Record) -> Verdict {
        self.judge(record).unwrap_or_else(Verdict::Reject)
    }

    fn judge(&self, record: &Record) -> Result<Verdict, Rejection> {
        let mut target = StepTarget { value: self.decode(record)?, metadata: self.metadata(record), changed: false };
        let mut changed_by = None;
        for step in &self.steps {
            if step.run(&mut target)?.is_break() {
                return Ok(Verdict::Skip { step: step.name.clone() });
            }
            if std::mem::take(&mut target.changed) {
                changed_by = Some(step);
            }
        }
        match changed_by {
            None => unchanged(record),
            Some(step) => self.encode(&target.value, record, step),
        }
        .map(Verdict::Deliver)
    }

    fn decode(&self, record: &Record) -> Result<Value, Rejection> {
        match self.format {
            Format::Json => decode::json(record.value.as_deref()),
        }
    }

    fn metadata(&self, record: &Record) -> Value {
        if self.reads_metadata { metadata::value(record) } else { Value::Null }
    }

    fn encode(&self, value: &Value, record: &Record, step: &Step) -> Result<Bytes, Rejection> {
        let encoded = match self.format {
            Format::Json => encode::json(value, record.value.as_deref().unwrap_or_default()),
        };
        encoded.map_err(|message| Rejection::new(step.name.as_str(), Code::Unencodable, message))
    }
}

fn types_of(format: Format) -> TypeState {
    let value = match format {
        Format::Json => Kind::json(),
    };
    TypeState { external: ExternalEnv::new_with_kind(value, metadata::kind()), ..TypeState::default() }
}

fn unchanged(record: &Record) -> Result<Bytes, Rejection> {
    record.value.clone().ok_or_else(|| {
        let message = "the record has no value (a tombstone); a filter such as `. != null` holds such records back";
        Rejection::new(decode::STAGE, Code::NoValue, message)
    })
}
