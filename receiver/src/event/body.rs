//! The body of an event as JSON, parsed at most once, and only when something is to be found in it.

use std::borrow::Cow;

use serde_json::Value;

/// A body that may be JSON.
pub(super) struct LazyJson<'a> {
    body: &'a [u8],
    /// `None` until it is asked for. What is no JSON has nothing to find, as `null` has.
    parsed: Option<Value>,
}

impl<'a> LazyJson<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { body, parsed: None }
    }

    /// The text or whole number at a place. Other numbers are rounded when they are read: two of them might look the same.
    pub(super) fn text_at(&mut self, pointer: &str) -> Option<Cow<'_, str>> {
        let body = self.body;
        let value = self.parsed.get_or_insert_with(|| serde_json::from_slice(body).unwrap_or_default());
        match value.pointer(pointer)? {
            Value::String(text) => Some(text.into()),
            Value::Number(number) if !number.is_f64() => Some(number.to_string().into()),
            _ => None,
        }
    }
}
