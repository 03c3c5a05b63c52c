//! The language's functions that put one text at many places of another, with a bound on what they make.

use vrl::compiler::prelude::*;

/// Longest text that one call makes, in bytes.
const LONGEST: usize = 16 * 1024 * 1024;

/// A function of the language, called as ever, that does its work here.
#[derive(Debug)]
struct Bounded {
    function: Box<dyn Function>,
    compile: fn(&ArgumentList) -> Box<dyn Expression>,
}

/// The same function, with a bound on what it makes where it needs one.
pub(crate) fn bounded(function: Box<dyn Function>) -> Box<dyn Function> {
    let compile = match function.identifier() {
        "join" => join,
        "replace" => replace,
        _ => return function,
    };
    Box::new(Bounded { function, compile })
}

impl Function for Bounded {
    fn identifier(&self) -> &'static str {
        self.function.identifier()
    }

    fn usage(&self) -> &'static str {
        self.function.usage()
    }

    fn category(&self) -> &'static str {
        self.function.category()
    }

    fn return_kind(&self) -> u16 {
        self.function.return_kind()
    }

    fn parameters(&self) -> &'static [Parameter] {
        self.function.parameters()
    }

    fn examples(&self) -> &'static [Example] {
        self.function.examples()
    }

    fn compile(&self, _: &TypeState, _: &mut FunctionCompileContext, arguments: ArgumentList) -> Compiled {
        Ok((self.compile)(&arguments))
    }
}

fn replace(arguments: &ArgumentList) -> Box<dyn Expression> {
    let (value, pattern) = (arguments.required("value"), arguments.required("pattern"));
    let (with, count) = (arguments.required("with"), arguments.optional("count"));
    ReplaceCall { value, pattern, with, count }.as_expr()
}

fn join(arguments: &ArgumentList) -> Box<dyn Expression> {
    JoinCall { value: arguments.required("value"), separator: arguments.optional("separator") }.as_expr()
}

#[derive(Clone, Debug)]
struct ReplaceCall {
    value: Box<dyn Expression>,
    pattern: Box<dyn Expression>,
    with: Box<dyn Expression>,
    count: Option<Box<dyn Expression>>,
}

impl FunctionExpression for ReplaceCall {
    fn resolve(&self, context: &mut Context) -> Resolved {
        let (value, with) = (self.value.resolve(context)?, self.with.resolve(context)?);
        let count = self.count.as_ref().map(|count| count.resolve(context)).transpose()?;
        let pattern = self.pattern.resolve(context)?;
        let count = count.map_or(Ok(-1), VrlValueConvert::try_integer)?;
        // A negative number means all.
        let most = usize::try_from(count).unwrap_or(usize::MAX);
        replaced(&value.try_bytes_utf8_lossy()?, &pattern, &with.try_bytes_utf8_lossy()?, most)
    }

    fn type_def(&self, _: &TypeState) -> TypeDef {
        TypeDef::bytes().infallible()
    }
}

fn replaced(value: &str, pattern: &Value, with: &str, most: usize) -> Resolved {
    let mut text = Growing::default();
    let mut rest = 0;
    if let Value::Regex(regex) = pattern {
        for captures in regex.captures_iter(value).take(most) {
            let Some(found) = captures.get(0) else { break };
            text.push(&value[rest..found.start()])?;
            // Each reference gives a part of the match at most.
            let references = with.bytes().filter(|byte| *byte == b'$').count();
            text.expect(with.len().saturating_add(references.saturating_mul(found.len())))?;
            captures.expand(with, &mut text.0);
            rest = found.end();
        }
    } else {
        for (place, found) in value.match_indices(&*pattern.try_bytes_utf8_lossy()?).take(most) {
            text.push(&value[rest..place])?;
            text.push(with)?;
            rest = place + found.len();
        }
    }
    text.push(&value[rest..])?;
    Ok(text.0.into())
}

#[derive(Clone, Debug)]
struct JoinCall {
    value: Box<dyn Expression>,
    separator: Option<Box<dyn Expression>>,
}

impl FunctionExpression for JoinCall {
    fn resolve(&self, context: &mut Context) -> Resolved {
        let parts = self.value.resolve(context)?.try_array()?;
        let separator = self.separator.as_ref().map(|separator| separator.resolve(context)).transpose()?;
        let separator = separator.as_ref().map(Value::try_bytes_utf8_lossy).transpose()?.unwrap_or_default();
        let mut text = Growing::default();
        for (number, part) in parts.iter().enumerate() {
            if number > 0 {
                text.push(&separator)?;
            }
            text.push(&part.try_bytes_utf8_lossy().map_err(|_| "all array items must be strings")?)?;
        }
        Ok(text.0.into())
    }

    fn type_def(&self, _: &TypeState) -> TypeDef {
        TypeDef::bytes()
    }
}

/// A text that is being made.
#[derive(Default)]
struct Growing(String);

impl Growing {
    fn push(&mut self, part: &str) -> Result<(), ExpressionError> {
        self.expect(part.len())?;
        self.0.push_str(part);
        Ok(())
    }

    /// Whether so many bytes may be added.
    fn expect(&self, more: usize) -> Result<(), ExpressionError> {
        if self.0.len().saturating_add(more) <= LONGEST {
            return Ok(());
        }
        Err(format!("the text would become longer than {} MiB", LONGEST / 1024 / 1024).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_replaced_as_the_language_says() {
        for (value, pattern, with, most) in [
            ("apples and bananas", "an", "-", usize::MAX),
            ("apples and bananas", "an", "-", 0),
            ("apples and bananas", "an", "-", 2),
            ("abc", "", "-", usize::MAX),
            ("äöü", "ö", "", usize::MAX),
            ("", "x", "y", usize::MAX),
        ] {
            let expected = value.replacen(pattern, with, most);
            assert_eq!(replaced(value, &pattern.into(), with, most), Ok(expected.into()), "{value} {pattern}");
        }
    }

    #[test]
    fn a_text_that_would_be_enormous_is_not_made() {
        let long = "x".repeat(1024 * 1024);
        let error = replaced(&long, &"x".into(), &long, usize::MAX).unwrap_err();
        assert!(error.to_string().contains("longer than 16 MiB"), "{error}");
    }
}
