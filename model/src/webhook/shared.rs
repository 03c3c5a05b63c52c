//! The receivers that the Webhooks of a namespace share: one Deployment and its Service, whose configurations stand in a fixed number of
//! ConfigMaps, each Webhook's always in the same one.
//!
//! A ConfigMap with configurations is held by the Webhooks in it, and everything else by these ConfigMaps: so Kubernetes collects all of it with
//! the last Webhook, whether or not anybody is there to see it, and no list of owners grows with all Webhooks.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use sluice_crds::{KafkaConnection, NamespacedName, Reason, Settings, wire};

use super::{
    COMPONENT, Endpoint,
    desire::{around, configuration, controls, service},
};
use crate::{
    children::{
        Availability, Change, Child, ChildKind, Configuration, DataPlane, Live, Owner, Plan, SHARED, Withheld, plan_of,
        short_hash,
    },
    secrets,
};

/// Name of the Deployment and Service; the ConfigMaps' names begin with it.
pub const SHARED_RECEIVERS: &str = "sluice-receivers";
/// ConfigMaps with configurations, of which those exist that hold any.
const SHARDS: u8 = 16;
/// Bytes of configurations in one: Kubernetes takes 1 MiB.
const SHARD_BYTES: usize = 960 * 1024;

/// A Webhook that shares receivers.
#[derive(Clone, Debug, PartialEq)]
pub struct Sharer {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// How old it is: where not all fit, the oldest do.
    pub created: Option<Time>,
    /// Its configuration, as receivers read it.
    pub text: String,
}

/// The objects that shared receivers should have.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedObjects {
    /// The objects.
    pub children: Vec<Child>,
    /// The Webhooks whose configurations do not fit.
    pub refused: BTreeSet<String>,
    /// Whether the Deployment stays as it is, because a configuration cannot be read that another version of Sluice has written: nobody knows
    /// what it needs, until its Webhook has a pass.
    keeps_deployment: bool,
    /// Whether nothing goes yet: what is to hold the others has to be there first.
    keeps_all: bool,
}

/// What was seen of shared receivers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SharedReceivers {
    /// Their Deployment and pods.
    pub availability: Option<Availability>,
    /// Names that objects of somebody else hold.
    pub withheld: Vec<Withheld>,
    /// The Webhooks whose configurations do not fit.
    pub refused: BTreeSet<String>,
    /// Why the last pass over them did not come to an end, by class and for people.
    pub failure: Option<(Reason, String)>,
}

/// The owner of a namespace's shared receivers.
pub fn shared_owner(namespace: &str) -> Owner {
    let name = NamespacedName { namespace: namespace.to_owned(), name: SHARED_RECEIVERS.to_owned() };
    Owner { kind: SHARED, name, uid: String::new(), generation: 0 }
}

/// What shared receivers are to serve of a Webhook, without what changes while its configuration stays.
pub(super) fn shared_webhook(endpoint: &Endpoint) -> wire::SharedWebhook {
    let config = configuration(endpoint);
    let (hostnames, header) = (endpoint.hostnames.clone(), endpoint.header.clone());
    let all = serde_json::to_vec(&(&config, &hostnames, &header)).expect("a configuration is plain data");
    wire::SharedWebhook { revision: short_hash(&all), generation: 0, paused: false, hostnames, header, config }
}

/// The Webhooks whose configurations live objects hold; how old they are is not told there. What another Webhook of the same name has left is
/// told apart by the uid.
pub fn sharers_before(live: &[Live]) -> Vec<Sharer> {
    let shards = live.iter().filter(|object| is_shard(object) && is_ours(object));
    let of_shard = |shard: &Live| -> Vec<Sharer> {
        let data = shard.object["data"].as_object().into_iter().flatten();
        let sharer = |(file, text): (&String, &Value)| {
            let name = file.strip_suffix(wire::SharedWebhook::FILE_SUFFIX)?;
            let (uid, text) = (uid_of_holder(shard, name)?, text.as_str()?.to_owned());
            Some(Sharer { name: name.to_owned(), uid, created: None, text })
        };
        data.filter_map(sharer).collect()
    };
    shards.flat_map(of_shard).collect()
}

