//! A record on its way through the steps. It is decoded when a step needs its value, and encoded when its new bytes are
//! needed, each at most once for a change.

use bytes::Bytes;
use sluice_crds::Decode;

use crate::{Code, Media, Meter, Record, Rejection, budget::Budget, decode, encode, target::StepTarget};

pub(crate) struct Work<'a> {
    record: &'a Record,
    decode: &'a Decode,
    pub(crate) target: StepTarget,
    pub(crate) budget: Budget,
    decoded: bool,
    /// The step that changed the value last.
    changed_by: Option<&'a str>,
    /// The value as that step left it.
    encoded: Option<(Bytes, Media)>,
}

impl<'a> Work<'a> {
    /// `metadata` is what programs see of it.
    pub(crate) fn new(record: &'a Record, decode: &'a Decode, metadata: vrl::value::Value, meter: Meter) -> Self {
        let size = record.value.as_ref().map_or(0, Bytes::len);
        Self {
            record,
            decode,
            target: StepTarget { value: vrl::value::Value::Null, metadata, changed: false },
            budget: Budget::new(meter, size),
            decoded: false,
            changed_by: None,
            encoded: None,
        }
    }

    /// What the record was decoded from.
    pub(crate) fn original(&self) -> &'a [u8] {
        self.record.value.as_deref().unwrap_or_default()
    }

    /// Puts the record's value into the target, where it is not there yet.
    pub(crate) fn decode(&mut self) -> Result<(), Rejection> {
        if !std::mem::replace(&mut self.decoded, true) {
            self.target.value = decode::value(self.decode, self.record.value.as_ref())?;
            self.check_budget(decode::STAGE)?;
        }
        Ok(())
    }

    /// Takes note of what a step did to the target.
    pub(crate) fn note_change(&mut self, step: &'a str) {
        if std::mem::take(&mut self.target.changed) {
            self.changed_by = Some(step);
            self.encoded = None;
        }
    }

    /// The value as a schema looks at it, and its size in bytes. An unchanged record's numbers are as they are written.
    pub(crate) fn document(&mut self) -> Result<(serde_json::Value, usize), Rejection> {
        let (bytes, media) = self.payload()?;
        let document = decode::document(self.decode, media, bytes.as_ref())?;
        self.check_budget(decode::STAGE)?;
        Ok((document, bytes.map_or(0, |bytes| bytes.len())))
    }

    /// The bytes as the steps so far left them: the record's own where none changed it. `None` is a tombstone.
    pub(crate) fn payload(&mut self) -> Result<(Option<Bytes>, Media), Rejection> {
        let Some(step) = self.changed_by else {
            return Ok((self.record.value.clone(), self.decode.format.into()));
        };
        let (bytes, media) = match self.encoded.take() {
            Some(encoded) => encoded,
            None => encode::value(self.decode.format, &self.target.value, self.original())
                .map_err(|message| Rejection::new(step, Code::Unencodable, message))?,
        };
        self.encoded = Some((bytes.clone(), media));
        Ok((Some(bytes), media))
    }

    /// Looks at an unchanged record whose value nobody needed.
    pub(crate) fn check(&mut self) -> Result<(), Rejection> {
        if let (false, None, Some(bytes)) = (self.decoded, self.changed_by, &self.record.value) {
            decode::check(self.decode, bytes)?;
            self.check_budget(decode::STAGE)?;
        }
        Ok(())
    }

    /// Whether the record has its share left.
    pub(crate) fn check_budget(&mut self, stage: &str) -> Result<(), Rejection> {
        self.budget.used_up().map_or(Ok(()), |reason| Err(Rejection::new(stage, Code::TooMuchWork, reason)))
    }
}
