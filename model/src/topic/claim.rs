//! Which of several Topics has the Kafka topic that all of them claim.

use k8s_openapi::jiff::Timestamp;
use sluice_crds::{NamespacedName, Topic};

use super::validate::kafka_name;

/// A Topic's claim to a Kafka topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The Topic.
    pub topic: NamespacedName,
    /// Name of the Kafka topic.
    pub kafka_name: String,
    /// When the Topic was made.
    pub created: Option<Timestamp>,
    /// Kafka's id of the topic, where this Topic has had it.
    pub id: Option<String>,
}

/// What can be claimed only once: Kafka's metrics write `.` as `_`, so two names that differ in nothing else cannot be told
/// apart there, and Kafka refuses the second.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The cluster's name in the operator's configuration.
    pub cluster: String,
    /// The name as Kafka's metrics write it.
    pub name: String,
}

impl Claim {
    /// The claim of a Topic, and the place that it claims.
    pub fn of(topic: &Topic) -> (Place, Self) {
        let metadata = &topic.metadata;
        let [namespace, name] = [&metadata.namespace, &metadata.name].map(|text| text.clone().unwrap_or_default());
        let claim = Self {
            topic: NamespacedName { namespace, name },
            kafka_name: kafka_name(topic),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
            id: topic.status.as_ref().and_then(|status| status.topic_id.clone()),
        };
        (Place::new(&topic.spec.cluster, &claim.kafka_name), claim)
    }
}

impl Place {
    /// The place of a Kafka topic.
    pub fn new(cluster: &str, kafka_name: &str) -> Self {
        Self { cluster: cluster.to_owned(), name: in_metrics(kafka_name) }
    }
}

/// The name of a Kafka topic as Kafka's metrics write it.
pub(super) fn in_metrics(kafka_name: &str) -> String {
    kafka_name.replace('.', "_")
}

/// The rival that has the Kafka topic instead of `own`: the one that has had it keeps it, then the oldest one has it, then
/// the first by namespace and name. `existing` is Kafka's id of the topic that `own` names, where it exists.
pub fn winner<'a>(own: &Claim, rivals: &'a [Claim], existing: Option<&str>) -> Option<&'a Claim> {
    let rank = |claim: &Claim| (standing(claim, own, existing), claim.created, claim.topic.clone());
    rivals.iter().min_by_key(|rival| rank(rival)).filter(|first| rank(first) < rank(own))
}

/// How well a claim is founded, the best first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// It has the topic that exists.
    Incumbent,
    /// It had one that is no more: what comes next is its to decide.
    Former,
    /// It has had none.
    Newcomer,
}

fn standing(claim: &Claim, own: &Claim, existing: Option<&str>) -> Standing {
    match &claim.id {
        None => Standing::Newcomer,
        // Of a topic with another name nothing was asked: what it recorded counts.
        Some(id) if claim.kafka_name != own.kafka_name || Some(id.as_str()) == existing => Standing::Incumbent,
        Some(_) => Standing::Former,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(name: &str, second: i64, id: Option<&str>) -> Claim {
        Claim {
            topic: NamespacedName { namespace: "shop".into(), name: name.into() },
            kafka_name: "shop.orders".into(),
            created: Some(Timestamp::from_second(second).unwrap()),
            id: id.map(str::to_owned),
        }
    }

    #[test]
    fn there_is_one_winner_whoever_asks() {
        let cases = [
            ("the oldest", [("a", 2, None), ("b", 1, None)], None, "b"),
            ("the first by name", [("b", 1, None), ("a", 1, None)], None, "a"),
            ("who has the topic", [("a", 1, None), ("b", 2, Some("x"))], Some("x"), "b"),
            ("who had a topic that is gone", [("a", 1, None), ("b", 2, Some("x"))], None, "b"),
            ("who has the topic, not who had one", [("a", 1, Some("w")), ("b", 2, Some("x"))], Some("x"), "b"),
            ("the oldest of two that have it", [("a", 1, Some("x")), ("b", 2, Some("x"))], Some("x"), "a"),
        ];
        for (rule, claims, existing, expected) in cases {
            let claims = claims.map(|(name, second, id)| claim(name, second, id));
            for own in &claims {
                let rivals: Vec<Claim> = claims.iter().filter(|claim| *claim != own).cloned().collect();
                let winner = winner(own, &rivals, existing).unwrap_or(own);
                assert_eq!(winner.topic.name, expected, "{rule}, asked by {}", own.topic);
            }
        }
    }

    #[test]
    fn names_that_kafkas_metrics_cannot_tell_apart_are_one_place() {
        assert_eq!(Place::new("default", "shop.a_b"), Place::new("default", "shop_a.b"));
        assert_ne!(Place::new("default", "shop.a"), Place::new("east", "shop.a"));
        assert_ne!(Place::new("default", "shop.a"), Place::new("default", "shop-a"));
    }

    #[test]
    fn who_has_a_colliding_name_keeps_it() {
        let incumbent = Claim { kafka_name: "shop_orders".into(), ..claim("a", 2, Some("x")) };
        let newcomer = claim("b", 1, None);
        assert_eq!(winner(&newcomer, std::slice::from_ref(&incumbent), None), Some(&incumbent));
        assert_eq!(winner(&incumbent, &[newcomer], Some("x")), None);
    }
}
