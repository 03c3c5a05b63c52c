//! One step: its program, compiled, and what it does to a record.

use std::{
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
};

use sluice_crds::wire::{Operation, StepConfig};
use vrl::{
    compiler::{
        CompilationResult, CompileConfig, Program, TimeZone, TypeState, compile_with_state,
        runtime::{Runtime, Terminate},
    },
    path::{OwnedTargetPath, PathPrefix},
    value::Value,
};

use crate::{Code, CompileError, Rejection, complexity, functions, metadata, target::StepTarget};

/// Expressions that one step may evaluate for one record: some 50 ms.
const MOST_WORK: u32 = 500_000;

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
}

impl Step {
    /// Compiles a step for a record whose types are `types`, which become those after the step.
    pub(crate) fn compile(config: &StepConfig, types: &mut TypeState) -> Result<Self, Vec<CompileError>> {
        let name = config.name.as_str();
        let operation = match &config.operation {
            Operation::Filter(program) => Compiled::Filter(filter(name, program, types)?),
            Operation::Map(program) => Compiled::Map(map(name, program, types)?),
        };
        Ok(Self { name: name.to_owned(), operation })
    }

    /// Whether the program reads metadata.
    pub(crate) fn reads_metadata(&self) -> bool {
        let (Compiled::Filter(program) | Compiled::Map(program)) = &self.operation;
        program.info().target_queries.iter().any(|path| path.prefix == PathPrefix::Metadata)
    }

    /// Runs the step on a record. `Break` means that a filter holds the record back.
    pub(crate) fn run(&self, target: &mut StepTarget) -> Result<ControlFlow<()>, Rejection> {
        match &self.operation {
            Compiled::Filter(program) => match self.resolve(program, target)? {
                Value::Boolean(true) => Ok(ControlFlow::Continue(())),
                _ => Ok(ControlFlow::Break(())),
            },
            Compiled::Map(program) => self.resolve(program, target).map(|_| ControlFlow::Continue(())),
        }
    }

    /// A panic in the language's library, should it have one, is the record's and not the worker's end.
    fn resolve(&self, program: &Program, target: &mut StepTarget) -> Result<Value, Rejection> {
        match catch_unwind(AssertUnwindSafe(|| resolve(program, target))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Terminate::Interrupted)) => Err(self.rejection(
                Code::TooMuchWork,
                format!("the step was stopped after {MOST_WORK} expressions for one record"),
            )),
            Ok(Err(Terminate::Abort(error))) => Err(self.rejection(Code::Aborted, error.to_string())),
            Ok(Err(Terminate::Error(error))) => Err(self.rejection(Code::StepFailed, error.to_string())),
            Err(_) => {
                let message =
                    "the step panicked, which is a bug of Sluice or its VRL library; the worker's log has the place";
                Err(self.rejection(Code::StepFailed, message.to_owned()))
            }
        }
    }

    fn rejection(&self, code: Code, message: String) -> Rejection {
        Rejection::new(self.name.as_str(), code, message)
    }
}

fn resolve(program: &Program, target: &mut StepTarget) -> Result<Value, Terminate> {
    let mut work = 0;
    let mut control = || {
        work += 1;
        if work > MOST_WORK { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    Runtime::default().resolve_with_control(target, program, &utc(), &mut control)
}

/// Times without a zone are UTC, wherever the worker runs.
fn utc() -> TimeZone {
    TimeZone::parse("UTC").expect("the database of time zones has UTC")
}

fn filter(step: &str, source: &str, types: &TypeState) -> Result<Program, Vec<CompileError>> {
    let mut config = CompileConfig::default();
    config.set_read_only();
    let program = compile(step, source, types, config)?;
    let result = program.final_type_info().result;
    if result.kind().is_boolean() && (result.returns().is_boolean() || result.returns().is_never()) {
        return Ok(program);
    }
    let kind = result.kind();
    let message =
        format!("a filter must be true or false; this one gives {kind}. Compare with ==, or use to_bool!(..)");
    Err(vec![CompileError::at_start(step, message)])
}

fn map(step: &str, source: &str, types: &mut TypeState) -> Result<Program, Vec<CompileError>> {
    let mut config = CompileConfig::default();
    config.set_read_only_path(OwnedTargetPath::metadata_root(), true);
    let program = compile(step, source, types, config)?;
    let writes = program.info().target_assignments.iter().any(|path| path.prefix == PathPrefix::Event);
    // `del` is the one function that changes the record, and the compiler does not say where it is called.
    if !writes && !source.contains("del") {
        let message = "this map changes nothing: assign to the record, as in . = {\"id\": .id} or .id = 1";
        return Err(vec![CompileError::at_start(step, message)]);
    }
    types.external = program.final_type_info().state.external;
    Ok(program)
}

fn compile(step: &str, source: &str, types: &TypeState, config: CompileConfig) -> Result<Program, Vec<CompileError>> {
    if let Some(offset) = complexity::too_deep_at(source) {
        return Err(vec![CompileError::too_deep(step, source, offset)]);
    }
    let CompilationResult { program, .. } = compile_with_state(source, functions::allowed(), types, config)
        .map_err(|found| found.iter().map(|error| CompileError::of(step, source, error)).collect::<Vec<_>>())?;
    match unknown_metadata(&program) {
        Some(message) => Err(vec![CompileError::at_start(step, message)]),
        None => Ok(program),
    }
}

/// The compiler takes an unknown name for null: a misspelt one would be found by nobody.
fn unknown_metadata(program: &Program) -> Option<String> {
    let queries = program.info().target_queries.iter().filter(|path| path.prefix == PathPrefix::Metadata);
    let mut names = queries.filter_map(|path| path.path.segments.first()).map(ToString::to_string);
    let unknown = names.find(|name| !metadata::NAMES.contains(&name.as_str()))?;
    let known = metadata::NAMES.map(|name| format!("%{name}")).join(", ");
    Some(format!("%{unknown} is no metadata of a record; there are {known}"))
}
