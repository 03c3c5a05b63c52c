//! JSON Schemas: compiled without reaching outside, applied within a record's budget.
//!
//! A schema that refers to itself by two alternatives visits a nested record 2^depth times, and the library cannot be
//! stopped. So beside each `$ref` stands a keyword of our own, which is judged first, counts, and is false once the record
//! has had its share: whatever refers to it then comes to its end without going deeper.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use jsonschema::{
    Draft, Keyword, PatternOptions, Retrieve, Uri, ValidationError, Validator,
    error::ValidationErrorKind,
    paths::{LazyLocation, Location},
};
use serde_json::{Map, Value, json};

use crate::{Code, Rejection, budget::Budget, program::PANICKED};

/// A schema that records can be held against.
#[derive(Debug)]
pub(crate) struct Schema {
    validator: Validator,
    /// Whether its complaints hold the complaints of alternatives, each with a copy of the value.
    has_alternatives: bool,
}

/// Why a record does not pass.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// It is not as the schema says: what is wrong, and where.
    Value(String),
    /// It used up its share.
    TooMuchWork(String),
    /// The library panicked.
    Panicked,
}

impl Mismatch {
    /// The rejection of a record at a stage.
    pub(crate) fn rejection(self, stage: &str) -> Rejection {
        let (code, message) = match self {
            Self::Value(message) => (Code::SchemaMismatch, message),
            Self::TooMuchWork(message) => (Code::TooMuchWork, message),
            Self::Panicked => (Code::StepFailed, PANICKED.to_owned()),
        };
        Rejection::new(stage, code, message)
    }
}

/// Our keyword. Keywords are judged in alphabetical order, and `!` comes before `$` and all letters.
const METER: &str = "!meter";
/// Longest value that a message quotes, in bytes.
const QUOTE_LIMIT: usize = 200;
/// Memory that the automaton of one pattern may take.
const PATTERN_LIMIT: usize = 1024 * 1024;

/// A value that is larger, in bytes, is not described by a schema with alternatives.
const DESCRIBED_LIMIT: usize = 16 * 1024;
/// References that are followed to describe a mismatch.
const DESCRIBED_REFERENCES: u32 = 100;

/// What the meters of a thread count.
#[derive(Clone, Copy)]
enum Counting {
    Nothing,
    /// The budget of the record that is judged.
    Budget(Budget),
    /// What is left to describe a mismatch.
    References(u32),
}

thread_local! {
    static COUNTING: Cell<Counting> = const { Cell::new(Counting::Nothing) };
}

impl Schema {
    /// Compiles a schema. The error says what is wrong with it, and where.
    pub(crate) fn compile(schema: &Value) -> Result<Self, String> {
        let patterns = PatternOptions::regex().size_limit(PATTERN_LIMIT).dfa_size_limit(PATTERN_LIMIT);
        let options = jsonschema::options()
            .with_pattern_options(patterns)
            .with_retriever(Nothing)
            .with_keyword(METER, |_, _, _| Ok(Box::new(Meter)));
        let ignores_siblings = matches!(Draft::default().detect(schema), Draft::Draft4 | Draft::Draft6 | Draft::Draft7);
        let build = || options.build(&metered(schema, ignores_siblings));
        match catch_unwind(AssertUnwindSafe(build)) {
            Ok(Ok(validator)) => Ok(Self { validator, has_alternatives: has_alternatives(schema) }),
            Ok(Err(error)) => Err(complaint(&error)),
            Err(_) => Err("the JSON Schema library cannot compile this schema; simplify it".to_owned()),
        }
    }

    /// Holds a value of this size in bytes against the schema: its first mismatch.
    pub(crate) fn judge(&self, value: &Value, size: usize, budget: &mut Budget) -> Result<(), Mismatch> {
        let (valid, counted) = counting(Counting::Budget(*budget), || self.validator.is_valid(value));
        if let Counting::Budget(counted) = counted {
            *budget = counted;
        }
        match (valid, budget.used_up()) {
            (None, _) => Err(Mismatch::Panicked),
            (Some(_), Some(reason)) => Err(Mismatch::TooMuchWork(reason)),
            (Some(true), None) => Ok(()),
            (Some(false), None) => Err(Mismatch::Value(self.describe(value, size))),
        }
    }

    /// What is wrong with a value that does not match.
    fn describe(&self, value: &Value, size: usize) -> String {
        let not_told = || "the value does not match the schema".to_owned();
        if self.has_alternatives && size > DESCRIBED_LIMIT {
            return not_told();
        }
        let look = || self.validator.validate(value).err().map(|error| described(&error));
        match counting(Counting::References(DESCRIBED_REFERENCES), look) {
            (Some(Some(description)), Counting::References(1..)) => description,
            _ => not_told(),
        }
    }
}

