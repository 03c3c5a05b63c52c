//! The place in a Kafka topic that a record is written to, as far as the record decides it: key, partition, headers.

use bytes::Bytes;
use sluice_crds::wire::KafkaSinkConfig;
use vrl::{
    compiler::TypeState,
    value::{Kind, Value},
};

use crate::{
    CompileError, Record, Rejection,
    expression::{Expression, Wanted},
    template::Template,
    work::Work,
};

/// The place of a record in a Kafka topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaAddress {
    /// The key; by default the record's own.
    pub key: Option<Bytes>,
    /// The partition; `None`: that of the key.
    pub partition: Option<i32>,
    /// Headers beside the record's own, or in place of them. One without a value is left out.
    pub headers: Vec<(String, Option<String>)>,
}

impl KafkaAddress {
    /// The memory that it takes beside the record's own, about.
    pub(crate) fn size(&self) -> usize {
        let header = |(name, value): &(String, Option<String>)| name.len() + value.as_ref().map_or(0, String::len);
        self.key.as_ref().map_or(0, Bytes::len) + self.headers.iter().map(header).sum::<usize>()
    }
}

/// What a sink says about the place, compiled.
#[derive(Debug)]
pub(crate) struct Addressing {
    key: Option<Expression>,
    partition: Option<Expression>,
    headers: Vec<(String, Template)>,
}

impl Addressing {
    /// Compiles the programs of a sink for records of these types, or says all that is wrong with them.
    pub(crate) fn compile(sink: &KafkaSinkConfig, types: &TypeState) -> Result<Self, Vec<CompileError>> {
        let mut errors = Vec::new();
        let key = Wanted::text("a key is a text, a number, a boolean, a time, or null");
        let key = Wanted { kind: key.kind.or_null(), ..key };
        let partition = Wanted { kind: Kind::integer(), rule: "a partition is a whole number" };
        let mut compile = |field: &str, source: &Option<String>, wanted: &Wanted| {
            let compiled = source.as_ref().map(|source| Expression::compile(field, source, types, wanted)).transpose();
            compiled.map_err(|found| errors.extend(found)).unwrap_or_default()
        };
        let (key, partition) =
            (compile("kafka.key", &sink.key, &key), compile("kafka.partition", &sink.partition, &partition));
        let mut headers = Vec::with_capacity(sink.headers.len());
        for (name, text) in &sink.headers {
            match Template::compile(format!("kafka.headers[{name}]"), text, types) {
                Ok(template) => headers.push((name.clone(), template)),
                Err(found) => errors.extend(found),
            }
        }
        if errors.is_empty() { Ok(Self { key, partition, headers }) } else { Err(errors) }
    }

    pub(crate) fn reads_metadata(&self) -> bool {
        self.key.iter().chain(&self.partition).any(Expression::reads_metadata)
            || self.headers.iter().any(|(_, template)| template.reads_metadata())
    }

    /// The place of a record.
    pub(crate) fn of(&self, record: &Record, work: &mut Work<'_>) -> Result<KafkaAddress, Rejection> {
        let key = self.key.as_ref().map_or_else(|| Ok(record.key.clone()), |key| key.bytes(work))?;
        let partition = self.partition.as_ref().map(|partition| number(partition, work)).transpose()?;
        let mut headers = Vec::with_capacity(self.headers.len());
        for (name, template) in &self.headers {
            headers.push((name.clone(), template.render(work, |value, text| text.push_str(value))?));
        }
        Ok(KafkaAddress { key, partition, headers })
    }
}

fn number(partition: &Expression, work: &mut Work<'_>) -> Result<i32, Rejection> {
    let value = partition.value(work)?;
    let number = match &value {
        Value::Integer(number) => i32::try_from(*number).ok().filter(|number| *number >= 0),
        _ => None,
    };
    number.ok_or_else(|| partition.invalid(&format!("would be {value}; a partition is a number from 0 on")))
}
