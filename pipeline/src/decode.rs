//! Turns the bytes of a record into a value.

use std::str;

use vrl::value::Value;

use crate::{Code, Rejection};

/// The stage that dead letters name.
pub(crate) const STAGE: &str = "decode";

/// The value of a JSON document; at most 128 levels deep, which is the bound of `serde_json`. No bytes are `null`, so that
/// a filter can hold tombstones back.
pub(crate) fn json(bytes: Option<&[u8]>) -> Result<Value, Rejection> {
    let Some(bytes) = bytes else { return Ok(Value::Null) };
    let text = str::from_utf8(bytes).map_err(|error| {
        let place = error.valid_up_to();
        Rejection::new(STAGE, Code::InvalidUtf8, format!("the value is no UTF-8: byte {place} begins no character"))
    })?;
    serde_json::from_str(text).map_err(|error| invalid_json(&error))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_rejected_with_its_place() {
        for (bytes, code, place) in [
            (b"{\"a\": }".as_slice(), Code::InvalidJson, "line 1 column 7"),
            (b"", Code::InvalidJson, "line 1 column 0"),
            (b"{} {}", Code::InvalidJson, "trailing characters"),
            (b"{\"a\": NaN}", Code::InvalidJson, "line 1 column 7"),
            (b"1e999", Code::InvalidJson, "number out of range"),
            (b"{\"a\": \"\xff\"}", Code::InvalidUtf8, "byte 7"),
            ("[".repeat(10_000).as_bytes(), Code::TooDeep, "line 1 column 128"),
        ] {
            let rejection = json(Some(bytes)).unwrap_err();
            assert_eq!((rejection.stage.as_str(), rejection.code), (STAGE, code));
            assert!(rejection.message.contains(place), "{}", rejection.message);
        }
    }

    #[test]
    fn a_tombstone_is_null() {
        assert_eq!(json(None), Ok(Value::Null));
    }
}
