//! Where the names of an event are, in a form that cannot be wrong.

use std::fmt;

use http::HeaderName;
use sluice_crds::wire::{EventSources, FieldSource, IdSource};

/// Where the names of an event are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    pub(super) id: Id,
    pub(super) event_type: Option<Field>,
    pub(super) key: Option<Field>,
}

/// Where the id is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    Field(Field),
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
    /// The places that a configuration names. `id_header` is where the provider puts the id; it counts where none is named.
    pub fn of(sources: &EventSources, id_header: Option<&str>) -> Result<Self, InvalidSource> {
        let id = match (&sources.id, id_header) {
            (Some(IdSource::Header(name)), _) => Id::Field(Field::header(name)?),
            (Some(IdSource::JsonPointer(pointer)), _) => Id::Field(Field::json_pointer(pointer)?),
            (None, Some(name)) => Id::Field(Field::header(name)?),
            (Some(IdSource::BodyHash), _) | (None, None) => Id::BodyHash,
        };
        let event_type = sources.event_type.as_ref().map(Field::of).transpose()?;
        let key = sources.key.as_ref().map(Field::of).transpose()?;
        Ok(Self { id, event_type, key })
    }
}

impl Field {
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
        let id = |id, header| Sources::of(&EventSources { id, ..EventSources::default() }, header).unwrap().id;
        let header = |name: &'static str| Id::Field(Field::Header(HeaderName::from_static(name)));
        assert_eq!(id(None, Some("x-github-delivery")), header("x-github-delivery"));
        assert_eq!(id(Some(IdSource::Header("X-Id".into())), Some("x-github-delivery")), header("x-id"));
        assert_eq!(id(Some(IdSource::BodyHash), Some("x-github-delivery")), Id::BodyHash);
        assert_eq!(id(None, None), Id::BodyHash);
    }
}