/// What shared receivers are told of a Webhook, as far as live objects tell.
pub(super) fn served_before(owner: &Owner, live: &[Live]) -> Option<wire::SharedWebhook> {
    let mut sharers = sharers_before(live).into_iter();
    let sharer = sharers.find(|sharer| sharer.name == owner.name.name && sharer.uid == owner.uid)?;
    serde_json::from_str(&sharer.text).ok()
}

/// The uid by which a Webhook of that name holds a ConfigMap.
fn uid_of_holder(shard: &Live, webhook: &str) -> Option<String> {
    let references = shard.object["metadata"]["ownerReferences"].as_array()?;
    let found = references.iter().find(|one| one["kind"] == WEBHOOK.1 && one["name"] == webhook)?;
    Some(found["uid"].as_str()?.to_owned())
}

/// The objects that these Webhooks share. The first ConfigMap is there before anything is held by it: until then it is all that is wanted.
pub fn desire_shared(namespace: &str, sharers: &[Sharer], settings: &Settings, live: &[Live]) -> SharedObjects {
    let owner = shared_owner(namespace);
    let (mut children, refused) = shards(&owner, sharers);
    let holders = holders(&children, live);
    let served = sharers.iter().filter(|sharer| !refused.contains(&sharer.name));
    let webhooks: Result<Vec<wire::SharedWebhook>, _> =
        served.map(|sharer| serde_json::from_str(&sharer.text)).collect();
    let keeps_deployment = webhooks.is_err() && live.iter().any(is_deployment);
    let keeps_all = holders.is_empty() && !children.is_empty();
    if !holders.is_empty() {
        let all = receivers(&owner, &webhooks.unwrap_or_default(), settings).into_iter();
        let wanted = all.filter(|child| !keeps_deployment || child.kind != ChildKind::Deployment);
        children.extend(wanted.map(|child| child.held_by(&holders)));
    }
    SharedObjects { children, refused, keeps_deployment, keeps_all }
}

/// What has to change of shared objects.
pub fn plan_shared(desired: &SharedObjects, live: &[Live]) -> Plan {
    let is_ours = |object: &Live| is_ours(object) && !(desired.keeps_deployment && is_deployment(object));
    let mut plan = plan_of(is_ours, &desired.children, live);
    plan.changes.retain(|change| !(desired.keeps_all && matches!(change, Change::Delete { .. })));
    plan
}

fn is_deployment(object: &Live) -> bool {
    object.kind == ChildKind::Deployment
}

/// The ConfigMaps with the configurations, each held by its Webhooks, and who does not fit.
fn shards(owner: &Owner, sharers: &[Sharer]) -> (Vec<Child>, BTreeSet<String>) {
    let mut by_age: Vec<&Sharer> = sharers.iter().collect();
    by_age.sort_by(|one, other| (&one.created, &one.name).cmp(&(&other.created, &other.name)));
    let mut shards: Vec<(usize, Vec<&Sharer>)> = vec![(0, Vec::new()); usize::from(SHARDS)];
    let mut refused = BTreeSet::new();
    for sharer in by_age {
        let (bytes, members) = &mut shards[usize::from(number_of_shard(&sharer.name))];
        let more = file_name(&sharer.name).len() + sharer.text.len();
        if *bytes + more > SHARD_BYTES {
            refused.insert(sharer.name.clone());
        } else {
            *bytes += more;
            members.push(sharer);
        }
    }
    let numbered = (0..SHARDS).zip(shards).filter(|(_, (_, members))| !members.is_empty());
    let children = numbered.map(|(number, (_, members))| shard(owner, number, members)).collect();
    (children, refused)
}

fn shard(owner: &Owner, number: u8, mut members: Vec<&Sharer>) -> Child {
    members.sort_by(|one, other| one.name.cmp(&other.name));
    let data: Map<String, Value> = members.iter().map(|sharer| (file_name(&sharer.name), json!(sharer.text))).collect();
    let holders: Vec<Value> = members.iter().map(|sharer| webhook_reference(sharer)).collect();
    owner.child(ChildKind::ConfigMap, COMPONENT, &shard_name(number), json!({"data": data})).held_by(&holders)
}

