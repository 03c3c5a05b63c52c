//! The conditions of a status: set one by one, each remembering when it last changed.

mod news;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use sluice_crds::{ConditionType, Reason};

pub use news::{News, news};

/// Kubernetes refuses longer messages.
const LONGEST_MESSAGE: usize = 32_768;

/// The conditions that a report writes. A condition that the report does not set is gone.
#[derive(Debug)]
pub struct Conditions<'a> {
    previous: &'a [Condition],
    generation: Option<i64>,
    now: Timestamp,
    set: Vec<Condition>,
}

impl<'a> Conditions<'a> {
    /// Begins a report on `generation`; `now` is the time at which conditions that differ from `previous` changed.
    pub fn new(previous: &'a [Condition], generation: Option<i64>, now: Timestamp) -> Self {
        Self { previous, generation, now, set: Vec::new() }
    }

    /// Sets a condition to true.
    pub fn yes(&mut self, kind: ConditionType, reason: Reason, message: impl Into<String>) {
        self.set(kind, "True", reason.to_string(), message.into());
    }

    /// Sets a condition to false.
    pub fn no(&mut self, kind: ConditionType, reason: Reason, message: impl Into<String>) {
        self.set(kind, "False", reason.to_string(), message.into());
    }

    /// Sets a condition to false, with a reason that stands in a condition of somebody else.
    pub fn no_as_judged(&mut self, kind: ConditionType, reason: impl Into<String>, message: impl Into<String>) {
        self.set(kind, "False", reason.into(), message.into());
    }

    /// Sets a condition to unknown.
    pub fn unknown(&mut self, kind: ConditionType, reason: Reason, message: impl Into<String>) {
        self.set(kind, "Unknown", reason.to_string(), message.into());
    }

    /// A condition as it was.
    pub fn before(&self, kind: ConditionType) -> Option<&'a Condition> {
        find(self.previous, kind)
    }

    /// Keeps a condition as it was, for what this pass did not look at.
    pub fn keep(&mut self, kind: ConditionType) {
        if let Some(previous) = find(self.previous, kind) {
            self.set.push(previous.clone());
        }
    }

    /// Keeps all conditions as they were, but for these.
    pub fn keep_all_but(&mut self, kinds: &[ConditionType]) {
        let kinds: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        self.set.extend(self.previous.iter().filter(|condition| !kinds.contains(&condition.type_)).cloned());
    }

    /// The conditions, in the order in which they were set.
    pub fn finish(self) -> Vec<Condition> {
        self.set
    }

    fn set(&mut self, kind: ConditionType, status: &str, reason: String, mut message: String) {
        if message.len() > LONGEST_MESSAGE {
            message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
        }
        let unchanged = find(self.previous, kind).filter(|previous| previous.status == status);
        self.set.push(Condition {
            type_: kind.to_string(),
            status: status.to_owned(),
            reason,
            message,
            observed_generation: self.generation,
            last_transition_time: unchanged.map_or(Time(self.now), |previous| previous.last_transition_time.clone()),
        });
    }
}

/// The condition of a kind, where there is one.
pub fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    let kind = kind.to_string();
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether the condition of a kind is there and true.
pub fn is_true(conditions: &[Condition], kind: ConditionType) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let mut first = Conditions::new(&[], Some(1), at(10));
        first.no(ConditionType::Ready, Reason::Progressing, "starting");
        let first = first.finish();

        let mut second = Conditions::new(&first, Some(2), at(20));
        second.no(ConditionType::Ready, Reason::Unavailable, "still starting");
        let second = second.finish();
        assert_eq!(second[0].last_transition_time, Time(at(10)));
        assert_eq!(second[0].observed_generation, Some(2));

        let mut third = Conditions::new(&second, Some(2), at(30));
        third.yes(ConditionType::Ready, Reason::Running, "");
        assert_eq!(third.finish()[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn a_condition_that_is_not_set_again_is_gone() {
        let mut first = Conditions::new(&[], None, at(10));
        first.yes(ConditionType::Stalled, Reason::Invalid, "a person must act");
        let first = first.finish();
        assert_eq!(Conditions::new(&first, None, at(20)).finish(), []);
    }
}