/// Does something while the meters count; `None` where it panics.
fn counting<T>(start: Counting, work: impl FnOnce() -> T) -> (Option<T>, Counting) {
    COUNTING.set(start);
    let done = catch_unwind(AssertUnwindSafe(work)).ok();
    (done, COUNTING.replace(Counting::Nothing))
}

fn has_alternatives(schema: &Value) -> bool {
    match schema {
        Value::Object(keywords) => keywords
            .iter()
            .any(|(keyword, value)| matches!(keyword.as_str(), "anyOf" | "oneOf") || has_alternatives(value)),
        Value::Array(values) => values.iter().any(has_alternatives),
        _ => false,
    }
}

/// True until the record has had its share.
struct Meter;

impl Keyword for Meter {
    fn validate<'i>(&self, instance: &'i Value, location: &LazyLocation) -> Result<(), ValidationError<'i>> {
        if self.is_valid(instance) {
            return Ok(());
        }
        Err(ValidationError::custom(Location::new(), location.into(), instance, "too much work"))
    }

    fn is_valid(&self, _: &Value) -> bool {
        match COUNTING.get() {
            Counting::Nothing => true,
            Counting::Budget(mut budget) => {
                let left = budget.spend().is_continue();
                COUNTING.set(Counting::Budget(budget));
                left
            }
            Counting::References(left) => {
                COUNTING.set(Counting::References(left.saturating_sub(1)));
                left > 0
            }
        }
    }
}

/// Fetches nothing.
struct Nothing;

impl Retrieve for Nothing {
    fn retrieve(&self, _: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err("nothing is fetched over a network or from files; copy it into $defs".into())
    }
}

/// The schema with our keyword beside each reference.
fn metered(schema: &Value, ignores_siblings: bool) -> Value {
    match schema {
        Value::Object(keywords) => {
            let mut metered = keywords
                .iter()
                .map(|(keyword, value)| (keyword.clone(), metered_keyword(keyword, value, ignores_siblings)))
                .collect();
            if ["$ref", "$dynamicRef", "$recursiveRef"]
                .iter()
                .any(|name| keywords.get(*name).is_some_and(Value::is_string))
            {
                add_meter(&mut metered, ignores_siblings);
            }
            Value::Object(metered)
        }
        Value::Array(schemas) => schemas.iter().map(|schema| metered(schema, ignores_siblings)).collect(),
        other => other.clone(),
    }
}

fn metered_keyword(keyword: &str, value: &Value, ignores_siblings: bool) -> Value {
    match (keyword, value) {
        // These hold values, not schemas.
        ("const" | "default" | "enum" | "examples", _) => value.clone(),
        // These hold schemas under names of the user's choice.
        (
            "$defs" | "definitions" | "dependencies" | "dependentSchemas" | "patternProperties" | "properties",
            Value::Object(schemas),
        ) => schemas.iter().map(|(name, schema)| (name.clone(), metered(schema, ignores_siblings))).collect(),
        _ => metered(value, ignores_siblings),
    }
}

/// Up to draft 7 nothing counts beside `$ref`: there the reference is wrapped. Definitions stay where others refer to them.
fn add_meter(keywords: &mut Map<String, Value>, ignores_siblings: bool) {
    if ignores_siblings && let Some(reference) = keywords.remove("$ref") {
        keywords.retain(|keyword, _| matches!(keyword.as_str(), "$schema" | "$id" | "id" | "definitions"));
        keywords.insert("allOf".to_owned(), json!([{"$ref": reference}]));
    }
    keywords.insert(METER.to_owned(), Value::Bool(true));
}

/// What is wrong with a schema.
fn complaint(error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::Referencing(error) => format!("a $ref leads nowhere: {error}"),
        _ => format!("not a JSON Schema: {}", described(error)),
    }
}

