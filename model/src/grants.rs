//! Which Topics a namespace lets resources of other namespaces use: its ReferenceGrants, as the Gateway API has them.

use std::collections::BTreeMap;

use serde_json::Value;
use sluice_crds::NamespacedName;

use crate::topic::{User, UserKind};

/// Group of the resources, as a grant names them.
const GROUP: &str = "sluice.dev";

/// What one ReferenceGrant permits, as far as it is about Topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferenceGrant {
    /// To whom: all of that kind in that namespace.
    from: Vec<(UserKind, String)>,
    /// Which Topics of the grant's own namespace, by name; `None` means all.
    to: Vec<Option<String>>,
}

/// The ReferenceGrants of some namespaces, or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(BTreeMap<NamespacedName, ReferenceGrant>);

/// What could be learned of the ReferenceGrants of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// These are there.
    Grants(Grants),
    /// The API server does not know the kind.
    KindMissing,
    /// The operator does not look after the namespace, or may not read them.
    Hidden,
}

impl ReferenceGrant {
    /// From the `spec` of one, whatever else it is about.
    pub fn of(spec: &Value) -> Self {
        let entries = |list: &str| spec[list].as_array().cloned().unwrap_or_default();
        let ours = |entry: &Value| entry["group"] == GROUP;
        let from = entries("from").into_iter().filter(ours).filter_map(|entry| {
            let kind = match entry["kind"].as_str()? {
                "Integration" => UserKind::Integration,
                "Webhook" => UserKind::Webhook,
                _ => return None,
            };
            Some((kind, entry["namespace"].as_str()?.to_owned()))
        });
        let topics = entries("to").into_iter().filter(ours).filter(|entry| entry["kind"] == "Topic");
        // An empty name means all, as an absent one does.
        let name = |entry: Value| entry["name"].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        Self { from: from.collect(), to: topics.map(name).collect() }
    }

    fn permits(&self, who: &User, topic: &str) -> bool {
        let is_from = self.from.iter().any(|(kind, namespace)| *kind == who.kind && *namespace == who.name.namespace);
        is_from && self.to.iter().any(|name| name.as_deref().is_none_or(|name| name == topic))
    }
}

