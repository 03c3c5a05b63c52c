//! A Webhook whose spec cannot be carried out: what followed from the last one that could is kept, paused and in the number of
//! receivers that the new one asks for.

use std::collections::BTreeSet;

use sluice_crds::{LastGood, NamespacedName, Settings, Webhook, wire};

use super::{
    COMPONENT,
    desire::{around, controls, receiver_name},
    handover::announcing,
    route::is_of_route,
    shared::{served_before, shard_of},
    validate::owner,
};
use crate::{
    Rejection,
    children::{Change, Child, ChildKind, Live, Owner, Plan, Recalled, find, is_meant, plan, recalled, with_replicas},
};

/// Where a status says what is kept.
const FIELD: &str = "status.lastGood";

/// What is kept of a Webhook whose spec cannot be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The Webhook.
    pub owner: Owner,
    /// The Topics of other namespaces that are used.
    pub elsewhere: BTreeSet<NamespacedName>,
    /// Whether these are all of them: what runs is what the status means.
    is_known: bool,
    replicas: i32,
    paused: bool,
    /// Whether it has receivers of its own.
    has_own: bool,
    /// What shared receivers serve of it.
    served: Option<wire::SharedWebhook>,
    /// Its objects, where they are noted.
    children: Option<Vec<Child>>,
}

/// The objects that tell what runs where nothing is noted: receivers of the Webhook's own, and what shared ones are told.
pub fn running(webhook: &Webhook) -> [(ChildKind, String); 2] {
    let owner = &owner(webhook);
    [(ChildKind::Deployment, receiver_name(owner)), (ChildKind::ConfigMap, shard_of(&owner.name.name))]
}

impl Held {
    /// From the configuration that the status names; `None` where it is another one, or the other objects are not noted on it.
    pub fn recall(webhook: &Webhook, configuration: &Live) -> Option<Self> {
        let known = webhook.status.as_ref()?.last_good.as_ref()?;
        let owner = owner(webhook);
        let Recalled { more: (), elsewhere, children } = recalled(&owner, COMPONENT, known, configuration)?;
        let served = told(configuration);
        Some(Self {
            owner,
            elsewhere,
            is_known: true,
            replicas: webhook.spec.replicas,
            paused: webhook.spec.paused,
            has_own: children.iter().any(|child| child.kind == ChildKind::Deployment),
            served,
            children: Some(children),
        })
    }

    /// From what runs, where its objects are not noted: of [`running`] and the configuration that the status names what there is. `None` where
    /// nothing runs. What it writes to is known where just that configuration runs.
    pub fn found(webhook: &Webhook, live: &[Live]) -> Option<Self> {
        let owner = owner(webhook);
        let own = find(live, ChildKind::Deployment, &receiver_name(&owner)).filter(|own| own.is_owned_by(&owner));
        let served = served_before(&owner, live);
        if own.is_none() && served.is_none() {
            return None;
        }
        let of_shared = served.as_ref().map(|served| Some(name_of(&owner, served)));
        let names: Vec<Option<String>> = own.map(configuration_of).into_iter().chain(of_shared).collect();
        let known = webhook.status.as_ref().and_then(|status| status.last_good.as_ref());
        let runs = |known: &&LastGood| names.iter().all(|name| name.as_ref() == Some(&known.config_map));
        let is_there = |known| live.iter().find(|one| is_meant(&owner, known, one));
        let is_known = known.filter(runs).and_then(is_there).is_some();
        Some(Self {
            elsewhere: known.into_iter().flat_map(|known| known.elsewhere.iter().cloned()).collect(),
            is_known,
            replicas: own.and_then(replicas_of).unwrap_or(webhook.spec.replicas),
            paused: webhook.spec.paused,
            has_own: own.is_some(),
            served,
            children: None,
            owner,
        })
    }

    /// Why it has to be stopped whatever other namespaces permit: nobody knows what it uses of theirs.
    pub fn unknown_uses(&self) -> Option<Rejection> {
        let message = "what ran before is stopped: nothing tells any more which topics it writes to, and whether it may; it goes on as soon as the spec \
                       can be carried out";
        (!self.is_known).then(|| Rejection::not_ready(FIELD, message))
    }

