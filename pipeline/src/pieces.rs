//! Bounds what is made of a text by taking it to pieces. Each piece is a value of its own, many times as large as the few bytes that it
//! holds, and the budget looks at memory only after the call: so the text is looked at before.
//!
//! The language's functions are called as ever. The program that runs has a call of a function of ours round each text that one of them
//! is given: `split(.a, ",")` becomes `split(look_at_pieces(.a, "split", ","), ",")`.

use std::ops::Range;

use vrl::compiler::prelude::*;

/// A text that a call takes to pieces, by its place in the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    /// The function that is called.
    pub(crate) function: &'static str,
    pub(crate) value: Range<usize>,
    /// What it is taken to pieces by, where that stands in the program as it is.
    pub(crate) pattern: Option<Range<usize>>,
}

/// The function that looks at a text and gives it back.
const LOOK: &str = "look_at_pieces";

/// Those that take a text to pieces.
const FUNCTIONS: &[&str] = &[
    "chunks",
    "parse_csv",
    "parse_json",
    "parse_key_value",
    "parse_logfmt",
    "parse_query_string",
    "parse_regex_all",
    "parse_tokens",
    "parse_url",
    "split",
    "split_path",
];

/// Those that are told by what.
const BY_PATTERN: &[&str] = &["parse_regex_all", "split"];

/// Memory that the pieces of one text may take, about.
const MOST: usize = 96 * 1024 * 1024;
/// A piece in a list, which is up to twice as long as what is in it.
const PIECE: usize = 2 * size_of::<Value>();
/// An object with few entries, and each entry: its name, its value and what the value holds.
const OBJECT: usize = 768;
const ENTRY: usize = 128;
/// A text of so many bytes is not worth a look: it has few pieces, whatever it holds.
const SMALL: usize = 32 * 1024;

/// The function of this name, where it takes a text to pieces.
pub(crate) fn function(name: &str) -> Option<&'static str> {
    FUNCTIONS.iter().copied().find(|known| *known == name)
}

/// The program with a look at each of these texts; `None` where there are none.
pub(crate) fn guarded(program: &str, texts: &[Text]) -> Option<String> {
    let edits = texts.iter().flat_map(|Text { function, value, pattern }| {
        let pattern = pattern
            .clone()
            .filter(|_| BY_PATTERN.contains(function))
            .map_or_else(String::new, |place| format!(", {}", &program[place]));
        [(value.start, format!("{LOOK}(")), (value.end, format!(", \"{function}\"{pattern})"))]
    });
    let mut edits: Vec<_> = edits.collect();
    edits.sort_by_key(|(place, _)| *place);
    let (mut guarded, mut done) = (String::with_capacity(program.len() + 64 * texts.len()), 0);
    for (place, text) in &edits {
        guarded.push_str(&program[done..*place]);
        guarded.push_str(text);
        done = *place;
    }
    guarded.push_str(&program[done..]);
    (!edits.is_empty()).then_some(guarded)
}

/// What the language says of an error, without the call that nobody wrote.
pub(crate) fn without_look(message: &str) -> String {
    message.replace(&format!("function call error for \"{LOOK}\": "), "")
}

/// Looks at a text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LookAtPieces;

impl Function for LookAtPieces {
    fn identifier(&self) -> &'static str {
        LOOK
    }

    fn usage(&self) -> &'static str {
        "Gives the value, unless it is a text with too many pieces."
    }

    fn category(&self) -> &'static str {
        "String"
    }

    fn return_kind(&self) -> u16 {
        kind::ANY
    }

    fn parameters(&self) -> &'static [Parameter] {
        const PARAMETERS: &[Parameter] = &[
            Parameter::required("value", kind::ANY, "The text."),
            Parameter::required("of", kind::BYTES, "The function that takes it to pieces."),
            Parameter::optional("pattern", kind::BYTES | kind::REGEX, "What it takes it to pieces by."),
        ];
        PARAMETERS
    }

    fn examples(&self) -> &'static [Example] {
        &[]
    }

    fn compile(&self, state: &TypeState, _: &mut FunctionCompileContext, arguments: ArgumentList) -> Compiled {
        let of = arguments.required_literal("of", state)?;
        let of = of.as_bytes().and_then(|of| function(&String::from_utf8_lossy(of))).unwrap_or_default();
        let pattern = arguments.optional_literal("pattern", state)?;
        Ok(Looking { value: arguments.required("value"), of, pattern }.as_expr())
    }
}

