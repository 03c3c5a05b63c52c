//! What a user must fix, or wait for, before a resource can be carried out.

use std::fmt;

use sluice_crds::Reason;

/// One complaint about a resource. `validate` gives all of them together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The field, as a path from the resource's root: `spec.steps[1].map`.
    pub field: String,
    /// `Invalid`, `OutsideTenancy` and `RefNotPermitted` where a person must act; `NotFound` and `DependencyNotReady` where waiting
    /// may help.
    pub reason: Reason,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Rejection {
    /// The field's value cannot be carried out.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), reason: Reason::Invalid, message: message.into() }
    }

    /// The field names something that belongs to others.
    pub fn outside_tenancy(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), reason: Reason::OutsideTenancy, message: message.into() }
    }

    /// The field names an object of another namespace, which does not permit it.
    pub fn not_permitted(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), reason: Reason::RefNotPermitted, message: message.into() }
    }

    /// The field names an object that does not exist.
    pub fn not_found(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), reason: Reason::NotFound, message: message.into() }
    }

    /// The field names an object that cannot be used yet.
    pub fn not_ready(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), reason: Reason::DependencyNotReady, message: message.into() }
    }

    /// Whether only a person can resolve it.
    pub fn needs_a_person(&self) -> bool {
        matches!(self.reason, Reason::Invalid | Reason::OutsideTenancy | Reason::RefNotPermitted)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// The reason for a condition: of what a person must resolve before what may resolve itself.
pub fn reason(rejections: &[Rejection]) -> Reason {
    let first = rejections.iter().find(|rejection| rejection.needs_a_person()).or(rejections.first());
    first.map_or(Reason::Invalid, |rejection| rejection.reason)
}

/// All complaints in one text, for a condition's message.
pub fn summary(rejections: &[Rejection]) -> String {
    rejections.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
