//! Turns the bytes of a record into a value.

use std::{fmt, str};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, SeqAccess, Visitor},
};
use sluice_crds::{Decode, Format};
use vrl::value::Value;

use crate::{Code, Media, Rejection};

/// The stage that dead letters name.
pub(crate) const STAGE: &str = "decode";

/// The value of a record. No bytes are `null`, so that a filter can hold tombstones back.
pub(crate) fn value(decode: &Decode, bytes: Option<&Bytes>) -> Result<Value, Rejection> {
    let Some(bytes) = bytes else { return Ok(Value::Null) };
    check_size(decode, bytes)?;
    match decode.format {
        Format::Json => json(bytes),
        Format::Text => text(bytes).map(|_| Value::from(bytes.clone())),
        Format::Bytes => Ok(Value::from(bytes.clone())),
    }
}

/// The value as a schema looks at it: numbers are as they are written.
pub(crate) fn document(decode: &Decode, media: Media, bytes: Option<&Bytes>) -> Result<serde_json::Value, Rejection> {
    let Some(bytes) = bytes else { return Ok(serde_json::Value::Null) };
    check_size(decode, bytes)?;
    match media {
        Media::Json => json(bytes),
        Media::Text | Media::Bytes => text(bytes).map(serde_json::Value::from),
    }
}

/// Whether a record is what its format says, for one whose value nobody needs. Half the price of the value.
pub(crate) fn check(decode: &Decode, bytes: &[u8]) -> Result<(), Rejection> {
    check_size(decode, bytes)?;
    match decode.format {
        Format::Json => json::<Syntax>(bytes).map(drop),
        Format::Text => text(bytes).map(drop),
        Format::Bytes => Ok(()),
    }
}

fn check_size(decode: &Decode, bytes: &[u8]) -> Result<(), Rejection> {
    if bytes.len() as u64 <= decode.max_size.bytes() {
        return Ok(());
    }
    let message = format!("the value has {} bytes, and decode.maxSize is {}", bytes.len(), decode.max_size);
    Err(Rejection::new(STAGE, Code::TooLarge, message))
}

fn text(bytes: &[u8]) -> Result<&str, Rejection> {
    str::from_utf8(bytes).map_err(|error| {
        let place = error.valid_up_to();
        Rejection::new(STAGE, Code::InvalidUtf8, format!("the value is no UTF-8: byte {place} begins no character"))
    })
}

/// A JSON document, at most 128 levels deep, which is the bound of `serde_json`.
pub(crate) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Rejection> {
    serde_json::from_str(text(bytes)?).map_err(|error| invalid_json(&error))
}

fn invalid_json(error: &serde_json::Error) -> Rejection {
    let message = error.to_string();
    // serde_json keeps the code of an error to itself; its text is the only way to tell the bound from bad syntax.
    if message.starts_with("recursion limit exceeded") {
        let place = message.trim_start_matches("recursion limit exceeded").trim();
        return Rejection::new(STAGE, Code::TooDeep, format!("the value is nested deeper than 128 levels {place}"));
    }
    Rejection::new(STAGE, Code::InvalidJson, format!("the value is no JSON: {message}"))
}

/// Any JSON, looked at and forgotten. (Not serde's `IgnoredAny`, which takes any depth and half a surrogate pair.)
struct Syntax;

impl<'de> Deserialize<'de> for Syntax {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SyntaxVisitor)
    }
}

struct SyntaxVisitor;

