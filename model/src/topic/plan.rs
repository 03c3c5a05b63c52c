//! Compares the topic that should exist with the one that does.

use std::collections::{BTreeMap, BTreeSet};

use sluice_crds::{ChangeKind, ManagementPolicy, PendingChange, Topic};

use super::{
    Observed, Stakes, Wanted,
    approval::Approval,
    risk,
    step::{self, setting_field},
    users::Usage,
};
use crate::children::short_hash;

/// Everything that the operator can do to a Kafka topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Create it; what is absent is the broker's default.
    Create {
        /// Partitions.
        partitions: i32,
        /// Copies of each partition.
        replicas: Option<i16>,
        /// Settings.
        config: BTreeMap<String, String>,
    },
    /// Take the topic that somebody else made in the place of the one that Sluice knew. Kafka is not changed by it.
    Adopt {
        /// Kafka's id of the one that Sluice knew.
        from: String,
        /// Kafka's id of the one that exists.
        to: String,
    },
    /// Add partitions.
    Grow {
        /// How many there are.
        from: i32,
        /// How many there should be.
        to: i32,
    },
    /// Set a setting of the topic.
    Set {
        /// Kafka's name of the setting.
        key: String,
        /// Its value, where the topic has one of its own.
        from: Option<String>,
        /// The value to set.
        to: String,
    },
    /// Return a setting to the broker's default.
    Reset {
        /// Kafka's name of the setting.
        key: String,
        /// The topic's own value.
        from: String,
    },
}

/// What is known of a Kafka topic beside what Kafka says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// Kafka's id of the topic, when it was seen last.
    pub id: Option<&'a str>,
    /// The settings that Sluice made earlier: one that is no longer wanted returns to the broker's default, and what others
    /// made is left alone.
    pub settings: &'a [String],
    /// The settings that Sluice was about to make, each with a hash of its value. Whether Kafka got one is told by the value that it has.
    pub underway: Option<&'a BTreeMap<String, String>>,
    /// Whether those of them that Kafka does not show, and nobody wants any more, have been returned to their defaults.
    pub is_swept: bool,
    /// Who uses the topic.
    pub users: &'a [Usage],
    /// What a person approved.
    pub approval: Approval<'a>,
    /// Whether another number of copies was waited for when it was looked at last.
    pub replicates: bool,
    /// What is at stake; where it is not known, everything is.
    pub stakes: Option<&'a Stakes>,
}

/// What has to change, in order, and what is asked for and held back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Changes to make.
    pub changes: Vec<Change>,
    /// Changes that are unsafe, impossible, or not the operator's to make.
    pub withheld: Vec<PendingChange>,
    /// The settings that are Sluice's, without those that the changes are about to make so.
    pub settings: Vec<String>,
    /// The settings that the changes are about to make Sluice's, each with a hash of its value: they are only Sluice's once Kafka got them.
    pub underway: BTreeMap<String, String>,
    /// Whether changes wait until the status notes what they are about to make Sluice's.
    pub waits_for_notes: bool,
}

impl Change {
    /// Whether it may be made: not where it gives the topic settings of which the status does not say yet that they are to be Sluice's. Were
    /// the operator to end before it does, nobody would return them to their defaults once the spec does not name them any more.
    pub fn is_noted(&self, known: &Known<'_>) -> bool {
        match self {
            Self::Create { config, .. } => config.iter().all(|(key, value)| known.notes(key, value)),
            Self::Set { key, to, .. } => known.notes(key, to),
            Self::Adopt { .. } | Self::Grow { .. } | Self::Reset { .. } => true,
        }
    }
}

impl Plan {
    /// The same where Kafka has confirmed these changes, whether it shows them yet or not. A topic that is there already may be somebody
    /// else's: its settings are Sluice's once they are seen.
    #[must_use]
    pub fn confirmed(mut self, made: &[Change]) -> Self {
        for change in made {
            if let Change::Set { key, .. } = change
                && self.underway.remove(key).is_some()
            {
                self.settings.push(key.clone());
            }
        }
        self.settings.sort_unstable();
        self
    }

