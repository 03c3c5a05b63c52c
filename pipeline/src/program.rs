//! Programs in the Vector Remap Language: compiled for what is known of a record, run within its budget.

use std::panic::{AssertUnwindSafe, catch_unwind};

use vrl::{
    compiler::{
        CompilationResult, CompileConfig, Compiler, Program, TimeZone, TypeState, compile_with_state,
        runtime::{Runtime, Terminate},
    },
    diagnostic::DiagnosticList,
    parser::parse,
    path::{OwnedTargetPath, PathPrefix},
    value::Value,
};

use crate::{
    Code, CompileError, Part, budget::Budget, complexity, expansion, functions, growth, metadata, pieces,
    target::StepTarget,
};

/// Why a program gave nothing for a record.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) code: Code,
    pub(crate) message: String,
}

/// What is said of a panic.
pub(crate) const PANICKED: &str =
    "the step panicked, which is a bug of Sluice or of a library; the worker's log has the place";

/// Runs a program on a record. A panic in the language's library, should it have one, is the record's and not the worker's
/// end.
pub(crate) fn run(program: &Program, target: &mut StepTarget, budget: &mut Budget) -> Result<Value, Failed> {
    let mut control = || budget.spend();
    let resolved = catch_unwind(AssertUnwindSafe(|| {
        Runtime::default().resolve_with_control(target, program, &utc(), &mut control)
    }));
    let (code, message) = match (resolved, budget.used_up()) {
        (Ok(Ok(value)), None) => return Ok(value),
        (Ok(Ok(_) | Err(Terminate::Interrupted)), reason) => (Code::TooMuchWork, reason.unwrap_or_default()),
        (Ok(Err(Terminate::Abort(error))), _) => (Code::Aborted, error.to_string()),
        (Ok(Err(Terminate::Error(error))), _) => (Code::StepFailed, without_places(&error.to_string())),
        (Err(_), _) => (Code::StepFailed, PANICKED.to_owned()),
    };
    Err(Failed { code, message })
}

/// What the language says of an error, without the places of calls: they count bytes and look like lines and columns.
fn without_places(message: &str) -> String {
    const PLACE: &str = " at (";
    let (mut text, mut rest) = (String::with_capacity(message.len()), message);
    while let Some((before, after)) = rest.split_once(PLACE) {
        text.push_str(before);
        let is_place =
            |place: &str| !place.is_empty() && place.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
        rest = match after.split_once(')') {
            Some((place, behind)) if is_place(place) => behind,
            _ => {
                text.push_str(PLACE);
                after
            }
        };
    }
    text.push_str(rest);
    text
}

/// Times without a zone are UTC, wherever the worker runs.
fn utc() -> TimeZone {
    TimeZone::parse("UTC").expect("the database of time zones has UTC")
}

/// Whether the program reads the record's metadata.
pub(crate) fn reads_metadata(program: &Program) -> bool {
    program.info().target_queries.iter().any(|path| path.prefix == PathPrefix::Metadata)
}

/// Whether the program reads or changes the record's value.
pub(crate) fn touches_value(program: &Program) -> bool {
    let info = program.info();
    info.target_queries.iter().chain(&info.target_assignments).any(|path| path.prefix == PathPrefix::Event)
}

/// Compiles a condition.
pub(crate) fn filter(part: &Part, source: &str, types: &TypeState) -> Result<Program, Vec<CompileError>> {
    let program = expression(part, source, types)?;
    let result = program.final_type_info().result;
    if result.kind().is_boolean() && (result.returns().is_boolean() || result.returns().is_never()) {
        return Ok(program);
    }
    let kind = result.kind();
    let message =
        format!("a filter must be true or false; this one gives {kind}. Compare with ==, or use to_bool!(..)");
    Err(vec![CompileError::at_start(part, message)])
}

