//! Turns a value that steps have changed into bytes, or says what in it JSON cannot hold.

use std::io::{self, Write};

use bytes::Bytes;
use sluice_crds::Format;
use vrl::value::Value;

use crate::Media;

/// Longest JSON, in bytes: the largest record that Kafka is given.
const LONGEST: usize = 16 * 1024 * 1024;
/// Floats from here on are all integers, and no `i64` any more.
const BEYOND_INTEGERS: f64 = 9_223_372_036_854_775_808.0;

/// The value as bytes, and what they are. `original` is what the record was decoded from. The error says what cannot be
/// written, and where.
pub(crate) fn value(format: Format, value: &Value, original: &[u8]) -> Result<(Bytes, Media), String> {
    match (format, value) {
        (Format::Text, Value::Bytes(_) | Value::String(_)) => text(value).map(|text| (text, Media::Text)),
        (Format::Bytes, Value::Bytes(bytes)) => Ok((bytes.clone(), Media::Bytes)),
        (Format::Bytes, Value::String(text)) => Ok((text.as_bytes().clone(), Media::Bytes)),
        (Format::Json | Format::Text | Format::Bytes, _) => json(value, original).map(|json| (json, Media::Json)),
    }
}

fn text(value: &Value) -> Result<Bytes, String> {
    let bytes = value.as_bytes().cloned().unwrap_or_default();
    if str::from_utf8(&bytes).is_ok() { Ok(bytes) } else { Err(not_utf8("")) }
}

fn not_utf8(path: &str) -> String {
    format!("{} holds bytes that are no UTF-8; encode_base64 makes text of them", place(path))
}

/// The value as JSON, or what in it JSON cannot hold.
pub(crate) fn json(value: &Value, original: &[u8]) -> Result<Bytes, String> {
    check(value, original, &mut String::new())?;
    let mut written = Bounded(Vec::with_capacity(original.len()));
    serde_json::to_writer(&mut written, value).map_err(|error| error.to_string())?;
    Ok(written.0.into())
}

/// Bytes, as many as a record may have. One text can stand at many places of a value and takes memory once; in JSON it takes
/// it each time.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST {
            return Err(io::Error::other(format!("it is longer than {} MiB as JSON", LONGEST / 1024 / 1024)));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// JSON would silently get `null` for an infinite number, other characters for bytes that are no text, and a neighbour of
/// an integer that the decoder could not hold exactly.
fn check(value: &Value, original: &[u8], path: &mut String) -> Result<(), String> {
    match value {
        Value::Float(number) if number.is_infinite() => Err(format!("{} is an infinite number", place(path))),
        Value::Float(number) if number.abs() >= BEYOND_INTEGERS && is_rounded(number.into_inner(), original) => {
            Err(format!("{} is an integer of more than 64 bits, which a step cannot keep exactly", place(path)))
        }
        Value::Bytes(bytes) if str::from_utf8(bytes).is_err() => Err(not_utf8(path)),
        Value::Object(fields) => {
            fields.iter().try_for_each(|(name, field)| check_at(field, original, path, &format!(".{name}")))
        }
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(index, item)| check_at(item, original, path, &format!("[{index}]")))
        }
        _ => Ok(()),
    }
}

fn check_at(value: &Value, original: &[u8], path: &mut String, segment: &str) -> Result<(), String> {
    if !matches!(value, Value::Float(_) | Value::Bytes(_) | Value::Object(_) | Value::Array(_)) {
        return Ok(());
    }
    let length = path.len();
    path.push_str(segment);
    let checked = check(value, original, path);
    path.truncate(length);
    checked
}

fn place(path: &str) -> &str {
    if path.is_empty() { "." } else { path }
}

/// Whether the original writes an integer that was rounded to this number. Digits inside strings may match too: then a
/// number of 19 digits and more that a step computed is rejected, which is rare, and never wrong data.
fn is_rounded(number: f64, original: &[u8]) -> bool {
    original.split(|byte| !byte.is_ascii_digit()).filter(|digits| digits.len() >= 19).any(|digits| {
        str::from_utf8(digits).is_ok_and(|digits| {
            let exact = format!("{:.0}", number.abs());
            digits.parse::<f64>().is_ok_and(|parsed| parsed.total_cmp(&number.abs()).is_eq()) && digits != exact
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_cannot_hold_is_named_with_its_place() {
        let not_text = Value::from([0xff_u8, 0xfe]);
        let value = Value::from_iter([("items".to_owned(), Value::from(vec![Value::from(1), not_text]))]);
        assert!(json(&value, b"").unwrap_err().starts_with(".items[1] holds bytes"));
        assert_eq!(json(&infinite(), b"").unwrap_err(), ". is an infinite number");
    }

    #[test]
    fn a_text_stays_what_it_is_where_records_are_texts() {
        let (text, binary) = (Value::from("ä"), Value::from([0xff_u8, 0xfe]));
        let object = Value::from_iter([("a".to_owned(), text.clone())]);
        for (format, made, expected) in [
            (Format::Json, &text, Ok(("\"ä\"".into(), Media::Json))),
            (Format::Text, &text, Ok(("ä".into(), Media::Text))),
            (Format::Bytes, &text, Ok(("ä".into(), Media::Bytes))),
            (Format::Bytes, &binary, Ok((Bytes::from_static(&[0xff, 0xfe]), Media::Bytes))),
            (Format::Text, &object, Ok((r#"{"a":"ä"}"#.into(), Media::Json))),
            (Format::Text, &binary, Err(not_utf8(""))),
        ] {
            assert_eq!(value(format, made, b""), expected, "{format:?} {made:?}");
        }
    }

    #[test]
    fn an_integer_that_the_decoder_rounded_is_not_written() {
        let original = br#"{"id": 18446744073709551615}"#;
        let value: Value = serde_json::from_slice(original).unwrap();
        assert!(json(&value, original).unwrap_err().starts_with(".id is an integer of more than 64 bits"));
    }

    #[test]
    fn large_numbers_that_are_exact_are_written() {
        for text in ["9223372036854775807", "1e+300", "18446744073709551616.0"] {
            let value: Value = serde_json::from_str(text).unwrap();
            let written: Value = serde_json::from_slice(&json(&value, text.as_bytes()).unwrap()).unwrap();
            assert_eq!(written, value, "{text}");
        }
    }

    #[test]
    fn a_text_at_many_places_does_not_become_endless() {
        let value = Value::from(vec![Value::from("x".repeat(1024 * 1024)); 1_000]);
        assert!(json(&value, b"").unwrap_err().contains("longer than 16 MiB as JSON"));
    }

    fn infinite() -> Value {
        Value::Float(vrl::prelude::NotNan::new(f64::INFINITY).unwrap())
    }
}
