//! One step: what it does to a record, compiled.

use std::ops::ControlFlow;

use sluice_crds::wire::{Operation, StepConfig};
use vrl::{
    compiler::{Program, TypeState},
    value::Value,
};

use crate::{Code, CompileError, Part, Rejection, program, program::Failed, schema::Schema, work::Work};

/// A step that can run.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: String,
    operation: Compiled,
}

#[derive(Debug)]
enum Compiled {
    Filter(Program),
    Map(Program),
    Validate(Schema),
}

impl Step {
    /// Compiles a step for a record whose types are `types`, which become those after the step.
    pub(crate) fn compile(config: &StepConfig, types: &mut TypeState) -> Result<Self, Vec<CompileError>> {
        let part = Part::Step(config.name.clone());
        let operation = match &config.operation {
            Operation::Filter(source) => Compiled::Filter(program::filter(&part, source, types)?),
            Operation::Map(source) => Compiled::Map(program::map(&part, source, types)?),
            Operation::Validate(schema) => Compiled::Validate(
                Schema::compile(schema).map_err(|error| vec![CompileError::of_schema(&part, error)])?,
            ),
        };
        Ok(Self { name: config.name.clone(), operation })
    }

    /// Whether the step's program reads metadata.
    pub(crate) fn reads_metadata(&self) -> bool {
        match &self.operation {
            Compiled::Filter(program) | Compiled::Map(program) => program::reads_metadata(program),
            Compiled::Validate(_) => false,
        }
    }

    /// Runs the step on a record. `Break` means that a filter holds the record back.
    pub(crate) fn run<'a>(&'a self, work: &mut Work<'a>) -> Result<ControlFlow<()>, Rejection> {
        match &self.operation {
            Compiled::Filter(program) => match self.resolve(program, work)? {
                Value::Boolean(true) => Ok(ControlFlow::Continue(())),
                _ => Ok(ControlFlow::Break(())),
            },
            Compiled::Map(program) => {
                self.resolve(program, work)?;
                work.note_change(&self.name);
                Ok(ControlFlow::Continue(()))
            }
            Compiled::Validate(schema) => self.judge(schema, work).map(ControlFlow::Continue),
        }
    }

    fn resolve(&self, program: &Program, work: &mut Work<'_>) -> Result<Value, Rejection> {
        if program::touches_value(program) {
            work.decode()?;
        }
        let resolved = program::run(program, &mut work.target, &mut work.budget);
        resolved.map_err(|Failed { code, message }| self.rejection(code, message))
    }

    fn judge(&self, schema: &Schema, work: &mut Work<'_>) -> Result<(), Rejection> {
        let (document, size) = work.document()?;
        schema.judge(&document, size, &mut work.budget).map_err(|mismatch| mismatch.rejection(&self.name))
    }

    fn rejection(&self, code: Code, message: String) -> Rejection {
        Rejection::new(self.name.as_str(), code, message)
    }
}
