//! Texts with programs in them: `/accounts/{{ .account }}`. What stands between `{{` and `}}` is a program in the Vector Remap
//! Language that sees the record as the steps left it and gives a text, a number, a boolean or a time; null means nothing.

use sluice_crds::wire::{TEMPLATE_END, TEMPLATE_START};
use vrl::compiler::TypeState;

use crate::{
    CompileError, Part, Rejection,
    expression::{self, Expression, Wanted},
    work::Work,
};

/// A text with programs in it, compiled.
#[derive(Debug)]
pub(crate) struct Template {
    /// The field that it stands in, as messages name it.
    field: String,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Program(Expression),
}

/// Servers take no longer addresses or headers.
const LONGEST: usize = 16 * 1024;

impl Template {
    /// Compiles the text of a field for records of these types.
    pub(crate) fn compile(field: String, text: &str, types: &TypeState) -> Result<Self, Vec<CompileError>> {
        let wanted = Wanted::text("a template needs a text, a number, a boolean or a time");
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(TEMPLATE_START) {
            let offset = text.len() - after.len();
            let Some(length) = end_of(after) else {
                let message = format!("{TEMPLATE_START} has no {TEMPLATE_END}");
                let error = CompileError::at_start(&Part::Sink(field), message);
                return Err(vec![error.moved(text, offset - TEMPLATE_START.len())]);
            };
            let compiled = Expression::compile(&field, &after[..length], types, &wanted);
            let program = compiled
                .map_err(|errors| errors.into_iter().map(|error| error.moved(text, offset)).collect::<Vec<_>>())?;
            pieces.extend([Piece::Text(before.to_owned()), Piece::Program(program)]);
            rest = &after[length + TEMPLATE_END.len()..];
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self { field, pieces })
    }

    /// Whether records have a say in it.
    pub(crate) fn has_programs(&self) -> bool {
        self.programs().next().is_some()
    }

    pub(crate) fn reads_metadata(&self) -> bool {
        self.programs().any(Expression::reads_metadata)
    }

    fn programs(&self) -> impl Iterator<Item = &Expression> {
        self.pieces.iter().filter_map(|piece| if let Piece::Program(program) = piece { Some(program) } else { None })
    }

    /// What comes before and after the first such character outside of programs.
    pub(crate) fn split_once(self, separator: char) -> (Self, Option<Self>) {
        let field = self.field.clone();
        let place = self.pieces.iter().position(|piece| matches!(piece, Piece::Text(text) if text.contains(separator)));
        let Some(place) = place else { return (self, None) };
        let mut before = self.pieces;
        let mut after = before.split_off(place);
        if let Piece::Text(text) = &mut after[0]
            && let Some((head, tail)) = text.split_once(separator)
        {
            before.push(Piece::Text(head.to_owned()));
            *text = tail.to_owned();
        }
        (Self { field: field.clone(), pieces: before }, Some(Self { field, pieces: after }))
    }

    /// The pieces between such characters outside of programs.
    pub(crate) fn split(self, separator: char) -> Vec<Self> {
        let mut pieces = Vec::new();
        let mut rest = Some(self);
        while let Some(whole) = rest {
            let (piece, after) = whole.split_once(separator);
            pieces.push(piece);
            rest = after;
        }
        pieces
    }

    /// The text for a record, each value as `write` writes it; `None` where a program gives null.
    pub(crate) fn render(
        &self,
        work: &mut Work<'_>,
        write: impl Fn(&str, &mut String),
    ) -> Result<Option<String>, Rejection> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(fixed) => text.push_str(fixed),
                Piece::Program(program) => match program.text(work)? {
                    Some(value) => write(&value, &mut text),
                    None => return Ok(None),
                },
            }
            if text.len() > LONGEST {
                return Err(self.invalid(&format!("would be longer than {LONGEST} bytes")));
            }
        }
        Ok(Some(text))
    }

    /// The text where each program gives this value.
    pub(crate) fn with(&self, value: &str) -> String {
        let pieces = self.pieces.iter().map(|piece| if let Piece::Text(text) = piece { text } else { value });
        pieces.collect()
    }

    /// A complaint about what a record makes of it.
    pub(crate) fn invalid(&self, what: &str) -> Rejection {
        expression::rejection(&self.field, expression::invalid(&self.field), what)
    }
}

/// Where the program ends that a template holds: at the first `}}` that closes nothing inside of it.
fn end_of(program: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut characters = program.char_indices().peekable();
    let mut previous = ' ';
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => skip(&mut characters, '"'),
            // As in s'..', r'..' and t'..'.
            '\'' if "srt".contains(previous) => skip(&mut characters, '\''),
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' => return program[place..].starts_with(TEMPLATE_END).then_some(place),
            _ => {}
        }
        previous = character;
    }
    None
}

fn skip(characters: &mut impl Iterator<Item = (usize, char)>, end: char) {
    while let Some((_, character)) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            _ if character == end => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_program_ends_where_its_braces_do() {
        for (program, expected) in [
            (" .a }}/x", Some(" .a ")),
            ("{\"a\": {}}.a}} }}", Some("{\"a\": {}}.a")),
            (" \"}}\" }}", Some(" \"}}\" ")),
            (r#" "\"}}" }}"#, Some(r#" "\"}}" "#)),
            (" s'}}' }}", Some(" s'}}' ")),
            (" if .a { \"x\" } else { \"y\" }}}", Some(" if .a { \"x\" } else { \"y\" }")),
            (" .a }", None),
            (" .a } }}", None),
            (" { .a }}", None),
            ("", None),
        ] {
            assert_eq!(end_of(program).map(|end| &program[..end]), expected, "{program}");
        }
    }

    proptest! {
        #[test]
        fn the_text_goes_on_behind_the_end_of_a_program(program in "([a-z.]|\"|'|s'|\\\\|[{}]|\u{e9}){0,30}") {
            if let Some(end) = end_of(&program) {
                prop_assert!(program[end..].starts_with(TEMPLATE_END), "{}", program);
            }
        }
    }
}
