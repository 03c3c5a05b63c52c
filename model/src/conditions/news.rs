//! What in a status' transition a person should hear of. A new resource that becomes ready is no news.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use sluice_crds::{ConditionType, Reason};

use super::find;

/// What a person should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Whether it is good.
    pub is_good: bool,
    /// The condition's reason.
    pub reason: String,
    /// The condition's message.
    pub message: String,
}

/// What a condition is like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    /// Work is under way, and nobody has to hear of it.
    Underway,
    /// Others have to do something first, as after every start.
    Waiting,
    Trouble,
}

/// What is new in a status: its trouble, its end, and what was ready and is not.
pub fn news(before: &[Condition], after: &[Condition]) -> Vec<News> {
    TOLD.iter().filter_map(|kind| of_condition(*kind, before, after)).collect()
}

/// The conditions whose transitions a person should hear of; others are reasons of these.
const TOLD: [ConditionType; 2] = [ConditionType::Ready, ConditionType::SinkHealthy];

fn of_condition(kind: ConditionType, before: &[Condition], after: &[Condition]) -> Option<News> {
    let after = find(after, kind)?;
    let before = find(before, kind);
    if before.is_some_and(|before| before.reason == after.reason && before.status == after.status) {
        return None;
    }
    let was = before.map_or(State::Underway, state);
    let is = state(after);
    let trouble = [was, is].contains(&State::Trouble);
    let start = [was, is].contains(&State::Underway) || [was, is] == [State::Waiting, State::Waiting];
    let news = News {
        is_good: matches!(is, State::Ready | State::Underway),
        reason: after.reason.clone(),
        message: after.message.clone(),
    };
    (trouble || !start).then_some(news)
}

fn state(condition: &Condition) -> State {
    const UNDERWAY: [Reason; 2] = [Reason::Pending, Reason::Progressing];
    const WAITING: [Reason; 3] = [Reason::DependencyNotReady, Reason::RoutePending, Reason::Unavailable];
    let is_one_of = |reasons: &[Reason]| reasons.iter().any(|reason| reason.to_string() == condition.reason);
    match condition.status.as_str() {
        "True" => State::Ready,
        _ if is_one_of(&UNDERWAY) => State::Underway,
        _ if is_one_of(&WAITING) => State::Waiting,
        _ => State::Trouble,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::Conditions;

    fn ready(status: bool, reason: Reason) -> Vec<Condition> {
        let mut conditions = Conditions::new(&[], Some(1), Timestamp::from_second(1).unwrap());
        if status {
            conditions.yes(ConditionType::Ready, reason, "as it should");
        } else {
            conditions.no(ConditionType::Ready, reason, "not yet");
        }
        conditions.finish()
    }

    /// The reasons that are heard of on the way through these states.
    fn heard(states: &[(bool, Reason)]) -> Vec<String> {
        let statuses: Vec<_> = states.iter().map(|(status, reason)| ready(*status, *reason)).collect();
        let told = statuses.windows(2).flat_map(|pair| news(&pair[0], &pair[1]));
        told.map(|news| format!("{}{}", if news.is_good { "+" } else { "-" }, news.reason)).collect()
    }

    #[test]
    fn a_new_topic_that_becomes_ready_is_no_news() {
        use Reason::{InSync, Pending, Progressing};
        assert_eq!(heard(&[(false, Pending), (false, Progressing), (true, InSync)]), [""; 0]);
        assert_eq!(heard(&[(true, InSync), (false, Progressing), (true, InSync)]), [""; 0]);
        assert_eq!(news(&[], &ready(true, InSync)), []);
    }

    #[test]
    fn trouble_is_heard_of_once_and_so_is_its_end() {
        use Reason::{InSync, KafkaUnreachable, Pending, Progressing, Withheld};
        let way = [(false, Pending), (false, KafkaUnreachable), (false, KafkaUnreachable), (true, InSync)];
        assert_eq!(heard(&way), ["-KafkaUnreachable", "+InSync"]);
        let way = [(true, InSync), (false, Withheld), (false, KafkaUnreachable), (false, Progressing), (true, InSync)];
        assert_eq!(heard(&way), ["-Withheld", "-KafkaUnreachable", "+Progressing"]);
    }

    #[test]
    fn what_was_ready_and_waits_is_heard_of_and_what_starts_is_not() {
        use Reason::{DependencyNotReady, Pending, Running, Unavailable};
        let way = [(false, Pending), (false, DependencyNotReady), (false, Unavailable), (true, Running)];
        assert_eq!(heard(&way), ["+Running"]);
        assert_eq!(heard(&[(true, Running), (false, Unavailable), (true, Running)]), ["-Unavailable", "+Running"]);
    }

    #[test]
    fn a_sink_that_fails_and_recovers_is_heard_of_and_one_that_nobody_can_tell_of_is_not() {
        let sink = |set: fn(&mut Conditions<'_>, Reason), reason| {
            let mut conditions = Conditions::new(&[], Some(1), Timestamp::from_second(1).unwrap());
            set(&mut conditions, reason);
            conditions.finish()
        };
        let healthy = sink(|all, reason| all.yes(ConditionType::SinkHealthy, reason, ""), Reason::Satisfied);
        let open = sink(|all, reason| all.no(ConditionType::SinkHealthy, reason, "503"), Reason::CircuitOpen);
        let unknown = sink(|all, reason| all.unknown(ConditionType::SinkHealthy, reason, ""), Reason::Unavailable);
        assert_eq!(news(&[], &healthy), []);
        assert_eq!(
            news(&healthy, &open),
            [News { is_good: false, reason: "CircuitOpen".into(), message: "503".into() }]
        );
        assert!(news(&open, &healthy)[0].is_good);
        assert_eq!((news(&[], &unknown), news(&unknown, &[])), (vec![], vec![]));
    }

    #[test]
    fn a_pause_is_heard_of() {
        use Reason::{Paused, Running};
        assert_eq!(heard(&[(true, Running), (true, Paused), (true, Running)]), ["+Paused", "+Running"]);
    }
}
