//! Who gets an address that more than one Webhook claims: the oldest of them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sluice_crds::{NamespacedName, ReceiverMode, Webhook};

/// The path that senders use: of a version that is chosen by its path, with the version before it.
pub fn path(webhook: &Webhook) -> String {
    let NamespacedName { namespace, name } = name(webhook);
    let path = webhook.spec.route.path.clone().unwrap_or_else(|| format!("/{namespace}/{name}"));
    match webhook.spec.version.as_ref().filter(|version| version.header.is_none()) {
        Some(version) => format!("/{}{path}", version.name),
        None => path,
    }
}

/// The header by which senders choose a version, in lower case, and its value.
pub fn header(webhook: &Webhook) -> Option<(String, String)> {
    let version = webhook.spec.version.as_ref()?;
    Some((version.header.as_ref()?.to_ascii_lowercase(), version.name.clone()))
}

/// Whether `other` claims an address of `webhook` and is older, so that it keeps it.
pub fn is_before(other: &Webhook, webhook: &Webhook) -> bool {
    age(other) < age(webhook) && claim_the_same(other, webhook)
}

/// Whether two Webhooks claim the same address: path, version's header and host name at one gateway or class of Ingresses, or of one namespace's
/// shared receivers, which do not see by which gateway a request comes. Of host names of which one covers the
/// other, the more exact one counts, so that both have their place; so does a header beside none.
pub fn claim_the_same(one: &Webhook, other: &Webhook) -> bool {
    path(one) == path(other)
        && header(one) == header(other)
        && hosts_meet(one, other)
        && (entries_meet(one, other) || share_receivers(one, other))
}

fn hosts_meet(one: &Webhook, other: &Webhook) -> bool {
    let (one, other) = (&one.spec.route.hostnames, &other.spec.route.hostnames);
    (one.is_empty() && other.is_empty()) || one.iter().any(|host| other.contains(host))
}

fn entries_meet(one: &Webhook, other: &Webhook) -> bool {
    match (&one.spec.route.ingress, &other.spec.route.ingress) {
        (Some(one), Some(other)) => one.class_name == other.class_name,
        (None, None) => gateways_meet(one, other),
        _ => false,
    }
}

fn share_receivers(one: &Webhook, other: &Webhook) -> bool {
    [one, other].iter().all(|webhook| webhook.spec.receiver.mode == ReceiverMode::Shared)
        && one.metadata.namespace == other.metadata.namespace
}

fn gateways_meet(one: &Webhook, other: &Webhook) -> bool {
    let (here, there) = (name(one).namespace, name(other).namespace);
    one.spec.route.parent_refs.iter().any(|parent| {
        other.spec.route.parent_refs.iter().any(|rival| {
            let namespaces = [(parent, &here), (rival, &there)]
                .map(|(reference, own)| reference.namespace.as_ref().unwrap_or(own).clone());
            let sections = [&parent.section_name, &rival.section_name];
            parent.name == rival.name
                && namespaces[0] == namespaces[1]
                && (sections[0] == sections[1] || sections.contains(&&None))
        })
    })
}

fn name(webhook: &Webhook) -> NamespacedName {
    let [namespace, name] =
        [&webhook.metadata.namespace, &webhook.metadata.name].map(|text| text.clone().unwrap_or_default());
    NamespacedName { namespace, name }
}

