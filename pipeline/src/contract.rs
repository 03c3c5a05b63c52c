//! A JSON Schema that bodies are held against without any other step: what a webhook's receiver does with an event.

use serde_json::Value;

use crate::{CpuTime, Meter, Rejection, budget::Budget, decode, schema::Schema};

/// A schema that bodies are held against.
#[derive(Debug)]
pub struct Contract(Schema);

/// The stage that dead letters name.
const STAGE: &str = "validate";

impl Contract {
    /// Compiles a schema. The error says what is wrong with it, and where.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        Schema::compile(schema).map(Self)
    }

    /// Whether a body is JSON and as the schema says. It never panics and has the budget of a record; `cpu_time` is the calling
    /// thread's.
    pub fn judge(&self, body: &[u8], cpu_time: CpuTime) -> Result<(), Rejection> {
        let mut budget = Budget::new(Meter { cpu_time, memory: || 0 }, body.len());
        let value = decode::json(body)?;
        self.0.judge(&value, body.len(), &mut budget).map_err(|mismatch| mismatch.rejection(STAGE))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::Code;

    #[test]
    fn a_body_is_json_and_as_the_schema_says() {
        let contract = Contract::compile(&json!({"type": "object", "required": ["id"]})).unwrap();
        let judge = |body: &[u8]| {
            contract.judge(body, || Duration::ZERO).map_err(|rejection| (rejection.stage, rejection.code))
        };
        assert_eq!(judge(br#"{"id": 1}"#), Ok(()));
        for (body, stage, code) in [
            (&b"{}"[..], "validate", Code::SchemaMismatch),
            (b"{", "decode", Code::InvalidJson),
            (b"", "decode", Code::InvalidJson),
            (b"\xff", "decode", Code::InvalidUtf8),
            (&[b'['; 200], "decode", Code::TooDeep),
        ] {
            assert_eq!(judge(body), Err((stage.to_owned(), code)), "{body:?}");
        }
        assert!(Contract::compile(&json!({"type": "objekt"})).unwrap_err().contains("/type"));
    }
}
