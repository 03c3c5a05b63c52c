//! Bounds what is made of a text by taking it to pieces. Each piece is a value of its own, many times as large as the few bytes that it
//! holds, and the budget looks at memory only after the call: so the text is looked at before.
//!
//! The language's functions are called as ever. The program that runs has a call of a function of ours round each text that one of them
//! is given, which nobody can write: `split(.a, ",")` becomes `split(LOOK(.a, "split", ","), ",")`. It stands where the text stands, and
//! errors are told as if it were not there: a program can give them to a record (`.a, .error = split(..)`).

use vrl::{
    compiler::prelude::*,
    parser::{
        Literal, Program,
        ast::{Expr, FunctionArgument, FunctionCall, Ident, Node},
    },
};

use crate::{calls, expansion::is_literal};

/// The function that looks at a text and gives it back. No program can have such a name.
const LOOK: &str = "look at pieces";

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
fn function(name: &str) -> Option<&'static str> {
    FUNCTIONS.iter().copied().find(|known| *known == name)
}

/// The program with a look at each text that is taken to pieces; `None` where there are none.
pub(crate) fn guarded(program: Program) -> Option<Program> {
    let mut looks = false;
    let guarded = calls::changed(program, &mut |mut call: FunctionCall| {
        let (Some(function), (Some(value), pattern)) = (function(&call.ident), places(&call)) else { return call };
        let pattern = pattern.filter(|_| BY_PATTERN.contains(&function)).map(|place| &call.arguments[place].expr);
        let pattern = pattern.filter(|pattern| is_literal(pattern)).cloned();
        let (span, FunctionArgument { ident, expr }) = call.arguments.remove(value).take();
        let looked_at = FunctionArgument { ident, expr: look(function, expr, pattern) };
        call.arguments.insert(value, Node::new(span, looked_at));
        looks = true;
        call
    });
    looks.then_some(guarded)
}

/// Which of a call's arguments are the text and the pattern, counted as the compiler does: the last one counts.
fn places(call: &FunctionCall) -> (Option<usize>, Option<usize>) {
    let mut places = [None, None];
    let mut next = 0;
    for (place, argument) in call.arguments.iter().enumerate() {
        let parameter = match argument.ident.as_ref().map(|name| &***name) {
            Some("value") => Some(0),
            Some("pattern") => Some(1),
            Some(_) => None,
            None => Some(next),
        };
        next += usize::from(parameter == Some(next));
        if let Some(found) = parameter.and_then(|parameter| places.get_mut(parameter)) {
            *found = Some(place);
        }
    }
    (places[0], places[1])
}

/// A call that looks at what this expression gives, in its place.
fn look(function: &str, value: Node<Expr>, pattern: Option<Node<Expr>>) -> Node<Expr> {
    let span = value.span();
    let of = Node::new(span, Expr::Literal(Node::new(span, Literal::RawString(function.to_owned()))));
    let arguments = [Some(value), Some(of), pattern].into_iter().flatten();
    let arguments = arguments.map(|expr| Node::new(expr.span(), FunctionArgument { ident: None, expr })).collect();
    let ident = Node::new(span, Ident::new(LOOK));
    let call = FunctionCall { ident, abort_on_error: false, arguments, closure: None };
    Node::new(span, Expr::FunctionCall(Node::new(span, call)))
}

/// A function for a program with looks: one that takes texts to pieces tells errors as if there were none.
pub(crate) fn telling(function: Box<dyn Function>) -> Box<dyn Function> {
    if FUNCTIONS.contains(&function.identifier()) { Box::new(Telling(function)) } else { function }
}

#[derive(Debug)]
struct Telling(Box<dyn Function>);

impl Function for Telling {
    fn identifier(&self) -> &'static str {
        self.0.identifier()
    }

    fn usage(&self) -> &'static str {
        self.0.usage()
    }

    fn category(&self) -> &'static str {
        self.0.category()
    }

    fn return_kind(&self) -> u16 {
        self.0.return_kind()
    }

    fn parameters(&self) -> &'static [Parameter] {
        self.0.parameters()
    }

    fn examples(&self) -> &'static [Example] {
        self.0.examples()
    }

    fn compile(&self, state: &TypeState, context: &mut FunctionCompileContext, arguments: ArgumentList) -> Compiled {
        Ok(Box::new(Told(self.0.compile(state, context, arguments)?)))
    }
}

/// A call of such a function.
#[derive(Clone, Debug)]
struct Told(Box<dyn Expression>);