    /// Whether partitions are added, which nobody can take back.
    pub fn grows(&self) -> bool {
        self.changes.iter().any(|change| matches!(change, Change::Grow { .. }))
    }
}

impl<'a> Known<'a> {
    /// What a Topic's status and annotations tell, and its users.
    pub fn of(topic: &'a Topic, users: &'a [Usage]) -> Self {
        let status = topic.status.as_ref();
        let pending = status.and_then(|status| status.pending.as_ref());
        Self {
            id: status.and_then(|status| status.topic_id.as_deref()),
            settings: status.map(|status| status.config_keys.as_slice()).unwrap_or_default(),
            underway: status.map(|status| &status.config_underway),
            is_swept: false,
            users,
            approval: Approval::of(topic),
            replicates: pending
                .is_some_and(|pending| pending.changes.iter().any(|pending| pending.change == ChangeKind::Replicate)),
            stakes: None,
        }
    }

    /// What is known of the topic that has just been made, or taken in the place of the one before: that it is ours.
    #[must_use]
    pub fn after(self, change: &Change) -> Self {
        match change {
            Change::Create { .. } => Self { id: None, ..self },
            // What Sluice made of the one before says nothing about this one.
            Change::Adopt { .. } => Self { id: None, settings: &[], underway: None, ..self },
            Change::Reset { .. } => Self { is_swept: true, ..self },
            Change::Grow { .. } | Change::Set { .. } => self,
        }
    }

    /// Whether the status says that a setting is Sluice's, or is about to be with this value.
    fn notes(&self, key: &str, value: &str) -> bool {
        self.settings.iter().any(|ours| ours == key) || self.is_underway(key, value)
    }

    fn is_underway(&self, key: &str, value: &str) -> bool {
        self.underway.and_then(|all| all.get(key)).is_some_and(|hash| *hash == hash_of(value))
    }

    /// The settings that are Sluice's: those that it made, and those that it was about to make and that have that value now. Another value
    /// is somebody else's: Kafka refused Sluice's, or was never asked.
    pub(super) fn ours(self, observed: &Observed) -> BTreeSet<&'a String> {
        let got = |key: &String| observed.config.get(key).is_some_and(|value| self.is_underway(key, value));
        let underway = self.underway.into_iter().flat_map(BTreeMap::keys).filter(|key| got(key));
        self.settings.iter().chain(underway).collect()
    }
}

/// What is noted of a value, which may be long.
fn hash_of(value: &str) -> String {
    short_hash(value.as_bytes())
}

/// What turns `observed` into `wanted`. In a world where the plan was applied nothing is left to change, and what was held
/// back still is.
pub fn plan(wanted: &Wanted, observed: Option<&Observed>, known: &Known<'_>) -> Plan {
    let steps = match (observed, known.id) {
        (None, id) => vec![step::creation(wanted, id)],
        // It is not the topic that we knew: nothing of it is ours to change.
        (Some(observed), Some(id)) if observed.id != id => vec![step::adoption(observed, id)],
        (Some(observed), _) => step::differences(wanted, observed, known),
    };
    let mut plan = Plan::default();
    for step in steps {
        match step.judged(wanted.policy, known.approval) {
            Ok(change) => plan.changes.push(change),
            Err(withheld) => plan.withheld.push(withheld),
        }
    }
    (plan.settings, plan.underway) = claims(wanted, observed, known, &plan);
    plan.waits_for_notes = plan.changes.iter().any(|change| !change.is_noted(known));
    plan
}

/// Whether a plan depends on what is at stake, so that it has to be asked for.
pub fn stakes_matter(wanted: &Wanted, observed: &Observed, known: &Known<'_>) -> bool {
    let settings = step::settings(wanted, observed, known);
    settings.iter().any(|setting| risk::deletes_more(setting.key, setting.to, observed, None))
}

