//! An Integration whose spec cannot be carried out: what followed from the last one that could is kept, in the number of workers
//! that the new one asks for.

use std::collections::BTreeSet;

use sluice_crds::{Integration, NamespacedName, Scaling, Settings};

use super::{
    COMPONENT, Subject,
    desire::most_workers,
    validate::{owner, replicas, scaling},
};
use crate::children::{Child, Live, Owner, Recalled, recalled, with_replicas};

/// What is kept of an Integration whose spec cannot be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The Integration.
    pub owner: Owner,
    /// What its workers read.
    pub subject: Subject,
    /// The Topics of other namespaces that they use.
    pub elsewhere: BTreeSet<NamespacedName>,
    /// Workers to run, as the new spec says: none while it is paused. With `scaling`: as many as there are, until it is told
    /// how many are needed.
    pub replicas: i32,
    /// How their number follows the lag, as the new spec says.
    pub scaling: Option<Scaling>,
    /// Whether the new spec pauses it.
    pub paused: bool,
    children: Vec<Child>,
}

impl Held {
    /// From the configuration that the status names; `None` where it is another one.
    pub fn recall(integration: &Integration, configuration: &Live) -> Option<Self> {
        let known = integration.status.as_ref()?.last_good.as_ref()?;
        let (owner, spec) = (owner(integration), &integration.spec);
        let Recalled { more: subject, elsewhere, children } = recalled(&owner, COMPONENT, known, configuration)?;
        let (replicas, scaling) = (replicas(integration), scaling(spec));
        Some(Self { owner, subject, elsewhere, replicas, scaling, paused: spec.paused, children })
    }

    /// The same without a worker.
    #[must_use]
    pub fn stopped(self) -> Self {
        Self { replicas: 0, scaling: None, ..self }
    }