const WEBHOOK: (&str, &str) = ("sluice.dev/v1alpha1", "Webhook");
const CONFIG_MAP: (&str, &str) = ("v1", "ConfigMap");

fn webhook_reference(sharer: &Sharer) -> Value {
    json!({"apiVersion": WEBHOOK.0, "kind": WEBHOOK.1, "name": sharer.name, "uid": sharer.uid})
}

/// References to the wanted ConfigMaps with configurations, of those that exist.
fn holders(shards: &[Child], live: &[Live]) -> Vec<Value> {
    let there = shards.iter().filter_map(|shard| {
        live.iter().find(|object| object.kind == ChildKind::ConfigMap && object.name == shard.name && is_ours(object))
    });
    let reference = |shard: &Live| json!({"apiVersion": CONFIG_MAP.0, "kind": CONFIG_MAP.1, "name": shard.name, "uid": shard.metadata("uid")});
    there.map(reference).collect()
}

/// The Deployment, its Service, and what goes with them.
fn receivers(owner: &Owner, webhooks: &[wire::SharedWebhook], settings: &Settings) -> Vec<Child> {
    let shared = &settings.shared_receivers;
    let controls = controls(owner, shared.replicas, false);
    let files = webhooks
        .iter()
        .flat_map(|webhook| webhook.config.verification.secrets().iter().chain(&webhook.config.deduplication_redis));
    let connections = || webhooks.iter().map(|webhook| &webhook.config.connection);
    let receiver = DataPlane {
        component: COMPONENT,
        image: &settings.images.receiver,
        replicas: shared.replicas,
        configuration: Configuration::Many {
            config_maps: (0..SHARDS).map(shard_name).collect(),
            kafka_secrets: sorted(connections().filter_map(kafka_secret)),
            kafka_authorities: sorted(connections().filter_map(kafka_authorities)),
        },
        controls: Some(&controls.name),
        secrets: secrets::names(files),
        tracing: settings.tracing.as_ref(),
        grace: wire::ending::longest_end(wire::ending::LONGEST_PATIENCE),
        port: Some(wire::RECEIVER_PORT),
        pods: &shared.pods,
        resources: shared.resources.as_ref(),
        default_resources: ("100m", "128Mi", "512Mi"),
    };
    let receiver = receiver.deployment(owner);
    let around = around(owner, shared.replicas, settings);
    [controls, receiver, service(owner)].into_iter().chain(around).collect()
}

/// The Secret whose folder the credentials are.
fn kafka_secret(connection: &KafkaConnection) -> Option<String> {
    Some(connection.credentials.as_ref()?.file_name()?.to_str()?.to_owned())
}