    /// The same without a use of its topics: senders are asked to come again.
    #[must_use]
    pub fn stopped(self) -> Self {
        Self { paused: true, ..self }
    }

    /// The same with as many receivers of its own as there are, whatever the new spec says of others.
    #[must_use]
    pub fn as_many_as(self, own: &Live) -> Self {
        Self { replicas: replicas_of(own).unwrap_or(self.replicas), ..self }
    }

    /// The objects that it should have, as far as they are known.
    pub fn desire(&self, settings: &Settings) -> Vec<Child> {
        let kept = self.children.iter().flatten().map(|child| with_replicas(child, self.replicas));
        if !self.has_own {
            return kept.collect();
        }
        let kept = kept.chain([controls(&self.owner, self.replicas, self.paused)]);
        let around = if self.children.is_some() { around(&self.owner, self.replicas, settings) } else { Vec::new() };
        kept.chain(around).collect()
    }

    /// Its objects beside those that are to take over from them: its route goes on to lead where it did, and what both have stays as it is.
    pub fn beside(&self, next: Vec<Child>, settings: &Settings) -> Vec<Child> {
        let mut all = announcing(self.desire(settings), &next);
        let is_kept = |child: &Child| all.iter().any(|kept| kept.is_same_object(child));
        let new: Vec<Child> = next.into_iter().filter(|child| !is_of_route(child.kind) && !is_kept(child)).collect();
        all.extend(new);
        all
    }

    /// What has to change. Where its objects are not known, none of them goes.
    pub fn plan(&self, desired: &[Child], live: &[Live]) -> Plan {
        let mut plan = plan(&self.owner, desired, live);
        plan.changes.retain(|change| self.children.is_some() || !matches!(change, Change::Delete { .. }));
        plan
    }

    /// Whether the last spec that could be carried out shares receivers.
    pub fn shares(&self) -> bool {
        self.served.is_some()
    }

    /// What shared receivers go on to serve, where it shares them.
    pub fn share(&self) -> Option<wire::SharedWebhook> {
        self.served.clone().map(|served| wire::SharedWebhook { paused: self.paused, ..served })
    }
}

/// What a configuration tells shared receivers, where it is for these.
fn told(configuration: &Live) -> Option<wire::SharedWebhook> {
    let data = &configuration.object["data"];
    let served: wire::SharedWebhook = serde_json::from_str(data[wire::CONFIG_KEY].as_str()?).ok()?;
    let generation = data[wire::GENERATION_KEY].as_str()?.parse().ok()?;
    Some(wire::SharedWebhook { generation, ..served })
}

fn replicas_of(own: &Live) -> Option<i32> {
    i32::try_from(own.object["spec"]["replicas"].as_i64()?).ok()
}

/// Name of the configuration that the pods of a Deployment read.
fn configuration_of(own: &Live) -> Option<String> {
    let volumes = own.object.pointer("/spec/template/spec/volumes")?.as_array()?;
    let found = volumes.iter().find(|volume| volume["name"] == "config")?;
    Some(found["configMap"]["name"].as_str()?.to_owned())
}