    /// The objects that it should have.
    pub fn desire(&self, settings: &Settings) -> Vec<Child> {
        let budget = self.owner.disruption_budget(COMPONENT, most_workers(self.scaling, self.replicas));
        let network = self.owner.network_policy(COMPONENT, None, settings);
        let kept = self.children.iter().map(|child| with_replicas(child, self.replicas));
        kept.chain(budget).chain(network).collect()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;
    use sluice_crds::Topic;

    use super::*;
    use crate::{
        Rejection,
        children::{self, ChildKind, last_good, plan},
        integration::{Flow, Outcome, References, desire, report, validate},
    };

    fn integration(spec: &str) -> Integration {
        let metadata = "{name: to-ledger, namespace: shop, uid: u, generation: 3}";
        let sink = "sink: {http: {url: 'https://ledger.example/'}}";
        let spec = format!("{{source: {{topic: {{name: orders}}}}, {sink}{spec}}}");
        let yaml =
            format!("{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {metadata}, spec: {spec}}}");
        serde_saphyr::from_str(&yaml).unwrap()
    }

    fn settings() -> Settings {
        let policies = "networkPolicies: {operatorNamespace: sluice}";
        let images = "images: {receiver: r, worker: w}";
        let yaml = format!("{{clusters: {{default: {{bootstrapServers: ['kafka:9092']}}}}, {images}, {policies}}}");
        serde_saphyr::from_str(&yaml).unwrap()
    }

    fn flow(integration: &Integration) -> Flow {
        let orders = "{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {name: orders}, spec: {}, \
                      status: {topicName: shop.orders, topicId: id}}";
        let source = serde_saphyr::from_str::<Topic>(orders).unwrap();
        let references =
            References { dead_letters: Some(source.clone()), source: Some(source), ..References::default() };
        validate(integration, &references, &settings()).unwrap()
    }

    fn desired(integration: &Integration) -> Vec<Child> {
        desire(&flow(integration), &settings())
    }

    fn live(child: &Child) -> Live {
        let mut object = child.manifest.clone();
        object["metadata"]["uid"] = json!("live-uid");
        object["metadata"]["resourceVersion"] = json!("7");
        Live { kind: child.kind, name: child.name.clone(), object }
    }

    /// A spec that cannot be carried out, after one with these children.
    fn broken(spec: &str, children: &[Child]) -> (Integration, Live) {
        let mut broken = integration(&format!(", steps: [{{name: broken, map: '.a = upcase('}}]{spec}"));
        broken.status.get_or_insert_default().last_good = last_good(children, &BTreeSet::new(), &[]);
        let configuration = children.iter().find(|child| child.kind == ChildKind::ConfigMap).unwrap();
        (broken, live(configuration))
    }

    fn worker(children: &[Child]) -> &Child {
        children.iter().find(|child| child.kind == ChildKind::Deployment).unwrap()
    }

    #[test]
    fn a_spec_that_is_as_it_was_but_for_what_is_broken_changes_nothing() {
        let before = desired(&integration(", replicas: 3, worker: {resources: {limits: {memory: 1Gi}}}"));
        let (broken, configuration) = broken(", replicas: 3", &before);
        let held = Held::recall(&broken, &configuration).unwrap();
        let live: Vec<Live> = before.iter().map(live).collect();
        assert_eq!(plan(&held.owner, &held.desire(&settings()), &live), children::Plan::default());
        assert_eq!(held.subject.group, "shop.to-ledger");
    }

    #[test]
    fn pauses_and_numbers_of_a_broken_spec_act_on_what_runs() {
        let before = desired(&integration(", replicas: 3"));
        for (spec, replicas, budgets) in [
            (", paused: true, replicas: 3", 0, 0),
            (", replicas: 5", 5, 1),
            (", scaling: {minReplicas: 1, maxReplicas: 9}", 3, 1),
            (", scaling: {minReplicas: 4, maxReplicas: 9}", 4, 1),
        ] {
            let (mut broken, configuration) = broken(spec, &before);
            broken.status.get_or_insert_default().replicas = Some(3);
            let desired = Held::recall(&broken, &configuration).unwrap().desire(&settings());
            let mut expected = worker(&before).manifest["spec"].clone();
            expected["replicas"] = json!(replicas);
            assert_eq!(worker(&desired).manifest["spec"], expected, "{spec}");
            let count = desired.iter().filter(|child| child.kind == ChildKind::PodDisruptionBudget).count();
            assert_eq!(count, budgets, "{spec}");
        }
    }

    #[test]
    fn what_is_used_of_other_namespaces_is_known_so_that_it_can_be_stopped() {
        let spec = ", replicas: 3, deadLetters: {topicRef: {name: dead, namespace: hub}}";
        let flow = flow(&integration(spec));
        let before = desire(&flow, &settings());
        // The broken spec names none of them any more.
        let (mut broken, configuration) = broken(", replicas: 3", &before);
        broken.status.get_or_insert_default().last_good = last_good(&before, &flow.elsewhere, &flow.uses);
        let held = Held::recall(&broken, &configuration).unwrap();
        assert_eq!(held.elsewhere, [NamespacedName { namespace: "hub".into(), name: "dead".into() }].into());
        assert_eq!(worker(&held.desire(&settings())).manifest["spec"]["replicas"], 3);
        assert_eq!(worker(&held.stopped().desire(&settings())).manifest["spec"]["replicas"], 0);
    }

    #[test]
    fn what_was_deleted_or_changed_is_put_back() {
        let before = desired(&integration(""));
        let (broken, configuration) = broken("", &before);
        let held = Held::recall(&broken, &configuration).unwrap();
        assert_eq!(plan(&held.owner, &held.desire(&settings()), &[configuration]).changes.len(), before.len() - 1);
        let mut all: Vec<Live> = before.iter().map(live).collect();
        for object in all.iter_mut().filter(|object| object.kind == ChildKind::Deployment) {
            object.object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("another");
        }
        let changes = plan(&held.owner, &held.desire(&settings()), &all).changes;
        let [children::Change::Update { child, .. }] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!(child, worker(&before));
    }

    #[test]
    fn a_status_tells_what_is_wrong_and_what_runs_all_the_same() {
        let before = desired(&integration(""));
        let (broken, configuration) = broken(", paused: true", &before);
        let held = Held::recall(&broken, &configuration).unwrap();
        let rejections = [Rejection::invalid("spec.steps[0].map", "it does not compile")];
        let outcome = Outcome::Held { rejections: &rejections, held: &held, live: &[], pods: &[] };
        let status = report(&broken, &outcome, Timestamp::from_second(1).unwrap());
        let told: Vec<_> = status.conditions.iter().map(|one| format!("{} {}", one.type_, one.status)).collect();
        assert_eq!(told, ["Ready False", "Stalled True", "ConfigValid False", "WorkersAvailable False", "Paused True"]);
        assert_eq!(status.last_good, last_good(&before, &BTreeSet::new(), &[]));
    }

    #[test]
    fn a_note_that_somebody_else_wrote_is_not_believed() {
        let before = desired(&integration(""));
        let (broken, mut configuration) = broken("", &before);
        let note = configuration.object["metadata"]["annotations"][children::NOTE_ANNOTATION].as_str().unwrap();
        let forged = note.replace("\"w\"", "\"evil\"");
        assert_ne!(note, forged);
        configuration.object["metadata"]["annotations"][children::NOTE_ANNOTATION] = json!(forged);
        assert_eq!(Held::recall(&broken, &configuration), None);
    }

    #[test]
    fn a_note_follows_its_spec_in_place() {
        let before = desired(&integration(""));
        let after = desired(&integration(", worker: {resources: {limits: {memory: 1Gi}}}"));
        let (held, live) = (broken("", &before).0, before.iter().map(live).collect::<Vec<_>>());
        let changes = plan(&owner(&held), &after, &live).changes;
        let kinds: Vec<_> = changes
            .iter()
            .map(|change| match change {
                children::Change::Update { child, .. } => child.kind,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(kinds, [ChildKind::Deployment, ChildKind::ConfigMap]);
    }
}
