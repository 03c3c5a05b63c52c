//! Where the names of an event are, in a form that cannot be wrong.

use std::fmt;

use http::HeaderName;
use sluice_crds::{
    CloudEvents,
    wire::{EventSources, FieldSource, IdSource},
};

use crate::{json::Places, verify::Defaults};

/// Where the names of an event are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    pub(super) id: Id,
    pub(super) event_type: Option<Field>,
    pub(super) key: Option<Field>,
    pub(super) sequence: Option<Field>,
    pub(super) cloud_events: CloudEvents,
    /// Those places that are in the body of an event.
    pub(super) in_body: Places,
    /// Those that are in the data of a cloud event, which has id and type elsewhere.
    pub(super) in_data: Places,
}

/// Where the id is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    Field(Field),
    /// Where it is missing, the body is the id.
    FieldOrBodyHash(Field),
    /// Nowhere: events with the same body are the same event.
    BodyHash,
}

/// A place in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Header(HeaderName),
    JsonPointer(String),
}

/// A place that no request has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSource {
    #[error("{0:?} is no name of a header")]
    Header(String),
    #[error("{0:?} is no JSON pointer (RFC 6901), as in /data/id")]
    JsonPointer(String),
}

impl Sources {
    /// The places that a configuration names; where it names none, those of the provider.
    pub fn of(sources: &EventSources, defaults: &Defaults) -> Result<Self, InvalidSource> {
        let id = match (&sources.id, &defaults.id) {
            (Some(IdSource::Header(name)), _) => Id::Field(Field::header(name)?),
            (Some(IdSource::JsonPointer(pointer)), _) => Id::Field(Field::json_pointer(pointer)?),
            (None, Some(field)) if defaults.id_may_be_missing => Id::FieldOrBodyHash(Field::of(field)?),
            (None, Some(field)) => Id::Field(Field::of(field)?),
            (Some(IdSource::BodyHash), _) | (None, None) => Id::BodyHash,
        };
        let event_type = sources.event_type.as_ref().or(defaults.event_type.as_ref()).map(Field::of).transpose()?;
        let key = sources.key.as_ref().map(Field::of).transpose()?;
        let sequence = sources.sequence.as_ref().map(Field::of).transpose()?;
        let in_data = Places::of([&key, &sequence].into_iter().flatten().filter_map(Field::pointer));
        let in_body = [id.field(), event_type.as_ref(), key.as_ref(), sequence.as_ref()];
        let in_body = Places::of(in_body.into_iter().flatten().filter_map(Field::pointer));
        Ok(Self { id, event_type, key, sequence, cloud_events: sources.cloud_events, in_body, in_data })
    }
}

impl Id {
    fn field(&self) -> Option<&Field> {
        match self {
            Self::Field(field) | Self::FieldOrBodyHash(field) => Some(field),
            Self::BodyHash => None,
        }
    }
}

impl Field {
    fn pointer(&self) -> Option<&str> {
        if let Self::JsonPointer(pointer) = self { Some(pointer) } else { None }
    }

    fn of(source: &FieldSource) -> Result<Self, InvalidSource> {
        match source {
            FieldSource::Header(name) => Self::header(name),
            FieldSource::JsonPointer(pointer) => Self::json_pointer(pointer),
        }
    }

    fn header(name: &str) -> Result<Self, InvalidSource> {
        name.parse().map(Self::Header).map_err(|_| InvalidSource::Header(name.to_owned()))
    }

    fn json_pointer(pointer: &str) -> Result<Self, InvalidSource> {
        if pointer.starts_with('/') {
            Ok(Self::JsonPointer(pointer.to_owned()))
        } else {
            Err(InvalidSource::JsonPointer(pointer.to_owned()))
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(formatter, "the header {name}"),
            Self::JsonPointer(pointer) => write!(formatter, "{pointer} of the JSON body"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_has_its_own_place_for_the_id_unless_another_is_named() {
        let delivery = Some(FieldSource::Header("x-github-delivery".into()));
        let github = Defaults { id: delivery.clone(), ..Defaults::default() };
        let gitlab = Defaults { id: delivery, id_may_be_missing: true, ..Defaults::default() };
        let id = |id, defaults| Sources::of(&EventSources { id, ..EventSources::default() }, defaults).unwrap().id;
        let header = |name: &'static str| Field::Header(HeaderName::from_static(name));
        assert_eq!(id(None, &github), Id::Field(header("x-github-delivery")));
        assert_eq!(id(None, &gitlab), Id::FieldOrBodyHash(header("x-github-delivery")));
        assert_eq!(id(Some(IdSource::Header("X-Id".into())), &gitlab), Id::Field(header("x-id")));
        assert_eq!(id(Some(IdSource::BodyHash), &github), Id::BodyHash);
        assert_eq!(id(None, &Defaults::default()), Id::BodyHash);
    }
}