/// The settings of the Kafka topic on which a plan depends: what else the topic has makes no difference, and need not be asked for.
pub fn settings_that_matter(wanted: &Wanted, known: &Known<'_>) -> BTreeSet<String> {
    let underway = || known.underway.into_iter().flat_map(BTreeMap::keys);
    let ours = || wanted.config.keys().chain(known.settings).chain(underway());
    let beside = ours().filter_map(|key| risk::depends_on(key)).map(str::to_owned);
    ours().cloned().chain(beside).collect()
}

/// The settings that are ours, and those that the changes are about to make ours. Ours are those that the spec names and Kafka has got, and
/// those that it does not name any more and that are not yet back at their default.
fn claims(
    wanted: &Wanted,
    observed: Option<&Observed>,
    known: &Known<'_>,
    plan: &Plan,
) -> (Vec<String>, BTreeMap<String, String>) {
    let creates = plan.changes.iter().any(|change| matches!(change, Change::Create { .. }));
    let is_another = plan.withheld.iter().any(|held| matches!(held.change, ChangeKind::Recreate | ChangeKind::Adopt));
    let is_looked_at = match wanted.policy {
        ManagementPolicy::Full => true,
        // At first sight it may be the topic of an operator that ended between its creation and its note.
        ManagementPolicy::CreateOnly => known.id.is_none(),
        ManagementPolicy::Observe => false,
    };
    if !creates && (!is_looked_at || is_another) {
        return (known.settings.to_vec(), known.underway.cloned().unwrap_or_default());
    }
    let before: BTreeSet<&String> =
        observed.map_or_else(|| known.settings.iter().collect(), |observed| known.ours(observed));
    let held =
        |kind, key: &String| plan.withheld.iter().any(|held| held.change == kind && held.field == setting_field(key));
    let has = |key: &String, value: &String| observed.is_some_and(|observed| observed.config.get(key) == Some(value));
    let mut ours: BTreeSet<&String> = before.iter().copied().filter(|key| held(ChangeKind::Reset, key)).collect();
    let mut underway = BTreeMap::new();
    for (key, value) in &wanted.config {
        if before.contains(key) || has(key, value) {
            ours.insert(key);
        } else if !held(ChangeKind::Set, key) {
            underway.insert(key.clone(), hash_of(value));
        }
    }
    (ours.into_iter().cloned().collect(), underway)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_map, option, prelude::*, sample::select};
    use sluice_crds::{ConditionType, KafkaConnection, NamespacedName, PendingChanges, TopicStatus};

    use super::*;
    use crate::{
        Cluster,
        conditions::is_true,
        topic::{Held, Outcome, Role, User, UserKind, report},
    };

    const KEYS: [&str; 3] = ["cleanup.policy", "retention.ms", "segment.bytes"];

    fn cluster() -> Cluster {
        let connection = KafkaConnection::default();
        Cluster { name: "default".into(), connection, secret_name: None, ca_config_map_name: None }
    }

    fn config() -> impl Strategy<Value = BTreeMap<String, String>> {
        btree_map(select(&KEYS[..]).prop_map(str::to_owned), select(vec!["1", "2"]).prop_map(str::to_owned), 0..4)
    }

    prop_compose! {
        fn wanted()(
            partitions in option::of(1..6),
            replicas in option::of(1_i16..4),
            config in config(),
            policy in select(vec![ManagementPolicy::Full, ManagementPolicy::CreateOnly, ManagementPolicy::Observe]),
        ) -> Wanted {
            Wanted { cluster: cluster(), name: "shop.orders".into(), partitions, replicas, config, policy }
        }
    }

    prop_compose! {
        fn observed()(
            id in select(vec!["one", "two"]),
            partitions in 1..6,
            replicas in 1_i16..4,
            in_sync in option::of(1_i16..4),
            config in config(),
        ) -> Observed {
            Observed { id: id.into(), partitions, replicas, in_sync, config }
        }
    }

    /// A Topic as the pass before left it.
    fn topic() -> impl Strategy<Value = Topic> {
        let keys = select(vec![vec![], vec!["retention.ms".to_owned()], KEYS.map(str::to_owned).to_vec()]);
        (option::of(select(vec!["one", "two"])), keys, config()).prop_map(|(id, config_keys, underway)| {
            let mut topic = Topic::new("orders", sluice_crds::TopicSpec::default());
            topic.metadata.generation = Some(1);
            let underway = underway.into_iter().filter(|(key, _)| !config_keys.contains(key));
            let config_underway = underway.map(|(key, value)| (key, hash_of(&value))).collect();
            let topic_id = id.map(str::to_owned);
            topic.status = Some(TopicStatus { topic_id, config_keys, config_underway, ..TopicStatus::default() });
            topic
        })
    }

    /// The settings that are Sluice's once a plan's changes are made.
    fn claimed(plan: &Plan) -> BTreeSet<&String> {
        plan.settings.iter().chain(plan.underway.keys()).collect()
    }

    fn users() -> impl Strategy<Value = Vec<Usage>> {
        let name = NamespacedName { namespace: "shop".into(), name: "to-api".into() };
        let user = User { kind: UserKind::Integration, name };
        option::of(any::<bool>().prop_map(move |by_key| Usage { user: user.clone(), role: Role::Source { by_key } }))
            .prop_map(|usage| usage.into_iter().collect())
    }

    fn stakes() -> impl Strategy<Value = Option<Stakes>> {
        let inherited = BTreeMap::from([("cleanup.policy", "1"), ("retention.ms", "2")]);
        let inherited: BTreeMap<_, _> = inherited.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let held = select(vec![Held::Nothing, Held::Younger, Held::Older]);
        option::of(held.prop_map(move |held| Stakes { inherited: inherited.clone(), held }))
    }

    /// What Kafka does with the changes.
    fn apply(changes: &[Change], observed: Option<Observed>) -> Option<Observed> {
        let mut world = observed;
        for change in changes.iter().cloned() {
            if let Change::Create { partitions, replicas, config } = change {
                let replicas = replicas.unwrap_or(1);
                world = Some(Observed { id: "new".into(), partitions, replicas, in_sync: None, config });
                continue;
            }
            let topic = world.as_mut().expect("only a topic that exists is changed");
            match change {
                Change::Create { .. } => unreachable!(),
                Change::Adopt { .. } => {}
                Change::Grow { to, .. } => topic.partitions = to,
                Change::Set { key, to, .. } => drop(topic.config.insert(key, to)),
                Change::Reset { key, .. } => drop(topic.config.remove(&key)),
            }
        }
        world
    }

    /// A pass: the plan, and the Topic and the world that it leaves behind.
    fn pass(
        topic: &Topic,
        wanted: &Wanted,
        world: Option<Observed>,
        known: Known<'_>,
    ) -> (Plan, Topic, Option<Observed>) {
        let mut known = Known { users: known.users, stakes: known.stakes, ..Known::of(topic, &[]) };
        let first = plan(wanted, world.as_ref(), &known);
        let (mut left, mut world) = (first.clone(), world);
        loop {
            let changes: Vec<Change> = left.changes.iter().filter(|change| change.is_noted(&known)).cloned().collect();
            if changes.is_empty() {
                break;
            }
            world = apply(&changes, world);
            known = changes.iter().fold(known, Known::after);
            left = plan(wanted, world.as_ref(), &known);
        }
        let outcome = Outcome::Planned { wanted, observed: world.as_ref(), plan: &left, schema: None };
        let status = report(topic, None, &outcome, k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
        let mut topic = topic.clone();
        topic.status = Some(status);
        (first, topic, world)
    }

    /// The passes until nothing waits for a note: the plan of the first one, and what the last one leaves behind.
    fn settled(
        topic: &Topic,
        wanted: &Wanted,
        world: Option<Observed>,
        known: Known<'_>,
    ) -> (Plan, Topic, Option<Observed>) {
        let (first, topic, world) = pass(topic, wanted, world, known);
        let (second, noted, changed) = pass(&topic, wanted, world.clone(), known);
        if second.changes.is_empty() { (first, topic, world) } else { (first, noted, changed) }
    }

    fn approve(topic: &mut Topic) -> Option<PendingChanges> {
        let pending = topic.status.as_ref()?.pending.clone()?;
        let approval = (sluice_crds::APPROVE_ANNOTATION.to_owned(), pending.hash.clone());
        topic.metadata.annotations = Some([approval].into());
        Some(pending)
    }

    proptest! {
        #[test]
        fn after_a_plan_was_applied_nothing_is_left_to_change(
            wanted in wanted(), world in option::of(observed()), topic in topic(), users in users(), stakes in stakes(),
        ) {
            let known = Known { users: &users, stakes: stakes.as_ref(), ..Known::default() };
            let (first, topic, changed) = settled(&topic, &wanted, world.clone(), known);
            let (second, topic, same) = pass(&topic, &wanted, changed.clone(), known);
            prop_assert_eq!(&second.changes, &vec![]);
            prop_assert_eq!(&same, &changed);
            // A new topic can differ in what CreateOnly would not change; apart from that the same is held back.
            if world.is_some() && wanted.policy == ManagementPolicy::Full {
                prop_assert_eq!(&second.withheld, &first.withheld);
                prop_assert_eq!(claimed(&second), claimed(&first));
            }
            let (third, ..) = pass(&topic, &wanted, same, known);
            prop_assert_eq!(third, second);
        }

        #[test]
        fn what_is_approved_happens_and_nothing_of_it_is_held_back_after_that(
            wanted in wanted(), world in observed(), topic in topic(), users in users(), stakes in stakes(),
        ) {
            let known = Known { users: &users, stakes: stakes.as_ref(), ..Known::default() };
            let (_, mut topic, mut world) = settled(&topic, &wanted, Some(world), known);
            let approved = approve(&mut topic);
            let approvable = approved.iter().flat_map(|pending| &pending.changes).filter(|change| change.approvable).count();
            let (plan, _, end) = settled(&topic, &wanted, world.clone(), known);
            prop_assert_eq!(plan.changes.len(), approvable);
            prop_assert!(plan.withheld.iter().all(|held| !held.approvable), "{:?}", plan.withheld);
            // One approval is enough, though some of it has to be noted first.
            prop_assert_eq!(apply(&plan.changes, end.clone()), end);
            // A crash after any of the changes: the pass over the same Topic goes on with the rest.
            let changed = apply(&plan.changes, world.clone());
            for change in &plan.changes {
                world = apply(std::slice::from_ref(change), world);
                let known = Known { users: &users, stakes: stakes.as_ref(), ..Known::of(&topic, &[]) };
                let again = super::plan(&wanted, world.as_ref(), &known);
                prop_assert_eq!(apply(&again.changes, world.clone()), changed.clone());
            }
        }

        #[test]
        fn whatever_an_operator_set_when_it_ended_returns_to_its_default_once_nobody_wants_it(
            mut wanted in wanted(), observed in option::of(observed()), passes in 0..3,
        ) {
            wanted.policy = ManagementPolicy::Full;
            let stakes = Stakes { inherited: BTreeMap::new(), held: Held::Nothing };
            let known = Known { stakes: Some(&stakes), ..Known::default() };
            let foreign = observed.clone().map(|observed| observed.config).unwrap_or_default();
            let (mut topic, mut world) = (Topic::new("orders", sluice_crds::TopicSpec::default()), observed);
            for _ in 0..passes {
                (_, topic, world) = pass(&topic, &wanted, world, known);
            }
            // It has ended before it could write a status, and now the spec is another one.
            let (_, _, world) = pass(&topic, &wanted, world, known);
            let unwanted = Wanted { config: BTreeMap::new(), ..wanted.clone() };
            let (_, _, left) = settled(&topic, &unwanted, world.clone(), known);
            prop_assert!(left.unwrap().config.keys().all(|key| foreign.contains_key(key)));
            if passes > 0 {
                let world = world.unwrap();
                prop_assert!(wanted.config.iter().all(|(key, value)| world.config.get(key) == Some(value)));
            }
        }

        #[test]
        fn what_kafka_refused_is_left_as_others_set_it_once_nobody_wants_it(mut wanted in wanted(), observed in observed()) {
            wanted.policy = ManagementPolicy::Full;
            let stakes = Stakes { inherited: BTreeMap::new(), held: Held::Nothing };
            let known = Known { stakes: Some(&stakes), ..Known::default() };
            let topic = Topic::new("orders", sluice_crds::TopicSpec::default());
            // What is to be set is noted, and Kafka makes nothing of what it is asked for after that.
            let (_, topic, world) = pass(&topic, &wanted, Some(observed.clone()), known);
            let unwanted = Wanted { partitions: None, config: BTreeMap::new(), ..wanted.clone() };
            let (_, topic, left) = settled(&topic, &unwanted, world, known);
            // What it had already counts as Sluice's.
            let mut foreign = observed.config;
            foreign.retain(|key, value| wanted.config.get(key) != Some(value));
            prop_assert_eq!(left.unwrap().config, foreign);
            prop_assert_eq!(topic.status.unwrap().config_underway, BTreeMap::new());
        }

        #[test]
        fn who_comes_after_an_operator_that_ended_after_a_creation_has_nothing_to_do_and_notes_the_same(wanted in wanted()) {
            let created = plan(&wanted, None, &Known::default());
            let world = apply(&created.changes, None);
            let after = plan(&wanted, world.as_ref(), &Known::default());
            prop_assert_eq!(&after.changes, &vec![]);
            prop_assert_eq!((claimed(&after), after.underway.len()), (claimed(&created), 0));
        }

        #[test]
        fn a_plan_depends_on_no_other_setting_than_it_names(
            wanted in wanted(), observed in observed(), topic in topic(), users in users(), stakes in stakes(),
        ) {
            let known = Known { users: &users, stakes: stakes.as_ref(), ..Known::of(&topic, &[]) };
            let matter = settings_that_matter(&wanted, &known);
            let mut asked_for = observed.clone();
            asked_for.config.retain(|key, _| matter.contains(key));
            prop_assert_eq!(stakes_matter(&wanted, &asked_for, &known), stakes_matter(&wanted, &observed, &known));
            prop_assert_eq!(plan(&wanted, Some(&asked_for), &known), plan(&wanted, Some(&observed), &known));
        }

        #[test]
        fn what_others_set_is_left_alone(wanted in wanted(), observed in observed()) {
            let plan = plan(&wanted, Some(&observed), &Known::default());
            let resets = plan.changes.iter().any(|change| matches!(change, Change::Reset { .. }));
            prop_assert!(!resets, "{:?}", plan.changes);
        }

        #[test]
        fn an_observed_topic_is_never_changed(mut wanted in wanted(), world in option::of(observed()), topic in topic()) {
            wanted.policy = ManagementPolicy::Observe;
            prop_assert_eq!(plan(&wanted, world.as_ref(), &Known::of(&topic, &[])).changes, vec![]);
        }

        #[test]
        fn a_topic_that_is_not_the_known_one_is_left_alone(wanted in wanted(), mut observed in observed()) {
            observed.id = "another".into();
            let known = Known { id: Some("one"), ..Known::default() };
            let plan = plan(&wanted, Some(&observed), &known);
            prop_assert_eq!(plan.changes, vec![]);
            prop_assert_eq!(plan.withheld.iter().map(|held| held.change).collect::<Vec<_>>(), [ChangeKind::Adopt]);
        }
    }

    fn orders(partitions: Option<i32>, config: &[(&str, &str)]) -> Wanted {
        Wanted {
            cluster: cluster(),
            name: "shop.orders".into(),
            partitions,
            replicas: None,
            config: config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            policy: ManagementPolicy::Full,
        }
    }

    fn six_partitions() -> Observed {
        let config = [("retention.ms".into(), "9".into())].into();
        Observed { id: "id".into(), partitions: 6, replicas: 1, in_sync: None, config }
    }

    #[test]
    fn fewer_partitions_are_withheld_with_the_reason() {
        let plan = plan(&orders(Some(3), &[]), Some(&six_partitions()), &Known::default());
        assert_eq!(plan.changes, []);
        assert_eq!(
            plan.withheld[0].reason,
            "topic \"shop.orders\" has 6 partitions; 3 were asked for, and Kafka cannot remove partitions"
        );
    }

    #[test]
    fn another_number_of_copies_waits_until_all_of_them_have_all_records() {
        let wanted = Wanted { replicas: Some(3), ..orders(None, &[]) };
        let mut topic = Topic::new("orders", sluice_crds::TopicSpec::default());
        // Kafka lists the new copies from the beginning. What is in sync is told only where it was waited for.
        let steps = [
            ((1, None), "1", true),
            ((3, Some(1)), "3, being copied", false),
            ((3, Some(2)), "3, being copied", false),
            ((4, Some(3)), "4", true),
        ];
        for ((replicas, in_sync), from, needs_a_person) in steps {
            assert_eq!(Known::of(&topic, &[]).replicates, in_sync.is_some(), "{replicas} {in_sync:?}");
            let world = Observed { replicas, in_sync, ..six_partitions() };
            let (plan, after, _) = pass(&topic, &wanted, Some(world), Known::default());
            let held: Vec<_> = plan.withheld.iter().map(|held| (held.change, &*held.from, &*held.to)).collect();
            assert_eq!((held, plan.changes), (vec![(ChangeKind::Replicate, from, "3")], vec![]));
            topic = after;
            let conditions = topic.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            assert_eq!(is_true(conditions, ConditionType::Stalled), needs_a_person, "{conditions:?}");
        }
        let done = Observed { replicas: 3, in_sync: Some(3), ..six_partitions() };
        let (plan, after, _) = pass(&topic, &wanted, Some(done), Known::default());
        assert_eq!((plan.withheld, after.status.unwrap().pending), (vec![], None));
    }

    #[test]
    fn fewer_copies_do_not_wait_for_the_ones_that_went() {
        let wanted = Wanted { replicas: Some(2), ..orders(None, &[]) };
        let held = |replicas, in_sync| {
            let world = Observed { replicas, in_sync: Some(in_sync), ..six_partitions() };
            plan(&wanted, Some(&world), &Known::default()).withheld.len()
        };
        assert_eq!((held(3, 2), held(2, 2), held(2, 1)), (1, 0, 1));
    }

    #[test]
    fn more_partitions_wait_where_a_user_orders_by_key() {
        let name = NamespacedName { namespace: "shop".into(), name: "to-api".into() };
        let user = User { kind: UserKind::Integration, name };
        for (by_key, changes) in [(false, vec![Change::Grow { from: 6, to: 8 }]), (true, vec![])] {
            let users = [Usage { user: user.clone(), role: Role::Source { by_key } }];
            let known = Known { users: &users, ..Known::default() };
            assert_eq!(plan(&orders(Some(8), &[]), Some(&six_partitions()), &known).changes, changes);
        }
    }

    #[test]
    fn a_setting_that_waits_to_be_reset_stays_ours_and_one_that_waits_to_be_set_does_not_become_ours() {
        let ours = ["retention.ms".to_owned()];
        let known = Known { settings: &ours, ..Known::default() };
        let held = plan(&orders(None, &[]), Some(&six_partitions()), &known);
        assert_eq!((held.changes, held.settings), (vec![], ours.to_vec()));

        let held = plan(&orders(None, &[("retention.ms", "5")]), Some(&six_partitions()), &Known::default());
        assert_eq!((held.changes, held.settings, held.underway), (vec![], vec![], BTreeMap::new()));
    }

    #[test]
    fn a_setting_is_ours_once_kafka_has_confirmed_it_though_it_does_not_show_it_yet() {
        let wanted = orders(None, &[("segment.bytes", "5")]);
        let first = plan(&wanted, Some(&six_partitions()), &Known::default());
        assert_eq!((first.waits_for_notes, first.settings.len()), (true, 0));
        let known = Known { underway: Some(&first.underway), ..Known::default() };
        let second = plan(&wanted, Some(&six_partitions()), &known);
        assert_eq!((second.waits_for_notes, &second.underway), (false, &first.underway));
        let made = second.changes.clone();
        let confirmed = second.confirmed(&made);
        assert_eq!((confirmed.settings, confirmed.underway), (vec!["segment.bytes".to_owned()], BTreeMap::new()));
        // Another value than the one that is noted waits for a note of its own.
        assert!(plan(&orders(None, &[("segment.bytes", "6")]), Some(&six_partitions()), &known).waits_for_notes);
    }

    #[test]
    fn a_setting_that_kafka_may_not_show_yet_is_returned_to_its_default_once_nobody_wants_it() {
        let (wanted, unwanted) = (orders(None, &[("segment.bytes", "5")]), orders(None, &[]));
        let underway = plan(&wanted, Some(&six_partitions()), &Known::default()).underway;
        let known = Known { underway: Some(&underway), ..Known::default() };
        // An operator has set it and ended, and the broker that is asked has not heard of it.
        let swept = plan(&unwanted, Some(&six_partitions()), &known);
        let reset = Change::Reset { key: "segment.bytes".into(), from: "default".into() };
        assert_eq!((swept.changes.as_slice(), swept.underway.len()), ([reset.clone()].as_slice(), 0));
        assert_eq!(plan(&unwanted, Some(&six_partitions()), &known.after(&reset)).changes, []);
        let mut of_others = six_partitions();
        of_others.config.insert("segment.bytes".into(), "6".into());
        assert_eq!(plan(&unwanted, Some(&of_others), &known).changes, []);
        let observe = Wanted { policy: ManagementPolicy::Observe, ..unwanted };
        assert_eq!(plan(&observe, Some(&six_partitions()), &known), Plan { underway, ..Plan::default() });
    }

    #[test]
    fn after_an_adoption_settings_are_noted_anew_and_what_was_approved_is_done() {
        let wanted = orders(None, &[("retention.ms", "10")]);
        let mut topic = Topic::new("orders", sluice_crds::TopicSpec::default());
        let (topic_id, config_keys) = (Some("one".to_owned()), vec!["retention.ms".to_owned()]);
        topic.status = Some(TopicStatus { topic_id, config_keys, ..TopicStatus::default() });
        let (_, mut topic, world) = pass(&topic, &wanted, Some(six_partitions()), Known::default());
        assert!(approve(&mut topic).is_some());
        let (_, topic, world) = pass(&topic, &wanted, world, Known::default());
        let status = topic.status.clone().unwrap();
        assert_eq!((status.topic_id.as_deref(), status.pending), (Some("id"), None));
        assert_eq!(
            (status.config_keys.len(), &world),
            (0, &Some(six_partitions())),
            "nothing is made before it is noted"
        );
        let (_, topic, world) = pass(&topic, &wanted, world, Known::default());
        assert_eq!(topic.status.unwrap().config_keys, ["retention.ms"]);
        assert_eq!(world.unwrap().config["retention.ms"], "10");
    }
}
