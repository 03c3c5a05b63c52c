//! The way of a record through its steps.

use sluice_crds::{
    Decode, Format,
    wire::{SinkConfig, StepConfig},
};
use vrl::{
    compiler::{TypeState, state::ExternalEnv},
    value::{Kind, Value},
};

use crate::{
    Code, CompileError, Envelope, Media, Message, Meter, Record, Rejection, Verdict, address::Addressing, decode,
    metadata, request::Request, step::Step, work::Work,
};

/// How records are decoded, and compiled steps. Cheap to share: applying it changes nothing in it.
#[derive(Debug)]
pub struct Pipeline {
    decode: Decode,
    steps: Vec<Step>,
    /// Where records go, as far as they decide it.
    destination: Destination,
    /// Whether any program reads metadata; else it is not made.
    reads_metadata: bool,
}

/// Where records go, as far as they decide it.
#[derive(Debug)]
enum Destination {
    None,
    Http(Request),
    Kafka(Addressing),
}

impl Pipeline {
    /// Compiles the steps and the sink's templates, or says all that is wrong with them. Each step is compiled for what the steps before it make of
    /// the record; those after a wrong one are compiled as if it changed nothing they can know. Without a sink it is only
    /// said what is wrong with the steps.
    pub fn compile(
        decode: &Decode,
        steps: &[StepConfig],
        sink: Option<&SinkConfig>,
    ) -> Result<Self, Vec<CompileError>> {
        let mut types = types_of(decode.format);
        let mut compiled = Vec::with_capacity(steps.len());
        let mut errors = Vec::new();
        for config in steps {
            match Step::compile(config, &mut types) {
                Ok(step) => compiled.push(step),
                Err(found) => {
                    errors.extend(found);
                    types = types_of(decode.format);
                }
            }
        }
        let destination = Destination::compile(sink, &types).map_err(|found| errors.extend(found));
        let (Ok(destination), []) = (destination, errors.as_slice()) else { return Err(errors) };
        let reads_metadata = compiled.iter().any(Step::reads_metadata) || destination.reads_metadata();
        Ok(Self { decode: decode.clone(), steps: compiled, destination, reads_metadata })
    }

    /// Judges one record. Never panics, whatever the record holds. A record that takes more than its share of CPU or
    /// memory, as `meter` tells of the calling thread, is rejected.
    pub fn apply(&self, record: &Record, meter: Meter) -> Verdict {
        self.judge(record, meter).unwrap_or_else(Verdict::Reject)
    }

    fn judge(&self, record: &Record, meter: Meter) -> Result<Verdict, Rejection> {
        let mut work = Work::new(record, &self.decode, self.metadata(record), meter);
        for step in &self.steps {
            if step.run(&mut work)?.is_break() {
                return Ok(Verdict::Skip { step: step.name.clone() });
            }
        }
        let envelope = self.destination.of(record, &mut work)?;
        let (value, media) = match &envelope {
            Envelope::Http(request) if !request.has_body => (None, Media::Bytes),
            Envelope::Http(_) => {
                // It says of itself what it is, so that it has to be that.
                work.check()?;
                some(work.payload()?)?
            }
            Envelope::Kafka(_) => work.payload()?,
            Envelope::None => some(work.payload()?)?,
        };
        Ok(Verdict::Deliver(Message { value, media, envelope }))
    }

    fn metadata(&self, record: &Record) -> Value {
        if self.reads_metadata { metadata::value(record) } else { Value::Null }
    }
}

impl Destination {
    fn compile(sink: Option<&SinkConfig>, types: &TypeState) -> Result<Self, Vec<CompileError>> {
        match sink {
            None => Ok(Self::None),
            Some(SinkConfig::Http(http)) => Request::compile(http, types).map(Self::Http),
            Some(SinkConfig::Kafka(kafka)) => Addressing::compile(kafka, types).map(Self::Kafka),
        }
    }

    fn reads_metadata(&self) -> bool {
        match self {
            Self::None => false,
            Self::Http(request) => request.reads_metadata(),
            Self::Kafka(addressing) => addressing.reads_metadata(),
        }
    }

    fn of(&self, record: &Record, work: &mut Work<'_>) -> Result<Envelope, Rejection> {
        match self {
            Self::None => Ok(Envelope::None),
            Self::Http(request) => request.of(work).map(Envelope::Http),
            Self::Kafka(addressing) => addressing.of(record, work).map(Envelope::Kafka),
        }
    }
}

/// A tombstone has a meaning in Kafka only.
fn some<T>((value, media): (Option<T>, Media)) -> Result<(Option<T>, Media), Rejection> {
    if value.is_some() { Ok((value, media)) } else { Err(no_value()) }
}

fn types_of(format: Format) -> TypeState {
    let value = match format {
        Format::Json => Kind::json(),
        Format::Text | Format::Bytes => Kind::bytes().or_null(),
    };
    TypeState { external: ExternalEnv::new_with_kind(value, metadata::kind()), ..TypeState::default() }
}

fn no_value() -> Rejection {
    let message = "the record has no value (a tombstone); a filter such as `. != null` holds such records back";
    Rejection::new(decode::STAGE, Code::NoValue, message)
}