/// What is wrong with a value, and where in it.
fn described(error: &ValidationError<'_>) -> String {
    let place = error.instance_path().as_str();
    let place = if place.is_empty() { "the value" } else { place };
    let quoted = error.instance().to_string();
    let message = if quoted.len() > QUOTE_LIMIT { error.masked().to_string() } else { error.to_string() };
    format!("{place}: {message}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    fn judge(schema: &Value, value: &Value) -> Result<(), Mismatch> {
        let schema = Schema::compile(schema).unwrap_or_else(|error| panic!("{error}"));
        schema.judge(
            value,
            value.to_string().len(),
            &mut Budget::new(crate::Meter { cpu_time: || Duration::ZERO, memory: || 0 }, 0),
        )
    }

    #[test]
    fn a_mismatch_is_named_with_its_place() {
        let schema = json!({"type": "object", "required": ["id"], "properties": {"items": {"items": {"minimum": 1}}}});
        for (value, message) in [
            (json!({"id": 1, "items": [1, 0]}), "/items/1: 0 is less than the minimum of 1"),
            (json!({}), "the value: \"id\" is a required property"),
            (json!([]), "the value: [] is not of type \"object\""),
        ] {
            assert_eq!(judge(&schema, &value), Err(Mismatch::Value(message.to_owned())));
        }
        assert_eq!(judge(&schema, &json!({"id": 1})), Ok(()));
    }

    #[test]
    fn a_message_quotes_no_long_values() {
        let Err(Mismatch::Value(message)) = judge(&json!({"type": "object"}), &json!("x".repeat(10_000))) else {
            panic!()
        };
        assert!(message.len() < 100, "{message}");
    }

    #[test]
    fn all_drafts_are_understood() {
        for draft in ["http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema"] {
            let schema = json!({
                "$schema": draft,
                "$ref": "#/definitions/order",
                "definitions": {
                    "order": {"type": "object", "properties": {"next": {"$ref": "#"}, "$ref": {"const": {"$ref": "x"}}}},
                },
            });
            assert_eq!(judge(&schema, &json!({"next": {"next": {"$ref": {"$ref": "x"}}}})), Ok(()), "{draft}");
            let nested = judge(&schema, &json!({"next": {"next": 1}}));
            assert_eq!(nested, Err(Mismatch::Value("/next/next: 1 is not of type \"object\"".to_owned())), "{draft}");
            let named_like_a_keyword = judge(&schema, &json!({"$ref": 1}));
            assert!(matches!(named_like_a_keyword, Err(Mismatch::Value(_))), "{draft}");
        }
    }

    #[test]
    fn what_is_no_schema_is_refused_with_its_place() {
        for (schema, message) in [
            (json!({"type": "objekt"}), "not a JSON Schema: /type: \"objekt\" is not valid"),
            (json!({"properties": {"a": {"pattern": "("}}}), "not a JSON Schema: "),
            (json!({"pattern": "(?=a)"}), "not a JSON Schema: "),
            (json!({"$ref": "#/$defs/missing"}), "a $ref leads nowhere: "),
            (json!({"$ref": "https://example.com/schema.json"}), "nothing is fetched over a network or from files"),
            (json!({"$ref": "file:///etc/passwd"}), "nothing is fetched over a network or from files"),
            (json!([]), "not a JSON Schema: "),
        ] {
            let refused = Schema::compile(&schema).unwrap_err();
            assert!(refused.contains(message), "{schema}: {refused}");
        }
    }

    /// How long this thread has been at work: others, and a machine that stands still, add nothing to it.
    fn thread_time() -> Duration {
        Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap()
    }

    #[test]
    fn a_schema_that_branches_at_each_level_is_stopped() {
        for draft in ["http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema"] {
            // A syntax tree, as people write it: each alternative looks at the operand before it looks at the operator.
            let alternative =
                |name: &str| json!({"properties": {"operand": {"$ref": "#"}, "operator": {"const": name}}});
            let alternatives: Vec<_> = ["plus", "minus", "times"].map(alternative).into();
            let schema = json!({"$schema": draft, "oneOf": alternatives});
            let leaf = json!({"operator": "plus"});
            let deep = (0..100).fold(leaf, |operand, _| json!({"operator": "times", "operand": operand}));
            let begin = thread_time();
            assert!(matches!(judge(&schema, &deep), Err(Mismatch::TooMuchWork(_))), "{draft}");
            let took = thread_time().saturating_sub(begin);
            assert!(took < Duration::from_secs(10), "{draft}: {took:?}");
            assert_eq!(judge(&schema, &json!({"operator": "plus"})), Ok(()), "{draft}");
        }
    }

    #[test]
    fn a_mismatch_is_described_within_bounds() {
        let schema = json!({"anyOf": [{"type": "null"}, {"items": {"$ref": "#"}, "type": "array"}]});
        let value = |size| json!([[[[[[1, "x".repeat(size)]]]]]]);
        let told = |size| match judge(&schema, &value(size)) {
            Err(Mismatch::Value(message)) => message,
            other => panic!("{other:?}"),
        };
        assert!(told(10).contains("is not valid under any of the schemas"), "{}", told(10));
        assert_eq!(told(20_000), "the value does not match the schema");
        let wide = json!(vec![json!([1]); 200]);
        assert_eq!(judge(&schema, &wide), Err(Mismatch::Value("the value does not match the schema".to_owned())));
    }

    #[test]
    fn a_schema_that_refers_to_itself_comes_to_an_end() {
        let schema = json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]});
        assert_eq!(judge(&schema, &json!(1)), Ok(()));
    }
}