impl Grants {
    /// Takes a grant as it is now, or that it is gone; says whether it permitted something else before.
    pub fn set(&mut self, name: NamespacedName, grant: Option<ReferenceGrant>) -> bool {
        // One that is about no Topic is like none.
        match grant.filter(|grant| !grant.from.is_empty() && !grant.to.is_empty()) {
            Some(grant) => self.0.insert(name, grant.clone()).as_ref() != Some(&grant),
            None => self.0.remove(&name).is_some(),
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Whether a resource may use a Topic: one of its own namespace in any case.
    pub fn permit(&self, who: &User, topic: &NamespacedName) -> bool {
        let first = NamespacedName { namespace: topic.namespace.clone(), name: String::new() };
        let mut there = self.0.range(first..).take_while(|(name, _)| name.namespace == topic.namespace);
        who.name.namespace == topic.namespace || there.any(|(_, grant)| grant.permits(who, &topic.name))
    }
}

impl FromIterator<(NamespacedName, ReferenceGrant)> for Grants {
    fn from_iter<T: IntoIterator<Item = (NamespacedName, ReferenceGrant)>>(all: T) -> Self {
        let mut grants = Self::default();
        for (name, grant) in all {
            grants.set(name, Some(grant));
        }
        grants
    }
}

impl Known {
    /// Why a resource may not use a Topic of another namespace, of whose grants this is known, and what to do about it.
    pub fn refusal(&self, who: &User, topic: &NamespacedName) -> Option<String> {
        let NamespacedName { namespace, name } = topic;
        let (kind, own) = (who.kind, &who.name.namespace);
        Some(match self {
            Self::Grants(grants) if grants.permit(who, topic) => return None,
            Self::Grants(_) => format!(
                "the namespace {namespace:?} does not let the {kind:?}s of {own:?} use its Topic {name:?}; make a ReferenceGrant in \
                 {namespace:?} from {{group: {GROUP}, kind: {kind:?}, namespace: {own}}} to {{group: {GROUP}, kind: Topic, name: \
                 {name}}}"
            ),
            Self::KindMissing => format!(
                "the namespace {namespace:?} cannot let others use its Topic {name:?}, because the API server does not know \
                 ReferenceGrants; install the Gateway API (gateway.networking.k8s.io/v1beta1), or use a Topic of {own:?}"
            ),
            Self::Hidden => format!(
                "whether the namespace {namespace:?} lets others use its Topic {name:?} is not for this operator to see; let it look \
                 after {namespace:?} too, with the rights that it has in {own:?}, or use a Topic of {own:?}"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(namespace: &str, name: &str) -> NamespacedName {
        NamespacedName { namespace: namespace.into(), name: name.into() }
    }

    fn user(kind: UserKind, namespace: &str) -> User {
        User { kind, name: name(namespace, "some") }
    }

    fn grant(from: &Value, to: &Value) -> ReferenceGrant {
        ReferenceGrant::of(&json!({"from": from, "to": to}))
    }

    fn of_shop(to: &Value) -> Grants {
        let from = json!([{"group": GROUP, "kind": "Integration", "namespace": "shop"}]);
        [(name("hub", "shop"), grant(&from, to))].into_iter().collect()
    }

    #[test]
    fn a_grant_lets_a_kind_of_a_namespace_use_the_topics_that_it_names() {
        use UserKind::{Integration, Webhook};
        let all = json!([{"group": GROUP, "kind": "Topic"}]);
        let empty = json!([{"group": GROUP, "kind": "Topic", "name": ""}]);
        let one = json!([{"group": GROUP, "kind": "Topic", "name": "orders"}]);
        let other_group = json!([{"group": "", "kind": "Topic"}]);
        let other_kind = json!([{"group": GROUP, "kind": "Secret"}]);
        let nothing = json!(null);
        for (to, who, namespace, topic, expected) in [
            (&all, Integration, "shop", "orders", true),
            (&empty, Integration, "shop", "orders", true),
            (&one, Integration, "shop", "orders", true),
            (&one, Integration, "shop", "payments", false),
            (&all, Webhook, "shop", "orders", false),
            (&all, Integration, "shop-eu", "orders", false),
            (&other_group, Integration, "shop", "orders", false),
            (&other_kind, Integration, "shop", "orders", false),
            (&nothing, Integration, "shop", "orders", false),
            (&nothing, Webhook, "hub", "orders", true),
        ] {
            let permitted = of_shop(to).permit(&user(who, namespace), &name("hub", topic));
            assert_eq!(permitted, expected, "{to}: {who:?} of {namespace} and {topic}");
        }
        let elsewhere = of_shop(&all).permit(&user(Integration, "shop"), &name("hub2", "orders"));
        assert!(!elsewhere, "a grant is about its own namespace");
        assert!(!of_shop(&all).permit(&user(Integration, "shop"), &name("h", "orders")));
    }

    #[test]
    fn a_grant_that_says_the_same_changes_nothing() {
        let mut grants = Grants::default();
        let from = json!([{"group": GROUP, "kind": "Webhook", "namespace": "shop"}]);
        let topics = grant(&from, &json!([{"group": GROUP, "kind": "Topic"}]));
        let secrets = grant(&from, &json!([{"group": "", "kind": "Secret"}]));
        assert!(!grants.set(name("hub", "a"), Some(secrets.clone())), "it is about no Topic");
        assert!(grants.set(name("hub", "a"), Some(topics.clone())));
        assert!(!grants.set(name("hub", "a"), Some(topics.clone())));
        assert!(grants.set(name("hub", "a"), Some(secrets)));
        assert!(grants.set(name("hub", "a"), Some(topics)));
        assert!(grants.set(name("hub", "a"), None));
        assert!(!grants.set(name("hub", "a"), None));
        assert_eq!(grants, Grants::default());
    }

    #[test]
    fn a_refusal_says_which_grant_to_make_and_why_none_would_help() {
        let (who, topic) = (user(UserKind::Integration, "shop"), name("hub", "orders"));
        let refusal = |known: &Known| known.refusal(&who, &topic);
        assert_eq!(refusal(&Known::Grants(of_shop(&json!([{"group": GROUP, "kind": "Topic"}])))), None);
        let missing = refusal(&Known::Grants(Grants::default())).unwrap();
        let from = "from {group: sluice.dev, kind: Integration, namespace: shop}";
        let to = "to {group: sluice.dev, kind: Topic, name: orders}";
        assert!(missing.contains("in \"hub\"") && missing.contains(from) && missing.contains(to), "{missing}");
        assert!(refusal(&Known::KindMissing).unwrap().contains("install the Gateway API"));
        assert!(refusal(&Known::Hidden).unwrap().contains("look after \"hub\" too"));
    }
}
