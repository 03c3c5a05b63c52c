//! A program that gives a value to a field of the sink. It sees the record as the steps left it, and changes nothing.

use bytes::Bytes;
use vrl::{
    compiler::{Program, TypeState},
    value::{Kind, Value},
};

use crate::{
    Code, CompileError, Part, Rejection, encode,
    program::{self, Failed},
    work::Work,
};

/// A program that gives a value to a field of the sink, compiled.
#[derive(Debug)]
pub(crate) struct Expression {
    /// The field, as messages name it: `http.url`.
    field: String,
    program: Box<Program>,
}

/// What a field takes.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) kind: Kind,
    /// For people: `a partition is a whole number`.
    pub(crate) rule: &'static str,
}

impl Wanted {
    /// What can be written as text.
    pub(crate) fn text(rule: &'static str) -> Self {
        Self { kind: Kind::bytes().or_integer().or_float().or_boolean().or_timestamp(), rule }
    }
}

impl Expression {
    /// Compiles the program of a field for records of these types.
    pub(crate) fn compile(
        field: &str,
        source: &str,
        types: &TypeState,
        wanted: &Wanted,
    ) -> Result<Self, Vec<CompileError>> {
        let part = Part::Sink(field.to_owned());
        let complaint = |message: String| vec![CompileError::at_start(&part, message)];
        if source.trim().is_empty() {
            return Err(complaint("there is no program here; write one, as in .id".to_owned()));
        }
        let program = program::expression(&part, source, types)?;
        let kind = program.final_type_info().result.kind().clone();
        if !wanted.kind.intersects(&kind) {
            return Err(complaint(format!("{}; this gives {kind}", wanted.rule)));
        }
        Ok(Self { field: field.to_owned(), program: Box::new(program) })
    }

    pub(crate) fn reads_metadata(&self) -> bool {
        program::reads_metadata(&self.program)
    }

    /// Its value for a record as text; `None` where it is null.
    pub(crate) fn text(&self, work: &mut Work<'_>) -> Result<Option<String>, Rejection> {
        let Some(bytes) = self.bytes(work)? else { return Ok(None) };
        let text = String::from_utf8(bytes.into()).map(Some);
        text.map_err(|_| self.invalid("would hold bytes that are no UTF-8"))
    }

    /// Its value for a record as bytes; `None` where it is null.
    pub(crate) fn bytes(&self, work: &mut Work<'_>) -> Result<Option<Bytes>, Rejection> {
        let value = self.value(work)?;
        bytes(&value, work.original()).map_err(|what| self.invalid(&what))
    }

    /// Its value for a record.
    pub(crate) fn value(&self, work: &mut Work<'_>) -> Result<Value, Rejection> {
        if program::touches_value(&self.program) {
            work.decode()?;
        }
        let resolved = program::run(&self.program, &mut work.target, &mut work.budget);
        resolved.map_err(|Failed { code, message }| rejection(&self.field, code, &format!("has no value: {message}")))
    }

    /// A complaint about what a record makes of it.
    pub(crate) fn invalid(&self, what: &str) -> Rejection {
        rejection(&self.field, invalid(&self.field), what)
    }
}

/// A complaint about what a record makes of a field. The stage that dead letters name is that of the sink.
pub(crate) fn rejection(field: &str, code: Code, what: &str) -> Rejection {
    let stage = field.split_once('.').map_or(field, |(sink, _)| sink);
    Rejection::new(stage, code, format!("{field} {what}"))
}

/// The code of what is wrong with a field, which is where a record goes.
pub(crate) fn invalid(field: &str) -> Code {
    if field.starts_with("kafka.") { Code::InvalidAddress } else { Code::InvalidRequest }
}

/// A value as bytes; what it cannot be.
fn bytes(value: &Value, original: &[u8]) -> Result<Option<Bytes>, String> {
    match value {
        Value::Null => Ok(None),
        Value::Object(_) => Err(no_text("an object")),
        Value::Array(_) => Err(no_text("a list")),
        Value::Regex(_) => Err(no_text("a regular expression")),
        Value::Bytes(_) | Value::String(_) => Ok(value.as_bytes().cloned()),
        _ => {
            let json = encode::json(value, original).map_err(|what| format!("has no exact value: {what}"))?;
            let text = String::from_utf8_lossy(&json);
            Ok(Some(Bytes::from(text.trim_matches('"').to_owned())))
        }
    }
}

fn no_text(what: &str) -> String {
    format!("would hold {what}, which is no text, number, boolean or time")
}