fn age(webhook: &Webhook) -> (Option<&Time>, NamespacedName) {
    (webhook.metadata.creation_timestamp.as_ref(), name(webhook))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(name: &str, created: &str, route: &str) -> Webhook {
        let metadata = format!("{{name: {name}, namespace: shop, creationTimestamp: '2026-01-01T00:00:{created}Z'}}");
        let spec = format!("{{route: {{{route}}}, verify: {{none: {{}}}}}}");
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {metadata}, spec: {spec}}}");
        serde_saphyr::from_str(&yaml).unwrap()
    }

    const HERE: &str = "parentRefs: [{name: edge}], path: /hooks";

    #[test]
    fn the_oldest_keeps_its_address_and_of_the_same_age_the_first_by_name() {
        let [a, b, c] = [("a", "05"), ("b", "01"), ("c", "05")].map(|(name, created)| webhook(name, created, HERE));
        assert_eq!([is_before(&b, &a), is_before(&a, &b)], [true, false]);
        assert_eq!([is_before(&a, &c), is_before(&c, &a)], [true, false]);
        assert!(!is_before(&a, &a));
    }

    #[test]
    fn an_address_is_a_path_and_a_host_at_a_gateway() {
        let one = webhook("one", "00", &format!("{HERE}, hostnames: [a.example, b.example]"));
        for (route, expected) in [
            ("parentRefs: [{name: edge}], path: /hooks, hostnames: [b.example]", true),
            ("parentRefs: [{name: other}, {name: edge, namespace: shop}], path: /hooks, hostnames: [b.example]", true),
            ("parentRefs: [{name: edge, sectionName: https}], path: /hooks, hostnames: [b.example]", true),
            ("parentRefs: [{name: edge, namespace: gateways}], path: /hooks, hostnames: [b.example]", false),
            ("parentRefs: [{name: edge}], path: /other, hostnames: [b.example]", false),
            ("parentRefs: [{name: edge}], path: /hooks, hostnames: ['*.example']", false),
            ("parentRefs: [{name: edge}], path: /hooks", false),
            ("parentRefs: [{name: edge}], hostnames: [b.example]", false),
        ] {
            assert_eq!(claim_the_same(&one, &webhook("two", "01", route)), expected, "{route}");
        }
        let at = |section: &str| {
            webhook("x", "01", &format!("parentRefs: [{{name: edge, sectionName: {section}}}], path: /hooks"))
        };
        assert!(!claim_the_same(&at("http"), &at("https")) && claim_the_same(&at("http"), &webhook("y", "01", HERE)));
    }

    #[test]
    fn shared_receivers_know_no_gateways() {
        let at = |gateway: &str, more: &str| {
            webhook(
                "x",
                "00",
                &format!("parentRefs: [{{name: {gateway}}}], path: /hooks{more}}}, receiver: {{mode: Shared"),
            )
        };
        assert!(claim_the_same(&at("edge", ""), &at("other", "")));
        assert!(!claim_the_same(&at("edge", ", hostnames: [a.test]"), &at("other", ", hostnames: [b.test]")));
        let mut elsewhere = at("other", "");
        elsewhere.metadata.namespace = Some("bank".to_owned());
        assert!(!claim_the_same(&at("edge", ""), &elsewhere));
        assert!(!claim_the_same(&at("edge", ""), &webhook("y", "01", "parentRefs: [{name: other}], path: /hooks")));
    }

    #[test]
    fn ingresses_of_one_class_share_their_addresses() {
        let at = |class: &str| webhook("x", "00", &format!("ingress: {{className: {class}}}, path: /hooks"));
        for (other, expected) in [(at("a"), true), (at("b"), false), (webhook("y", "01", HERE), false)] {
            assert_eq!(claim_the_same(&at("a"), &other), expected);
        }
    }

    #[test]
    fn versions_are_told_apart_by_path_or_header() {
        let version = |text: &str| webhook("x", "00", &format!("{HERE}}}, version: {{{text}"));
        let by_path = version("name: v2");
        assert_eq!((path(&by_path).as_str(), header(&by_path)), ("/v2/hooks", None));
        let by_header = version("name: v2, header: X-Version");
        assert_eq!(path(&by_header), "/hooks");
        let only = webhook("y", "01", HERE);
        for (one, other, expected) in [
            (&by_path, &only, false),
            (&by_path, &version("name: v3"), false),
            (&by_path, &webhook("y", "01", "parentRefs: [{name: edge}], path: /v2/hooks"), true),
            (&by_header, &only, false),
            (&by_header, &by_path, false),
            (&by_header, &version("name: v1, header: X-Version"), false),
            (&by_header, &version("name: v2, header: x-version"), true),
        ] {
            assert_eq!(claim_the_same(one, other), expected, "{:?} {:?}", one.spec.version, other.spec.version);
        }
    }
}