/// The ConfigMap in whose folder the authorities are.
fn kafka_authorities(connection: &KafkaConnection) -> Option<String> {
    Some(connection.ca.as_ref()?.parent()?.file_name()?.to_str()?.to_owned())
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

fn file_name(webhook: &str) -> String {
    format!("{webhook}{}", wire::SharedWebhook::FILE_SUFFIX)
}

fn number_of_shard(webhook: &str) -> u8 {
    Sha256::digest(webhook.as_bytes())[0] % SHARDS
}

/// Name of the ConfigMap in which a Webhook's configuration always stands.
pub fn shard_of(webhook: &str) -> String {
    shard_name(number_of_shard(webhook))
}

fn shard_name(number: u8) -> String {
    format!("{SHARED_RECEIVERS}-{number}")
}

fn is_shard(object: &Live) -> bool {
    object.kind == ChildKind::ConfigMap && (0..SHARDS).any(|number| object.name == shard_name(number))
}

/// Whether an object is held by what holds shared objects. Kubernetes takes away references to what is gone, but never the last one.
fn is_ours(object: &Live) -> bool {
    let wanted = if is_shard(object) { WEBHOOK } else { CONFIG_MAP };
    let is_holder = |reference: &Value| {
        reference["apiVersion"] == wanted.0
            && reference["kind"] == wanted.1
            && (is_shard(object) || reference["name"].as_str().is_some_and(|name| name.starts_with(SHARED_RECEIVERS)))
    };
    object.object["metadata"]["ownerReferences"].as_array().into_iter().flatten().any(is_holder)
}

#[cfg(test)]
mod tests {
    use sluice_crds::Webhook;

    use super::*;
    use crate::webhook::{References, desire, validate};

    fn settings(more: &str) -> Settings {
        let clusters =
            "{default: {bootstrapServers: ['kafka:9092'], clients: {secretName: kafka, caConfigMapName: ca}}}";
        serde_saphyr::from_str(&format!("{{clusters: {clusters}, images: {{receiver: r, worker: w}}{more}}}")).unwrap()
    }

    fn endpoint(name: &str, more: &str) -> Endpoint {
        let metadata = format!("{{name: {name}, namespace: shop, uid: uid-{name}, generation: 3}}");
        let spec = format!(
            "{{route: {{parentRefs: [{{name: edge}}], hostnames: [{name}.example]}}, receiver: {{mode: Shared}}, {more}}}"
        );
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {metadata}, spec: {spec}}}");
        let webhook: Webhook = serde_saphyr::from_str(&yaml).unwrap();
        validate(&webhook, &References::default(), &settings("")).unwrap()
    }

    const PLAIN: &str = "verify: {none: {}}";

    fn sharer(endpoint: &Endpoint) -> Sharer {
        let Owner { name, uid, .. } = &endpoint.owner;
        let text = serde_json::to_string(&endpoint.share().unwrap()).unwrap();
        Sharer { name: name.name.clone(), uid: uid.clone(), created: None, text }
    }

    fn live(child: &Child) -> Live {
        let mut object = child.manifest.clone();
        object["metadata"]["uid"] = json!(format!("uid-{}", child.name));
        Live { kind: child.kind, name: child.name.clone(), object }
    }

    /// What there is when nothing is left to change.
    fn settled(sharers: &[Sharer], settings: &Settings) -> Vec<Live> {
        let first = desire_shared("shop", sharers, settings, &[]);
        assert!(first.children.iter().all(|child| child.kind == ChildKind::ConfigMap), "{first:?}");
        let shards: Vec<Live> = first.children.iter().map(live).collect();
        let all: Vec<Live> = desire_shared("shop", sharers, settings, &shards).children.iter().map(live).collect();
        let desired = desire_shared("shop", sharers, settings, &all);
        assert_eq!(plan_shared(&desired, &all), Plan::default());
        all
    }

    fn deployment(live: &[Live]) -> &Value {
        &live.iter().find(|object| object.kind == ChildKind::Deployment).unwrap().object
    }

    #[test]
    fn all_of_it_is_held_by_the_webhooks_through_their_configurations() {
        let sharers = ["a", "b", "c"].map(|name| sharer(&endpoint(name, PLAIN)));
        let all = settled(&sharers, &settings(", networkPolicies: {operatorNamespace: sluice}"));
        let holders = |object: &Live| {
            let references = object.object["metadata"]["ownerReferences"].as_array().unwrap().iter();
            references.map(|one| (one["kind"].clone(), one["uid"].clone())).collect::<Vec<_>>()
        };
        let (shards, others): (Vec<&Live>, Vec<&Live>) = all.iter().partition(|object| is_shard(object));
        let webhooks: BTreeSet<String> =
            shards.iter().flat_map(|shard| holders(shard)).map(|(_, uid)| uid.to_string()).collect();
        assert_eq!(webhooks, ["\"uid-a\"", "\"uid-b\"", "\"uid-c\""].map(str::to_owned).into());
        let expected: Vec<_> =
            shards.iter().map(|shard| (json!("ConfigMap"), json!(format!("uid-{}", shard.name)))).collect();
        let kinds: Vec<_> = others.iter().map(|object| object.kind).collect();
        assert_eq!(
            kinds,
            [
                ChildKind::ConfigMap,
                ChildKind::Deployment,
                ChildKind::Service,
                ChildKind::PodDisruptionBudget,
                ChildKind::NetworkPolicy
            ]
        );
        for object in others {
            assert_eq!(holders(object), expected, "{}", object.name);
            assert!(object.name.starts_with(SHARED_RECEIVERS));
        }
    }

    #[test]
    fn another_webhook_changes_the_template_by_new_secrets_only() {
        let settings = settings("");
        let signed = |key: &str| format!("verify: {{bearer: {{secretRefs: [{{name: tokens, key: {key}}}]}}}}");
        let mut sharers = vec![sharer(&endpoint("a", &signed("a")))];
        let template = |sharers: &[Sharer]| deployment(&settled(sharers, &settings))["spec"]["template"].clone();
        let before = template(&sharers);
        sharers.push(sharer(&endpoint("b", &signed("b"))));
        sharers.push(sharer(&endpoint("c", PLAIN)));
        assert_eq!(template(&sharers), before);
        let other = "verify: {bearer: {secretRefs: [{name: others, key: a}]}}";
        sharers.push(sharer(&endpoint("d", other)));
        let pod = template(&sharers)["spec"].clone();
        let mounts: Vec<_> =
            pod["containers"][0]["volumeMounts"].as_array().unwrap().iter().map(|one| &one["mountPath"]).collect();
        let expected = [
            "/etc/sluice/webhooks",
            "/etc/sluice/controls",
            "/etc/sluice/kafka/credentials/kafka",
            "/etc/sluice/kafka/ca/ca",
            "/etc/sluice/secrets/others",
            "/etc/sluice/secrets/tokens",
        ];
        assert_eq!(mounts, expected);
        let connection = endpoint("a", PLAIN).share().unwrap().config.connection;
        assert_eq!(connection.credentials, Some(expected[2].into()));
        assert_eq!(connection.ca, Some("/etc/sluice/kafka/ca/ca/ca.crt".into()));
    }

    #[test]
    fn what_a_webhook_has_to_itself_leads_to_the_shared_receivers() {
        let kinds: Vec<_> = desire(&endpoint("a", PLAIN), &settings("")).iter().map(|child| child.kind).collect();
        assert_eq!(kinds, [ChildKind::Topic, ChildKind::ConfigMap, ChildKind::HttpRoute]);
        let route = desire(&endpoint("a", PLAIN), &settings("")).pop().unwrap();
        assert_eq!(route.manifest["spec"]["rules"][0]["backendRefs"][0]["name"], SHARED_RECEIVERS);
    }

    #[test]
    fn receivers_know_a_webhook_by_its_uid() {
        assert_eq!(endpoint("a", PLAIN).share().unwrap().config.uid, "uid-a");
    }

    #[test]
    fn a_pause_is_no_other_revision_and_a_host_name_is() {
        let shared = |more: &str| endpoint("a", more).share().unwrap();
        let [plain, paused] = [shared(PLAIN), shared(&format!("{PLAIN}, paused: true"))];
        assert_eq!((plain.revision.as_str(), paused.paused), (paused.revision.as_str(), true));
        let mut other = endpoint("a", PLAIN);
        other.hostnames = vec!["b.example".into()];
        assert_ne!(other.share().unwrap().revision, plain.revision);
        other.older_claim = Some(NamespacedName { namespace: "shop".into(), name: "b".into() });
        assert_eq!(other.share(), None, "nobody could tell for whom a request is");
    }

    #[test]
    fn where_not_all_fit_the_oldest_do() {
        let shard = number_of_shard("a");
        let names = (0..).map(|number| format!("webhook-{number}")).filter(|name| number_of_shard(name) == shard);
        let large = |(age, name): (i64, String)| Sharer {
            uid: name.clone(),
            created: Some(Time(k8s_openapi::jiff::Timestamp::from_second(-age).unwrap())),
            text: "x".repeat(SHARD_BYTES / 2 - 100),
            name,
        };
        let sharers: Vec<Sharer> = (0..).zip(names.take(3)).map(large).collect();
        let desired = desire_shared("shop", &sharers, &settings(""), &[]);
        assert_eq!(desired.refused, [sharers[0].name.clone()].into());
        let kept: Vec<_> = sharers_before(&desired.children.iter().map(live).collect::<Vec<_>>())
            .into_iter()
            .map(|sharer| sharer.name)
            .collect();
        assert_eq!(kept.len(), 2);
        assert!(kept.contains(&sharers[1].name) && kept.contains(&sharers[2].name), "{kept:?}");
    }

    #[test]
    fn while_a_configuration_cannot_be_read_the_pods_stay_as_they_are() {
        let mut sharers = vec![sharer(&endpoint("a", "verify: {bearer: {secretRefs: [{name: tokens, key: a}]}}"))];
        let all = settled(&sharers, &settings(""));
        sharers[0].text = "{\"revision\": 1}".to_owned();
        let plan = plan_shared(&desire_shared("shop", &sharers, &settings(""), &all), &all);
        let changed: Vec<_> = plan.changes.iter().map(Change::kind).collect();
        assert_eq!(changed, [ChildKind::ConfigMap], "its text only");
    }

    #[test]
    fn where_another_webhook_comes_in_the_place_of_the_last_the_receivers_stay() {
        let elsewhere = (0..1000)
            .map(|number| format!("b-{number}"))
            .find(|name| number_of_shard(name) != number_of_shard("a"))
            .unwrap();
        let all = settled(&[sharer(&endpoint("a", PLAIN))], &settings(""));
        let new = [sharer(&endpoint(&elsewhere, PLAIN))];
        let changes = |live: &[Live]| plan_shared(&desire_shared("shop", &new, &settings(""), live), live).changes;
        let first = changes(&all);
        let [Change::Create(shard)] = first.as_slice() else { panic!("{first:?}") };
        let (shard, before) = (live(shard), shard_name(number_of_shard("a")));
        let there: Vec<Live> = all.into_iter().chain([shard]).collect();
        let gone: Vec<_> = changes(&there)
            .into_iter()
            .filter_map(|change| if let Change::Delete { name, .. } = change { Some(name) } else { None })
            .collect();
        assert_eq!(gone, [before]);
    }

    #[test]
    fn what_stands_in_a_configuration_is_the_webhooks_that_holds_it() {
        let sharers = ["a", "b"].map(|name| sharer(&endpoint(name, PLAIN)));
        let mut all = settled(&sharers, &settings(""));
        let mut found = sharers_before(&all);
        found.sort_by(|one, other| one.name.cmp(&other.name));
        assert_eq!(found, sharers);
        for shard in all.iter_mut().filter(|object| is_shard(object)) {
            let references = shard.object["metadata"]["ownerReferences"].as_array_mut().unwrap();
            references.retain(|reference| reference["name"] != "a");
        }
        assert_eq!(sharers_before(&all), sharers[1..], "Kubernetes has taken its reference away");
    }

    #[test]
    fn with_the_last_webhook_all_of_it_goes_and_what_is_not_ours_stays() {
        let all = settled(&[sharer(&endpoint("a", PLAIN))], &settings(""));
        let mut strange = all.iter().find(|object| object.kind == ChildKind::Service).unwrap().clone();
        strange.object["metadata"]["ownerReferences"] = Value::Null;
        let nothing = desire_shared("shop", &[], &settings(""), &all);
        let gone = plan_shared(&nothing, &all);
        assert!(gone.changes.iter().all(|change| matches!(change, Change::Delete { .. })));
        assert_eq!(gone.changes.len(), all.len());
        assert_eq!(plan_shared(&nothing, std::slice::from_ref(&strange)), Plan::default());
        let wanted = desire_shared("shop", &[sharer(&endpoint("a", PLAIN))], &settings(""), &all);
        let others: Vec<Live> =
            all.into_iter().filter(|object| object.kind != ChildKind::Service).chain([strange]).collect();
        let withheld = plan_shared(&wanted, &others).withheld;
        assert_eq!(withheld, [Withheld { kind: ChildKind::Service, name: SHARED_RECEIVERS.into() }]);
    }
}
