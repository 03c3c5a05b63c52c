//! A Webhook whose spec cannot be carried out: what followed from the last one that could is kept, paused and in the number of
//! receivers that the new one asks for.

use std::collections::BTreeSet;

use sluice_crds::{NamespacedName, Settings, Webhook, wire};

use super::{
    COMPONENT,
    desire::{around, controls},
    validate::owner,
};
use crate::children::{Child, ChildKind, Live, Owner, Recalled, recalled, with_replicas};

/// What is kept of a Webhook whose spec cannot be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The Webhook.
    pub owner: Owner,
    /// The Topics of other namespaces that are used.
    pub elsewhere: BTreeSet<NamespacedName>,
    replicas: i32,
    paused: bool,
    children: Vec<Child>,
}

impl Held {
    /// From the configuration that the status names; `None` where it is another one.
    pub fn recall(webhook: &Webhook, configuration: &Live) -> Option<Self> {
        let known = webhook.status.as_ref()?.last_good.as_ref()?;
        let owner = owner(webhook);
        let Recalled { more: (), elsewhere, children } = recalled(&owner, COMPONENT, known, configuration)?;
        Some(Self { owner, elsewhere, replicas: webhook.spec.replicas, paused: webhook.spec.paused, children })
    }

    /// The same without a use of its topics: senders are asked to come again.
    #[must_use]
    pub fn stopped(self) -> Self {
        Self { paused: true, ..self }
    }

    /// The objects that it should have.
    pub fn desire(&self, settings: &Settings) -> Vec<Child> {
        let kept = self.children.iter().map(|child| with_replicas(child, self.replicas));
        if self.shares() {
            return kept.collect();
        }
        let controls = controls(&self.owner, self.replicas, self.paused);
        kept.chain([controls]).chain(around(&self.owner, self.replicas, settings)).collect()
    }

    /// Whether the last spec that could be carried out shares receivers.
    pub fn shares(&self) -> bool {
        !self.children.iter().any(|child| child.kind == ChildKind::Deployment)
    }

    /// What shared receivers go on to serve, where it shares them.
    pub fn share(&self) -> Option<wire::SharedWebhook> {
        let configuration = self.children.iter().find(|child| child.manifest["immutable"] == true)?;
        let data = &configuration.manifest["data"];
        let webhook: wire::SharedWebhook = serde_json::from_str(data[wire::CONFIG_KEY].as_str()?).ok()?;
        let generation = data[wire::GENERATION_KEY].as_str()?.parse().ok()?;
        self.shares().then_some(wire::SharedWebhook { generation, paused: self.paused, ..webhook })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sluice_crds::wire::CONTROLS_KEY;

    use super::*;
    use crate::{
        children::{ChildKind, last_good},
        webhook::{References, desire, validate},
    };

    fn webhook(spec: &str) -> Webhook {
        let metadata = "{name: stripe, namespace: shop, uid: u, generation: 3}";
        let spec = format!("{{route: {{parentRefs: [{{name: edge}}]}}, verify: {{none: {{}}}}, {spec}}}");
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {metadata}, spec: {spec}}}");
        serde_saphyr::from_str(&yaml).unwrap()
    }

    #[test]
    fn what_shared_receivers_serve_of_a_broken_spec_is_what_they_served_before() {
        let yaml = "{clusters: {default: {bootstrapServers: ['kafka:9092']}}, images: {receiver: r, worker: w}}";
        let settings: Settings = serde_saphyr::from_str(yaml).unwrap();
        let endpoint = validate(&webhook("receiver: {mode: Shared}"), &References::default(), &settings).unwrap();
        let before = desire(&endpoint, &settings);
        let mut broken = webhook("receiver: {mode: Dedicated}, respond: {status: 203}, paused: true");
        broken.status.get_or_insert_default().last_good = last_good(&before);
        let configuration = before.iter().find(|child| child.manifest["immutable"] == true).unwrap();
        let (kind, name, object) = (configuration.kind, configuration.name.clone(), configuration.manifest.clone());
        let held = Held::recall(&broken, &Live { kind, name, object }).unwrap();
        let expected = wire::SharedWebhook { paused: true, ..endpoint.share().unwrap() };
        assert_eq!(held.share(), Some(expected));
        assert!(held.desire(&settings).iter().all(|child| before.iter().any(|old| old.name == child.name)));
    }

    #[test]
    fn pauses_and_numbers_of_a_broken_spec_act_and_its_route_waits() {
        let policies = "networkPolicies: {operatorNamespace: sluice}";
        let images = "images: {receiver: r, worker: w}";
        let yaml = format!("{{clusters: {{default: {{bootstrapServers: ['kafka:9092']}}}}, {images}, {policies}}}");
        let settings: Settings = serde_saphyr::from_str(&yaml).unwrap();
        let judge = |webhook: &Webhook| validate(webhook, &References::default(), &settings);
        let before = desire(&judge(&webhook("openApi: {}, replicas: 2")).unwrap(), &settings);
        let mut broken = webhook("openApi: {}, respond: {status: 203}, replicas: 3, paused: true");
        assert!(judge(&broken).is_err());
        broken.status.get_or_insert_default().last_good = last_good(&before);
        let configuration = before.iter().find(|child| child.manifest["immutable"] == true).unwrap();
        let (kind, name, object) = (configuration.kind, configuration.name.clone(), configuration.manifest.clone());
        let after = Held::recall(&broken, &Live { kind, name, object }).unwrap().desire(&settings);

        let names = |children: &[Child]| {
            let mut names: Vec<_> = children.iter().map(|child| (child.kind, child.name.clone())).collect();
            names.sort();
            names
        };
        assert_eq!(names(&after), names(&before));
        for child in &after {
            let old = before.iter().find(|old| (old.kind, &old.name) == (child.kind, &child.name)).unwrap();
            let mut expected: Value = old.manifest.clone();
            let mut found = child.manifest.clone();
            if child.kind == ChildKind::Deployment {
                expected["spec"]["replicas"] = json!(3);
            }
            if child.name.ends_with("-controls") {
                expected["data"][CONTROLS_KEY] = json!(r#"{"paused":true,"replicas":3}"#);
            }
            for object in [&mut expected, &mut found] {
                object["metadata"]["annotations"]["sluice.dev/applied"] = Value::Null;
            }
            assert_eq!(found, expected);
        }
    }
}
