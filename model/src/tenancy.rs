//! Which Kafka topics and consumer groups a namespace may name.

use sluice_crds::{Grant, Settings, Tenancy};

use crate::Rejection;

/// A Kafka topic or a consumer group, as a field of a resource names it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Named<'a> {
    /// A Kafka topic.
    Topic(&'a str),
    /// A consumer group.
    Group(&'a str),
    /// A subject of a schema registry, which is named like its topic.
    Subject(&'a str),
}

/// The complaint that resources of `namespace` may not name this, where they may not.
pub(crate) fn judge(settings: &Settings, namespace: &str, field: &str, named: Named<'_>) -> Option<Rejection> {
    let tenancy = settings.tenancy.as_ref()?;
    let allowed = allowed(tenancy, namespace, named);
    if allowed.iter().any(|pattern| matches(pattern, named.name())) {
        return None;
    }
    let (what, name) = (named.kind(), named.name());
    let allowed = allowed.iter().map(|pattern| format!("{pattern:?}")).collect::<Vec<_>>().join(", ");
    let message = format!(
        "the namespace {namespace:?} may not name the {what} {name:?}: the operator's configuration leaves it {allowed}; choose \
         such a name, or have this one granted in tenancy.grants"
    );
    Some(Rejection::outside_tenancy(field, message))
}

/// Whether resources of `namespace` may name the Kafka topic.
pub(crate) fn allows_topic(tenancy: Option<&Tenancy>, namespace: &str, topic: &str) -> bool {
    let allows =
        |tenancy| allowed(tenancy, namespace, Named::Topic(topic)).iter().any(|pattern| matches(pattern, topic));
    tenancy.is_none_or(allows)
}

impl<'a> Named<'a> {
    const fn name(self) -> &'a str {
        match self {
            Self::Topic(name) | Self::Group(name) | Self::Subject(name) => name,
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::Topic(_) => "Kafka topic",
            Self::Group(_) => "consumer group",
            Self::Subject(_) => "subject",
        }
    }

    fn granted(self, grant: &Grant) -> &[String] {
        match self {
            Self::Topic(_) | Self::Subject(_) => &grant.topics,
            Self::Group(_) => &grant.groups,
        }
    }
}

/// The patterns of the names of that kind that a namespace may name. A namespace's own name has no dot, so that no prefix
/// is another namespace's too.
fn allowed(tenancy: &Tenancy, namespace: &str, named: Named<'_>) -> Vec<String> {
    let concerns = |grant: &&Grant| grant.namespaces.iter().any(|pattern| matches(pattern, namespace));
    let granted = tenancy.grants.iter().filter(concerns).flat_map(|grant| named.granted(grant).iter().cloned());
    std::iter::once(format!("{namespace}.*")).chain(granted).collect()
}

/// Whether a text is like a pattern, in which `*` stands for any characters, or none.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((beginning, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(beginning) else { return false };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    // What stands between two stars is found where it comes first: what follows then has the most room.
    for part in middle.split('*') {
        let Some((_, after)) = text.split_once(part) else { return false };
        text = after;
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sluice_crds::Reason;

    use super::*;

    fn settings(tenancy: &str) -> Settings {
        let yaml = format!("{{clusters: {{}}, images: {{receiver: r, worker: w}}, tenancy: {tenancy}}}");
        serde_saphyr::from_str(&yaml).unwrap()
    }

    const GRANTS: &str = "{grants: [{namespaces: [shop], topics: [legacy_orders, 'audit.*'], groups: ['old-*']}, \
                          {namespaces: ['team-*', ops], topics: ['shared.*.events']}]}";

    #[test]
    fn a_namespace_may_name_what_begins_with_its_own_name_and_what_is_granted() {
        let (topic, group) = (Named::Topic, Named::Group);
        let cases = [
            ("null", "shop", topic("billing.orders"), true),
            ("null", "shop", group("billing"), true),
            ("{}", "shop", topic("shop.orders"), true),
            ("{}", "shop", topic("shop.orders.new"), true),
            ("{}", "shop", group("shop.to-api"), true),
            ("{}", "shop", topic("shop-eu.orders"), false),
            ("{}", "shop", topic("shop_orders"), false),
            ("{}", "shop", topic("shop"), false),
            ("{}", "shop", topic("billing.shop.orders"), false),
            ("{}", "shop", group("shop-to-api"), false),
            (GRANTS, "shop", topic("legacy_orders"), true),
            (GRANTS, "shop", topic("legacy_orders2"), false),
            (GRANTS, "shop", topic("audit.trail"), true),
            (GRANTS, "shop", group("audit.trail"), false),
            (GRANTS, "shop", group("old-reader"), true),
            (GRANTS, "shop", topic("old-reader"), false),
            (GRANTS, "shop", topic("shared.eu.events"), false),
            (GRANTS, "team-a", topic("shared.eu.events"), true),
            (GRANTS, "ops", topic("shared.eu.events"), true),
            (GRANTS, "ops2", topic("shared.eu.events"), false),
            (GRANTS, "team-a", topic("legacy_orders"), false),
        ];
        for (tenancy, namespace, named, expected) in cases {
            let complaint = judge(&settings(tenancy), namespace, "spec.topicName", named);
            assert_eq!(complaint.is_none(), expected, "{tenancy}: {namespace} and {named:?}: {complaint:?}");
        }
    }

    #[test]
    fn the_complaint_names_the_namespace_the_name_and_what_is_allowed() {
        let complaint = judge(&settings(GRANTS), "shop", "spec.topicName", Named::Topic("billing.orders")).unwrap();
        assert_eq!((complaint.field.as_str(), complaint.reason), ("spec.topicName", Reason::OutsideTenancy));
        assert_eq!(
            complaint.message,
            "the namespace \"shop\" may not name the Kafka topic \"billing.orders\": the operator's configuration leaves it \
             \"shop.*\", \"legacy_orders\", \"audit.*\"; choose such a name, or have this one granted in tenancy.grants"
        );
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        let cases = [
            ("", "", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("*", "abc", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "ba", true),
            ("*a", "ab", false),
            ("a*b", "ab", true),
            ("a*b", "axxb", true),
            ("a*b", "a", false),
            ("ab*b", "ab", false),
            ("a*b*c", "axbxc", true),
            ("a*b*c", "axcxb", false),
            ("a*bc*c", "abc", false),
            ("a**b", "ab", true),
            ("*a*a*", "aa", true),
            ("*a*a*", "a", false),
            ("*.orders", "shop.old.orders", true),
            ("a.b", "axb", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} and {text:?}");
        }
    }

    /// What a pattern means, said slowly.
    fn is_like(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => is_like(rest, text) || (!text.is_empty() && is_like(pattern, &text[1..])),
            ([first, pattern @ ..], [same, text @ ..]) => first == same && is_like(pattern, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_pattern_takes_what_it_means_and_nothing_else(pattern in "[ab.*]{0,8}", text in "[ab.]{0,10}") {
            prop_assert_eq!(matches(&pattern, &text), is_like(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