/// Compiles a program that gives a value.
pub(crate) fn expression(part: &Part, source: &str, types: &TypeState) -> Result<Program, Vec<CompileError>> {
    let read_only = || {
        let mut config = CompileConfig::default();
        config.set_read_only();
        config
    };
    compile(part, source, types, read_only)
}

/// Compiles a program that changes the record. `types` become those after it.
pub(crate) fn map(part: &Part, source: &str, types: &mut TypeState) -> Result<Program, Vec<CompileError>> {
    let changes_value = || {
        let mut config = CompileConfig::default();
        config.set_read_only_path(OwnedTargetPath::metadata_root(), true);
        config
    };
    let program = compile(part, source, types, changes_value)?;
    let writes = program.info().target_assignments.iter().any(|path| path.prefix == PathPrefix::Event);
    // `del` is the one function that changes the record, and the compiler does not say where it is called.
    if !writes && !source.contains("del") {
        let message = "this map changes nothing: assign to the record, as in . = {\"id\": .id} or .id = 1";
        return Err(vec![CompileError::at_start(part, message)]);
    }
    types.external = program.final_type_info().state.external;
    Ok(program)
}

fn compile(
    part: &Part,
    source: &str,
    types: &TypeState,
    config: impl Fn() -> CompileConfig,
) -> Result<Program, Vec<CompileError>> {
    if let Some(offset) = complexity::too_deep_at(source) {
        return Err(vec![CompileError::too_deep(part, source, offset)]);
    }
    let mut guarded = None;
    // An error of syntax is the compiler's to tell.
    if let Ok(parsed) = parse(source) {
        if let Some(offset) = growth::too_large_at(parsed.clone(), types.external.target_kind()) {
            return Err(vec![CompileError::too_large(part, source, offset)]);
        }
        if let Some(found) = expansion::look(&parsed) {
            return Err(vec![CompileError::expands(part, source, found)]);
        }
        guarded = pieces::guarded(parsed);
    }
    let as_written = || compile_with_state(source, functions::allowed(), types, config());
    let compiled = match guarded.map(|guarded| Compiler::compile(functions::guarded(), guarded, types, config())) {
        None => as_written(),
        Some(Ok(compiled)) => Ok(compiled),
        // What is wrong is told of what was written.
        Some(Err(_)) => {
            let Err(found) = as_written() else {
                let message = "a text that is taken to pieces here is too involved; give it to a variable first";
                return Err(vec![CompileError::at_start(part, message)]);
            };
            Err(found)
        }
    };
    let CompilationResult { program, .. } = compiled.map_err(|found| complaints(part, source, &found))?;
    match unknown_metadata(&program) {
        Some(message) => Err(vec![CompileError::at_start(part, message)]),
        None => Ok(program),
    }
}

fn complaints(part: &Part, source: &str, found: &DiagnosticList) -> Vec<CompileError> {
    found.iter().map(|error| CompileError::of(part, source, error)).collect()
}

/// The compiler takes an unknown name for null: a misspelt one would be found by nobody.
fn unknown_metadata(program: &Program) -> Option<String> {
    let queries = program.info().target_queries.iter().filter(|path| path.prefix == PathPrefix::Metadata);
    let mut names = queries.filter_map(|path| path.path.segments.first()).map(ToString::to_string);
    let unknown = names.find(|name| !metadata::NAMES.contains(&name.as_str()))?;
    let known = metadata::NAMES.map(|name| format!("%{name}")).join(", ");
    Some(format!("%{unknown} is no metadata of a record; there are {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_without_places_in_bytes() {
        for (message, told) in [
            ("no place", "no place"),
            ("at (noon) it failed", "at (noon) it failed"),
            ("function call error for \"int\" at (5:13): no", "function call error for \"int\": no"),
            (
                "function call error for \"split\" at (5:60): too many at (last",
                "function call error for \"split\": too many at (last",
            ),
        ] {
            assert_eq!(without_places(message), told);
        }
    }
}
