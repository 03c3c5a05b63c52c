//! What is wrong with a program, template or schema, in one line.

use std::fmt;

use vrl::diagnostic::Diagnostic;

use crate::{expansion::Expansion, functions};

/// One complaint about one step or one field of the sink.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct CompileError {
    /// What it is about.
    pub part: Part,
    /// Where in its text it is; a schema has no lines.
    pub place: Option<Place>,
    /// What is wrong: one line, without colours.
    pub message: String,
}

/// What a complaint is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The step of this name.
    Step(String),
    /// This field of the sink, such as `http.url`.
    Sink(String),
}

/// A place in a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in the line, from 1, in characters.
    pub column: usize,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.part {
            Part::Step(name) => write!(f, "step {name:?}")?,
            Part::Sink(field) => write!(f, "sink.{field}")?,
        }
        if let Some(Place { line, column }) = self.place {
            write!(f, ", line {line}, column {column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl CompileError {
    /// A complaint about the program as a whole.
    pub(crate) fn at_start(part: &Part, message: impl Into<String>) -> Self {
        Self { part: part.clone(), place: Some(Place { line: 1, column: 1 }), message: message.into() }
    }

    /// A complaint about a schema.
    pub(crate) fn of_schema(part: &Part, message: impl Into<String>) -> Self {
        Self { part: part.clone(), place: None, message: message.into() }
    }

    /// A complaint about a program that must not reach the compiler.
    pub(crate) fn too_deep(part: &Part, program: &str, offset: usize) -> Self {
        let place = Some(place(program, offset));
        let message = "the program is nested or chained too deeply here; divide it into statements or steps".to_owned();
        Self { part: part.clone(), place, message }
    }

    /// A complaint about a program whose values must not be followed by the compiler.
    pub(crate) fn too_large(part: &Part, program: &str, offset: usize) -> Self {
        let place = Some(place(program, offset));
        let message = "the values that the program makes have too many parts from here on; make smaller ones, and copy none into \
                       itself";
        Self { part: part.clone(), place, message: message.to_owned() }
    }

    /// A complaint about an expression that could make an enormous text.
    pub(crate) fn expands(part: &Part, program: &str, (offset, expansion): (usize, Expansion)) -> Self {
        let message = match expansion {
            Expansion::Repeats => {
                "* repeats a text, which a step may not; say int!(..) or float!(..) of what is to be multiplied"
            }
            Expansion::Separates => {
                "this argument must stand in the program as it is: it is repeated between many parts"
            }
        };
        Self { part: part.clone(), place: Some(place(program, offset)), message: message.to_owned() }
    }

    /// The same complaint where the program begins at this byte of a longer text.
    pub(crate) fn moved(mut self, text: &str, offset: usize) -> Self {
        let start = place(text, offset);
        if let Some(place) = &mut self.place {
            place.column += if place.line == 1 { start.column - 1 } else { 0 };
            place.line += start.line - 1;
        }
        self
    }

    /// The compiler's complaint in one line: its message, then what it says about places.
    pub(crate) fn of(part: &Part, program: &str, diagnostic: &Diagnostic) -> Self {
        let labels = || diagnostic.labels.iter();
        let offset =
            labels().find(|label| label.primary).or_else(|| labels().next()).map_or(0, |label| label.span.start());
        let place = Some(place(program, offset));
        let message = withheld_function(program, diagnostic).unwrap_or_else(|| in_one_line(diagnostic));
        Self { part: part.clone(), place, message }
    }
}

fn place(program: &str, offset: usize) -> Place {
    let before = program.get(..offset).unwrap_or(program);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
}

fn withheld_function(program: &str, diagnostic: &Diagnostic) -> Option<String> {
    let label = diagnostic.labels.iter().find(|label| label.message == "undefined function")?;
    let name = program.get(label.span.range())?;
    functions::is_withheld(name).then(|| {
        format!(
            "the function {name} is not for steps: a record must get the same answer on every attempt, within bounds, without \
             reaching outside"
        )
    })
}

fn in_one_line(diagnostic: &Diagnostic) -> String {
    let labels = diagnostic.labels.iter().map(|label| label.message.as_str());
    let parts = std::iter::once(diagnostic.message.as_str()).chain(labels).filter(|part| !part.is_empty());
    let words: Vec<_> = parts.flat_map(|part| [part, ";"]).collect();
    let text = words[..words.len().saturating_sub(1)].join(" ").replace(" ;", ";").replace(":;", ":");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
