//! What is noted of a spec that could be carried out, so that its objects are kept while a later spec cannot: an annotation of its
//! configuration holds their manifests. The note's hash stands in the owner's status, which only the operator may write, so
//! that whoever may write ConfigMaps cannot have other objects made.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sluice_crds::{
    LastGood, NamespacedName, UsedTopic,
    wire::{CONFIG_KEY, CONTROLS_KEY},
};

use super::{APPLIED_ANNOTATION, Child, ChildKind, Live, Owner, short_hash, to_bytes};

/// Annotation of a configuration with the manifests of the other objects of its spec.
pub const NOTE_ANNOTATION: &str = "sluice.dev/objects";
/// Kubernetes takes 256 KiB of annotations; what is longer is not noted. A document of the endpoint with a large JSON Schema can be.
const LONGEST_NOTE: usize = 192 * 1024;

/// A note, with what the owner's kind adds.
#[derive(Serialize, Deserialize)]
struct Note<T> {
    more: T,
    objects: Vec<Child>,
    /// Earlier operators noted here what stands in the status now.
    #[serde(default, skip_serializing)]
    elsewhere: BTreeSet<NamespacedName>,
}

/// What a note told.
pub(crate) struct Recalled<T> {
    /// What the owner's kind has added.
    pub(crate) more: T,
    /// The Topics of other namespaces that the objects use.
    pub(crate) elsewhere: BTreeSet<NamespacedName>,
    /// The objects, with their configuration.
    pub(crate) children: Vec<Child>,
}

/// The children, with a note on their configuration of them, unless it is too long. What follows from `replicas`, `paused` and the operator's
/// configuration alone is not noted: these act in any case.
pub(crate) fn noted(children: Vec<Child>, more: &impl Serialize) -> Vec<Child> {
    let objects = children.iter().filter(|child| is_noted(child)).map(|child| with_replicas(child, 0)).collect();
    let note =
        serde_json::to_string(&Note { more, objects, elsewhere: BTreeSet::new() }).expect("manifests are plain data");
    if note.len() > LONGEST_NOTE {
        return children;
    }
    let annotate =
        |child: Child| if is_configuration(&child) { child.annotated(NOTE_ANNOTATION, &note) } else { child };
    children.into_iter().map(annotate).collect()
}

/// What a status has to say of children, so that they are found again, and of what they use: the Topics of other namespaces, and all together. It
/// says so also where the children are not noted: a use that is no longer permitted ends whatever else is known, and one that goes on counts.
pub fn last_good(children: &[Child], elsewhere: &BTreeSet<NamespacedName>, uses: &[UsedTopic]) -> Option<LastGood> {
    let configuration = children.iter().find(|child| is_configuration(child))?;
    let note = configuration.manifest["metadata"]["annotations"][NOTE_ANNOTATION].as_str();
    let (config_map, elsewhere) = (configuration.name.clone(), elsewhere.iter().cloned().collect());
    Some(LastGood { config_map, objects_hash: note.map(hash), elsewhere, uses: uses.to_vec() })
}

/// Whether this is the configuration that a status means, with the content that its name tells.
pub(crate) fn is_meant(owner: &Owner, known: &LastGood, found: &Live) -> bool {
    let config = found.object["data"][CONFIG_KEY].as_str();
    found.name == known.config_map
        && found.is_owned_by(owner)
        && config.is_some_and(|config| found.name.ends_with(&short_hash(config.as_bytes())))
}

/// The children that a note tells of, with their configuration; `None` where the note is not the one that
/// the status means.
pub(crate) fn recalled<T: DeserializeOwned>(
    owner: &Owner,
    component: &str,
    known: &LastGood,
    found: &Live,
) -> Option<Recalled<T>> {
    let note = found.object["metadata"]["annotations"][NOTE_ANNOTATION].as_str()?;
    if !is_meant(owner, known, found) || known.objects_hash != Some(hash(note)) {
        return None;
    }
    let Note { more, mut objects, mut elsewhere } = serde_json::from_str::<Note<T>>(note).ok()?;
    let body = json!({"immutable": true, "data": found.object["data"]});
    let configuration = owner.child(ChildKind::ConfigMap, component, &found.name, body);
    objects.push(configuration.annotated(NOTE_ANNOTATION, note));
    elsewhere.extend(known.elsewhere.iter().cloned());
    Some(Recalled { more, elsewhere, children: objects })
}

/// The same, but for the replicas of a Deployment.
pub(crate) fn with_replicas(child: &Child, replicas: i32) -> Child {
    let mut child = child.clone();
    if child.kind == ChildKind::Deployment {
        child.manifest["spec"]["replicas"] = json!(replicas);
        if let Some(metadata) = child.manifest["metadata"].as_object_mut() {
            metadata.remove("annotations");
        }
        let hash = short_hash(&to_bytes(&child.manifest));
        child.manifest["metadata"]["annotations"] = json!({APPLIED_ANNOTATION: hash});
    }
    child
}

/// Whether an object follows from what can be refused alone.
fn is_noted(child: &Child) -> bool {
    match child.kind {
        ChildKind::PodDisruptionBudget | ChildKind::NetworkPolicy => false,
        // The configuration carries the note, and what is obeyed without a restart acts in any case.
        ChildKind::ConfigMap => !is_configuration(child) && child.manifest["data"][CONTROLS_KEY].is_null(),
        _ => true,
    }
}

fn is_configuration(child: &Child) -> bool {
    child.manifest["immutable"] == Value::Bool(true)
}

/// SHA-256 in hexadecimal digits.
fn hash(note: &str) -> String {
    hex::encode(Sha256::digest(note.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_operator_noted_of_topics_elsewhere_is_not_forgotten() {
        let name = |namespace: &str, name: &str| NamespacedName { namespace: namespace.into(), name: name.into() };
        let owner = Owner { kind: "Webhook", name: name("shop", "stripe"), uid: "u".into(), generation: 1 };
        let config_map = format!("stripe-{}", short_hash(b"{}"));
        let note = r#"{"more":null,"objects":[],"elsewhere":[{"namespace":"hub","name":"orders"}]}"#;
        let body = json!({"immutable": true, "data": {CONFIG_KEY: "{}"}});
        let configuration = owner.child(ChildKind::ConfigMap, "receiver", &config_map, body);
        let object = configuration.annotated(NOTE_ANNOTATION, note).manifest;
        let found = Live { kind: ChildKind::ConfigMap, name: config_map.clone(), object };
        let elsewhere = vec![name("hub", "refunds")];
        let known = LastGood { config_map, objects_hash: Some(hash(note)), elsewhere, uses: Vec::new() };
        let told: Recalled<()> = recalled(&owner, "receiver", &known, &found).unwrap();
        assert_eq!(told.elsewhere, [name("hub", "orders"), name("hub", "refunds")].into());
    }
}