/// Name of the configuration from which shared receivers were told this.
fn name_of(owner: &Owner, served: &wire::SharedWebhook) -> String {
    let as_noted = wire::SharedWebhook { generation: 0, paused: false, ..served.clone() };
    owner.configuration(COMPONENT, &as_noted).name
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sluice_crds::wire::CONTROLS_KEY;

    use super::*;
    use crate::{
        children::{ChildKind, last_good},
        webhook::{Endpoint, References, Sharer, desire, desire_shared, validate},
    };

    fn webhook(spec: &str) -> Webhook {
        let metadata = "{name: stripe, namespace: shop, uid: u, generation: 3}";
        let spec = format!("{{route: {{parentRefs: [{{name: edge}}]}}, verify: {{none: {{}}}}, {spec}}}");
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {metadata}, spec: {spec}}}");
        serde_saphyr::from_str(&yaml).unwrap()
    }

    fn settings() -> Settings {
        let yaml = "{clusters: {default: {bootstrapServers: ['kafka:9092']}}, images: {receiver: r, worker: w}}";
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn live(child: &Child) -> Live {
        Live { kind: child.kind, name: child.name.clone(), object: child.manifest.clone() }
    }

    /// A spec that names a Topic of another namespace and that cannot be noted: its document is too large.
    fn large(mode: &str) -> Endpoint {
        let topic = "{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {name: orders, namespace: hub}, spec: {}, \
                     status: {topicName: hub.orders, topicId: id}}";
        let references = References { topic: Some(serde_saphyr::from_str(topic).unwrap()), ..References::default() };
        let schema = format!("{{inline: {{type: object, description: {}}}}}", "x".repeat(200 * 1024));
        let topic = "topicRef: {name: orders, namespace: hub}";
        let spec = format!("{topic}, openApi: {{}}, receiver: {{mode: {mode}}}, validate: {{jsonSchema: {schema}}}");
        validate(&webhook(&spec), &references, &settings()).unwrap()
    }

    /// A spec that cannot be carried out and names nothing of it, after that one.
    fn broken_after(endpoint: &Endpoint) -> (Webhook, Vec<Child>) {
        let before = desire(endpoint, &settings());
        let mut broken = webhook("respond: {status: 203}");
        broken.status.get_or_insert_default().last_good = last_good(&before, &endpoint.elsewhere, &endpoint.uses);
        (broken, before)
    }

    #[test]
    fn where_nothing_is_noted_receivers_are_told_to_stop_and_nothing_else_changes() {
        let endpoint = large("Dedicated");
        let (mut broken, before) = broken_after(&endpoint);
        let mut live: Vec<Live> = before.iter().map(live).collect();
        assert!(live.iter().all(|one| Held::recall(&broken, one).is_none()));
        let held = Held::found(&broken, &live).unwrap();
        assert_eq!((&held.elsewhere, held.elsewhere.len()), (&endpoint.elsewhere, 1));
        assert_eq!(held.unknown_uses(), None);
        let changes = |held: &Held| held.plan(&held.desire(&settings()), &live).changes;
        assert_eq!(changes(&held), Vec::<Change>::new());
        let told = changes(&held.clone().stopped());
        let [Change::Update { child, .. }] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(child.manifest["data"][CONTROLS_KEY], r#"{"paused":true,"replicas":1}"#);

        assert_eq!(Held::found(&broken, &[]), None, "nothing runs");
        live.retain(|one| one.object["immutable"] != true);
        let unknown = |webhook: &Webhook| Held::found(webhook, &live).unwrap().unknown_uses();
        assert!(unknown(&broken).is_some(), "the configuration is gone");
        broken.status = None;
        assert!(unknown(&broken).is_some(), "nothing is known of it");
    }

    #[test]
    fn what_shared_receivers_serve_is_found_where_nothing_is_noted() {
        let endpoint = large("Shared");
        let (broken, before) = broken_after(&endpoint);
        let Owner { name, uid, .. } = endpoint.owner.clone();
        let served = endpoint.share().unwrap();
        let text = serde_json::to_string(&served).unwrap();
        let sharer = Sharer { name: name.name, uid, created: None, text };
        let shards = desire_shared("shop", &[sharer], &settings(), &[]).children;
        let live: Vec<Live> = before.iter().chain(&shards).map(live).collect();
        let names = running(&broken);
        assert!(names.contains(&(shards[0].kind, shards[0].name.clone())));
        let held = Held::found(&broken, &live).unwrap();
        assert_eq!((held.unknown_uses(), held.desire(&settings())), (None, Vec::new()));
        assert_eq!(held.share(), Some(served));
        assert!(held.stopped().share().unwrap().paused);
    }

    #[test]
    fn what_shared_receivers_serve_of_a_broken_spec_is_what_they_served_before() {
        let settings = settings();
        let endpoint = validate(&webhook("receiver: {mode: Shared}"), &References::default(), &settings).unwrap();
        let before = desire(&endpoint, &settings);
        let mut broken = webhook("receiver: {mode: Dedicated}, respond: {status: 203}, paused: true");
        broken.status.get_or_insert_default().last_good = last_good(&before, &BTreeSet::new(), &[]);
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
        broken.status.get_or_insert_default().last_good = last_good(&before, &BTreeSet::new(), &[]);
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
