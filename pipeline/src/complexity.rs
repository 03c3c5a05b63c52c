//! Refuses programs that are nested or chained so deeply that compiling them would exhaust the stack.
//!
//! The language's compiler calls itself for each bracket, operator and `else`: 2 KiB of them end the process, whoever wrote
//! them, and the time grows with their square. The operator compiles what anybody in the cluster writes, so a program is
//! measured before it is parsed.

use std::{iter::Peekable, str::CharIndices};

/// Deepest level of brackets, operators and `else` in one expression. 1,000 overflow a stack of 2 MiB.
const DEEPEST: usize = 200;

/// The place (in bytes) where a program becomes too deep to be compiled.
pub(crate) fn too_deep_at(program: &str) -> Option<usize> {
    let mut depth = Depth::default();
    let mut characters = program.char_indices().peekable();
    let mut previous = ' ';
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => depth.skip_text(&mut characters, '"'),
            '\'' if begins_raw_text(&program[..place]) => depth.skip_text(&mut characters, '\''),
            '#' => while characters.next_if(|(_, next)| *next != '\n').is_some() {},
            '(' | '[' | '{' => depth.open(),
            ')' | ']' | '}' => depth.close(),
            ',' | ';' => depth.separate(),
            '\n' if !depth.expects_operand => depth.separate(),
            '+' | '-' | '*' | '/' | '|' | '&' | '=' | '<' | '>' | '!' | '?'
                if character != previous || character == '!' =>
            {
                depth.chain();
            }
            'e' if program[place..].starts_with("else") && !in_word(previous) => depth.chain(),
            _ if !character.is_whitespace() => depth.expects_operand = false,
            _ => {}
        }
        previous = character;
        if depth.total > DEEPEST {
            return Some(place);
        }
    }
    None
}

/// How deep the compiler would be.
#[derive(Default)]
struct Depth {
    total: usize,
    /// Operators of the current expression, in the innermost bracket.
    chained: usize,
    /// The same in the brackets around it.
    outer: Vec<usize>,
    /// Whether the expression goes on after a line end.
    expects_operand: bool,
}

impl Depth {
    fn open(&mut self) {
        self.outer.push(std::mem::take(&mut self.chained));
        self.total += 1;
        self.expects_operand = false;
    }

    fn close(&mut self) {
        self.separate();
        if let Some(chained) = self.outer.pop() {
            self.chained = chained;
            self.total -= 1;
        }
    }

    fn chain(&mut self) {
        self.chained += 1;
        self.total += 1;
        self.expects_operand = true;
    }

    fn separate(&mut self) {
        self.total -= std::mem::take(&mut self.chained);
        self.expects_operand = false;
    }

    fn skip_text(&mut self, characters: &mut Peekable<CharIndices<'_>>, end: char) {
        self.expects_operand = false;
        while let Some((_, character)) = characters.next() {
            match character {
                '\\' => drop(characters.next()),
                _ if character == end => return,
                _ => {}
            }
        }
    }
}

/// `r'..'`, `s'..'` and `t'..'` are texts; a quotation mark elsewhere is an error of syntax.
fn begins_raw_text(before: &str) -> bool {
    let mut backwards = before.chars().rev();
    matches!(backwards.next(), Some('r' | 's' | 't')) && !backwards.next().is_some_and(in_word)
}

fn in_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_the_process_is_refused() {
        let n = 1_000;
        for program in [
            format!(".a = {}1{}", "(".repeat(n), ")".repeat(n)),
            format!(".a = {}1{}", "[\n".repeat(n), "]".repeat(n)),
            format!(".a = {}true", "!".repeat(n)),
            format!(".a = 1{}", " +\n 1".repeat(n)),
            format!(".a = {}", "upcase(".repeat(n)),
            format!("if .a == 1 {{ .a = 1 }} {}", "else if .a == 1 { .a = 1 } ".repeat(n)),
            format!(".a = {}1", r#"")" + ("#.repeat(n)),
            format!(".a = {}1", r"s')' + (".repeat(n)),
            format!(".a = {}1", "# )\n(".repeat(n)),
        ] {
            assert!(too_deep_at(&program).is_some(), "{}", &program[..60]);
        }
    }

    #[test]
    fn long_programs_that_are_not_deep_are_taken() {
        for program in [
            ".a = (.b + 1) ?? 0\n".repeat(500),
            ".a = {\"b\": [1, 2, upcase!(.c)], \"d\": -1}; ".repeat(300),
            ".a = \"((((((((((\" # ((((((((((\n".repeat(300),
            ".a = replace!(.b, r'\\(+\\'', \"\")\n".repeat(300),
            format!("if .a == 1 {{ .b = 1 }} {}", "else if .a == 2 { .b = 2 } ".repeat(90)),
        ] {
            assert_eq!(too_deep_at(&program), None, "{}", &program[..60]);
        }
    }
}