impl<'de> Visitor<'de> for SyntaxVisitor {
    type Value = Syntax;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Syntax, E> {
        Ok(Syntax)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Syntax, E> {
        Ok(Syntax)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Syntax, E> {
        Ok(Syntax)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Syntax, E> {
        Ok(Syntax)
    }

    fn visit_str<E>(self, _: &str) -> Result<Syntax, E> {
        Ok(Syntax)
    }

    fn visit_unit<E>(self) -> Result<Syntax, E> {
        Ok(Syntax)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Syntax, A::Error> {
        while items.next_element::<Syntax>()?.is_some() {}
        Ok(Syntax)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Syntax, A::Error> {
        while fields.next_entry::<Syntax, Syntax>()?.is_some() {}
        Ok(Syntax)
    }
}

#[cfg(test)]
mod tests {
    use sluice_crds::Size;

    use super::*;

    fn of(format: Format) -> Decode {
        Decode { format, ..Decode::default() }
    }

    #[test]
    fn what_is_no_json_is_rejected_with_its_place_whoever_looks_at_it() {
        for (bytes, code, place) in [
            (b"{\"a\": }".as_slice(), Code::InvalidJson, "line 1 column 7"),
            (b"", Code::InvalidJson, "line 1 column 0"),
            (b"{} {}", Code::InvalidJson, "trailing characters"),
            (b"{\"a\": NaN}", Code::InvalidJson, "line 1 column 7"),
            (b"1e999", Code::InvalidJson, "number out of range"),
            (b"\"\\ud800\"", Code::InvalidJson, "line 1 column"),
            (b"{\"a\": \"\xff\"}", Code::InvalidUtf8, "byte 7"),
            ("[".repeat(10_000).as_bytes(), Code::TooDeep, "line 1 column 128"),
            ("{\"a\":".repeat(10_000).as_bytes(), Code::TooDeep, "line 1 column"),
        ] {
            let (decode, bytes) = (of(Format::Json), Bytes::copy_from_slice(bytes));
            let value = value(&decode, Some(&bytes)).map(drop);
            let document = document(&decode, Media::Json, Some(&bytes)).map(drop);
            let looks = [value, document, check(&decode, &bytes)];
            for rejection in looks.map(Result::unwrap_err) {
                assert_eq!((rejection.stage.as_str(), rejection.code), (STAGE, code));
                assert!(rejection.message.contains(place), "{}", rejection.message);
            }
        }
    }

    #[test]
    fn what_is_json_passes_whoever_looks_at_it() {
        for text in ["null", r#"{"a": [1, -2, 3.5e7, true, null, "\u00e4", 18446744073709551615], "a": {}}"#] {
            let (decode, bytes) = (of(Format::Json), Bytes::from(text));
            assert!(value(&decode, Some(&bytes)).is_ok(), "{text}");
            assert!(document(&decode, Media::Json, Some(&bytes)).is_ok(), "{text}");
            assert_eq!(check(&decode, &bytes), Ok(()), "{text}");
        }
    }

    #[test]
    fn texts_are_utf8_and_bytes_are_anything() {
        let binary = Bytes::from_static(b"a\xff");
        assert_eq!(value(&of(Format::Text), Some(&Bytes::from("ä"))), Ok(Value::from("ä")));
        assert_eq!(value(&of(Format::Text), Some(&binary)).unwrap_err().code, Code::InvalidUtf8);
        assert_eq!(check(&of(Format::Text), &binary).unwrap_err().code, Code::InvalidUtf8);
        assert_eq!(value(&of(Format::Bytes), Some(&binary)), Ok(Value::from(binary.clone())));
    }

    #[test]
    fn what_is_larger_than_allowed_is_rejected_before_it_is_read() {
        let decode = Decode { max_size: "4".parse::<Size>().unwrap(), ..of(Format::Json) };
        assert!(value(&decode, Some(&Bytes::from("1234"))).is_ok());
        let rejection = value(&decode, Some(&Bytes::from("{{{{{"))).unwrap_err();
        assert_eq!(rejection.code, Code::TooLarge);
        assert_eq!(rejection.message, "the value has 5 bytes, and decode.maxSize is 4");
    }

    #[test]
    fn a_tombstone_is_null() {
        assert_eq!(value(&of(Format::Json), None), Ok(Value::Null));
    }
}