impl Expression for Told {
    fn resolve(&self, context: &mut Context) -> Resolved {
        self.0.resolve(context).map_err(|error| match error {
            ExpressionError::Error { message, labels, notes } => {
                let told = without_look(&message).map(str::to_owned);
                ExpressionError::Error { message: told.unwrap_or(message), labels, notes }
            }
            other => other,
        })
    }

    fn resolve_constant(&self, state: &TypeState) -> Option<Value> {
        self.0.resolve_constant(state)
    }

    fn type_info(&self, state: &TypeState) -> TypeInfo {
        self.0.type_info(state)
    }
}

/// What the look or the text itself says of an error, as the function round it is told it; `None` where it is the function's own.
fn without_look(message: &str) -> Option<&str> {
    let call = message.strip_prefix("function call error for \"")?.strip_prefix(LOOK)?;
    call.strip_prefix("\" at (")?.split_once("): ").map(|(_, told)| told)
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

    #[test]
    fn each_text_is_looked_at_where_it_stands() {
        for (program, looks) in [
            (".b = upcase!(.a)", vec![]),
            (".b = split!(.a, \",\")", vec![(".a", "split", true)]),
            (".b = chunks!(.a, 10)", vec![(".a", "chunks", false)]),
            (".b = split(pattern: r'x+', value: string!(.a) + \"ä\")", vec![("string!(.a) + \"ä\"", "split", true)]),
            (".b = split!(pattern: \",\", .a)", vec![(".a", "split", true)]),
            (".b = split!(limit: 3, .a, \",\")", vec![(".a", "split", true)]),
            (".b = split!(value: .a, by)", vec![(".a", "split", false)]),
            (
                "p = r'.'\n.b = parse_regex_all!(join!(split!(.a, \"ö\"), \";\"), p)",
                vec![(".a", "split", true), ("join!(split!(.a, \"ö\"), \";\")", "parse_regex_all", false)],
            ),
            ("for_each(array!(.a)) -> |_i, v| { .b = parse_json!(v) }", vec![("v", "parse_json", false)]),
            (
                "if !(split!(.a, \",\") == [] || false) { abort join!(split!(.b, \",\")) } else { {\"c\": [split!(.c, \",\")]} }",
                vec![(".a", "split", true), (".b", "split", true), (".c", "split", true)],
            ),
            (".x, .y = split(.a, \",\")", vec![(".a", "split", true)]),
            (".b = split!(.a, \",\")[0]", vec![(".a", "split", true)]),
        ] {
            let mut found = Vec::new();
            let guarded = guarded(parse(program).unwrap()).unwrap_or_else(|| parse(program).unwrap());
            calls::changed(guarded, &mut |call: FunctionCall| {
                if &**call.ident == LOOK {
                    let [value, of] = [0, 1].map(|place| call.arguments[place].clone());
                    let text = program[value.start()..value.end()].to_owned();
                    assert_eq!((call.ident.start(), call.ident.end()), (value.start(), value.end()), "{program}");
                    found.push((text, of.to_string(), call.arguments.len() == 3));
                }
                call
            });
            let looks: Vec<_> = looks
                .into_iter()
                .map(|(text, of, by_pattern)| (text.to_owned(), format!("s'{of}'"), by_pattern))
                .collect();
            assert_eq!(found, looks, "{program}");
        }
    }

    #[test]
    fn a_program_that_is_as_deep_as_may_be_is_looked_at() {
        let nested =
            |open: &str, close: &str| format!(".b = {}split!(.a, \",\"){}", open.repeat(190), close.repeat(190));
        for program in [
            nested("(", ")"),
            nested("[", "]"),
            nested("{\"c\": ", "}"),
            nested("{ ", " }"),
            nested("", " + 1"),
            nested("!", ""),
            nested("split!(", ", \",\")"),
        ] {
            assert!(guarded(parse(&program).unwrap()).is_some(), "{}", &program[..20]);
        }
    }

    #[test]
    fn what_a_look_says_is_told_by_the_function_that_is_called() {
        let call = |name: &str, told: &str| format!("function call error for \"{name}\" at (3:5): {told}");
        for (message, told) in [
            (call(LOOK, "too many"), Some("too many".to_owned())),
            (call(LOOK, &call("string", "no")), Some(call("string", "no"))),
            (call("string", "no"), None),
            ("no".to_owned(), None),
        ] {
            assert_eq!(without_look(&message).map(str::to_owned), told, "{message}");
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