#[derive(Clone, Debug)]
struct Looking {
    value: Box<dyn Expression>,
    of: &'static str,
    pattern: Option<Value>,
}

impl FunctionExpression for Looking {
    fn resolve(&self, context: &mut Context) -> Resolved {
        let value = self.value.resolve(context)?;
        if let Some(text) = value.as_bytes()
            && text.len() > SMALL
            && memory(self.of, text, self.pattern.as_ref()) > MOST
        {
            let (of, length, most) = (self.of, text.len() / 1024, MOST / 1024 / 1024);
            return Err(format!("{of} would make more of a text of {length} KiB than fits into {most} MiB").into());
        }
        Ok(value)
    }

    fn type_def(&self, state: &TypeState) -> TypeDef {
        self.value.type_def(state)
    }
}

/// The memory that the pieces of a text take, at most and about. Of what it is taken to pieces by the text's length tells, where it does
/// not stand in the program.
fn memory(of: &str, text: &[u8], pattern: Option<&Value>) -> usize {
    match (of, pattern) {
        ("parse_json", _) => text.iter().copied().map(memory_of_json).sum(),
        ("parse_regex_all", Some(Value::Regex(regex))) => {
            let each = OBJECT + regex.captures_len() * ENTRY;
            regex.find_iter(&String::from_utf8_lossy(text)).take(MOST / each + 1).count() * each
        }
        ("split", Some(Value::Regex(regex))) => {
            regex.find_iter(&String::from_utf8_lossy(text)).take(MOST / PIECE + 1).count() * PIECE
        }
        ("split", Some(pattern)) if pattern.as_bytes().is_some() => {
            let pattern = pattern.as_bytes().map(|pattern| String::from_utf8_lossy(pattern)).unwrap_or_default();
            String::from_utf8_lossy(text).matches(&*pattern).take(MOST / PIECE + 1).count() * PIECE
        }
        // A match may be empty, and has all groups.
        ("parse_regex_all", _) => text.len().saturating_mul(2 * OBJECT),
        _ => text.len().saturating_mul(PIECE),
    }
}

/// What a byte of JSON may begin. Those within texts count too.
fn memory_of_json(byte: u8) -> usize {
    match byte {
        b'{' => OBJECT,
        b':' => ENTRY,
        b'[' | b',' => PIECE,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use vrl::parser::parse;

    use super::*;
    use crate::expansion;

    #[test]
    fn each_text_is_looked_at_where_it_stands() {
        for (program, expected) in [
            (".b = upcase!(.a)", None),
            (".b = split!(.a, \",\")", Some(".b = split!(look_at_pieces(.a, \"split\", \",\"), \",\")")),
            (".b = chunks!(.a, 10)", Some(".b = chunks!(look_at_pieces(.a, \"chunks\"), 10)")),
            (
                ".b = split(pattern: r'x+', value: string!(.a) + \"ä\")",
                Some(".b = split(pattern: r'x+', value: look_at_pieces(string!(.a) + \"ä\", \"split\", r'x+'))"),
            ),
            (
                "p = r'.'\n.b = parse_regex_all!(join!(split!(.a, \"ö\"), \";\"), p)",
                Some(
                    "p = r'.'\n.b = parse_regex_all!(look_at_pieces(join!(split!(look_at_pieces(.a, \"split\", \"ö\"), \"ö\"), \
                     \";\"), \"parse_regex_all\"), p)",
                ),
            ),
            (
                "for_each(array!(.a)) -> |_i, v| { .b = parse_json!(v) }",
                Some("for_each(array!(.a)) -> |_i, v| { .b = parse_json!(look_at_pieces(v, \"parse_json\")) }"),
            ),
        ] {
            let texts = expansion::look(&parse(program).unwrap()).texts;
            assert_eq!(guarded(program, &texts).as_deref(), expected, "{program}");
        }
    }

    #[test]
    fn many_pieces_are_many_times_the_text_and_few_are_not() {
        let text = ",".repeat(4 * 1024 * 1024);
        for (of, pattern, is_too_much) in [
            ("split", Some(Value::from(",")), true),
            ("split", Some(Value::from(";")), false),
            ("split", None, true),
            ("parse_json", None, true),
            ("parse_csv", None, true),
        ] {
            assert_eq!(memory(of, text.as_bytes(), pattern.as_ref()) > MOST, is_too_much, "{of} {pattern:?}");
        }
    }
}
