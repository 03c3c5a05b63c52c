//! Compares the topic that should exist with the one that does.

use std::collections::{BTreeMap, BTreeSet};

use sluice_crds::{ManagementPolicy, PendingChange, PendingChanges};

use super::{Observed, Wanted, reassignment::procedure};
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

/// What has to change, in order, and what is asked for and held back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Changes to make.
    pub changes: Vec<Change>,
    /// Changes that are unsafe, impossible, or not the operator's to make.
    pub withheld: Vec<PendingChange>,
}

impl Plan {
    /// The changes that are held back, named by a hash; `None` where there are none.
    pub fn pending(&self) -> Option<PendingChanges> {
        let hash = || short_hash(&serde_json::to_vec(&self.withheld).expect("plain data always serializes"));
        (!self.withheld.is_empty()).then(|| PendingChanges { hash: hash(), changes: self.withheld.clone() })
    }
}

/// What turns `observed` into `wanted`. `ours` are the settings that Sluice made earlier: one that is no longer wanted
/// returns to the broker's default, and what others made is left alone. In a world where the plan was applied nothing is left to change.
pub fn plan(wanted: &Wanted, observed: Option<&Observed>, ours: &[String]) -> Plan {
    let Some(observed) = observed else { return missing(wanted) };
    let mut plan = Plan::default();
    plan.changes.extend(growth(wanted, observed));
    plan.changes.extend(settings(wanted, observed, ours));
    plan.withheld.extend(impossible(wanted, observed));
    match wanted.policy {
        ManagementPolicy::Full => plan,
        ManagementPolicy::CreateOnly | ManagementPolicy::Observe => all_withheld(plan, wanted.policy),
    }
}

fn missing(wanted: &Wanted) -> Plan {
    let create = Change::Create {
        partitions: wanted.partitions.unwrap_or(1),
        replicas: wanted.replicas,
        config: wanted.config.clone(),
    };
    let plan = Plan { changes: vec![create], withheld: Vec::new() };
    if wanted.policy == ManagementPolicy::Observe { all_withheld(plan, wanted.policy) } else { plan }
}

fn growth(wanted: &Wanted, observed: &Observed) -> Option<Change> {
    let to = wanted.partitions.filter(|wanted| *wanted > observed.partitions)?;
    Some(Change::Grow { from: observed.partitions, to })
}

fn settings(wanted: &Wanted, observed: &Observed, ours: &[String]) -> Vec<Change> {
    let set = wanted.config.iter().filter_map(|(key, to)| {
        let from = observed.config.get(key);
        (from != Some(to)).then(|| Change::Set { key: key.clone(), from: from.cloned(), to: to.clone() })
    });
    let left: BTreeSet<&String> = ours.iter().filter(|key| !wanted.config.contains_key(*key)).collect();
    let reset = left
        .into_iter()
        .filter_map(|key| Some(Change::Reset { key: key.clone(), from: observed.config.get(key)?.clone() }));
    set.chain(reset).collect()
}

fn impossible(wanted: &Wanted, observed: &Observed) -> Vec<PendingChange> {
    let mut withheld = Vec::new();
    if let Some(to) = wanted.partitions.filter(|wanted| *wanted < observed.partitions) {
        let (name, from) = (&wanted.name, observed.partitions);
        let reason =
            format!("topic {name:?} has {from} partitions; {to} were asked for, and Kafka cannot remove partitions");
        withheld.push(PendingChange {
            field: "spec.partitions".into(),
            from: from.to_string(),
            to: to.to_string(),
            reason,
        });
    }
    if let Some(to) = wanted.replicas.filter(|wanted| *wanted != observed.replicas) {
        withheld.push(PendingChange {
            field: "spec.replicas".into(),
            from: observed.replicas.to_string(),
            to: to.to_string(),
            reason: procedure(wanted, observed, to),
        });
    }
    withheld
}

fn all_withheld(plan: Plan, policy: ManagementPolicy) -> Plan {
    let held = plan.changes.into_iter().map(|change| hold(change, policy));
    Plan { changes: Vec::new(), withheld: held.chain(plan.withheld).collect() }
}

fn hold(change: Change, policy: ManagementPolicy) -> PendingChange {
    let reason = format!("spec.managementPolicy is {policy:?}");
    let text = |value: Option<String>| value.unwrap_or_else(|| "default".to_owned());
    let (field, from, to) = match change {
        Change::Create { partitions, .. } => {
            ("spec".to_owned(), "no topic".to_owned(), format!("{partitions} partitions"))
        }
        Change::Grow { from, to } => ("spec.partitions".to_owned(), from.to_string(), to.to_string()),
        Change::Set { key, from, to } => (format!("spec.config[{key}]"), text(from), to),
        Change::Reset { key, from } => (format!("spec.config[{key}]"), from, text(None)),
    };
    PendingChange { field, from, to, reason }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_map, option, prelude::*, sample::select};

    use sluice_crds::KafkaConnection;

    use super::*;
    use crate::Cluster;

    const KEYS: [&str; 3] = ["cleanup.policy", "retention.ms", "segment.bytes"];

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
            let cluster = Cluster {
                name: "default".into(), connection: KafkaConnection::default(), secret_name: None, ca_config_map_name: None,
            };
            Wanted { cluster, name: "shop.orders".into(), partitions, replicas, config, policy }
        }
    }

    prop_compose! {
        fn observed()(partitions in 1..6, replicas in 1_i16..4, config in config()) -> Observed {
            Observed { id: "id".into(), partitions, replicas, config }
        }
    }

    /// What Kafka does with the changes.
    fn apply(changes: &[Change], observed: Option<Observed>) -> Option<Observed> {
        let mut world = observed;
        for change in changes.iter().cloned() {
            if let Change::Create { partitions, replicas, config } = change {
                world = Some(Observed { id: "new".into(), partitions, replicas: replicas.unwrap_or(1), config });
                continue;
            }
            let topic = world.as_mut().expect("only a topic that exists is changed");
            match change {
                Change::Create { .. } => unreachable!(),
                Change::Grow { to, .. } => topic.partitions = to,
                Change::Set { key, to, .. } => drop(topic.config.insert(key, to)),
                Change::Reset { key, .. } => drop(topic.config.remove(&key)),
            }
        }
        world
    }

    proptest! {
        #[test]
        fn after_a_plan_was_applied_nothing_is_left_to_change(
            wanted in wanted(),
            observed in option::of(observed()),
            ours in select(vec![vec![], vec!["retention.ms".to_owned()], KEYS.map(str::to_owned).to_vec()]),
        ) {
            let first = plan(&wanted, observed.as_ref(), &ours);
            let world = apply(&first.changes, observed.clone());
            let ours: Vec<String> = wanted.config.keys().cloned().collect();
            let second = plan(&wanted, world.as_ref(), &ours);
            prop_assert_eq!(&second.changes, &vec![]);
            // A new topic can differ in what CreateOnly would not change; apart from that the same is held back.
            if observed.is_some() && wanted.policy == ManagementPolicy::Full {
                prop_assert_eq!(second.withheld, first.withheld);
            }
        }

        #[test]
        fn what_others_set_is_left_alone(wanted in wanted(), observed in observed()) {
            let plan = plan(&wanted, Some(&observed), &[]);
            let resets = plan.changes.iter().any(|change| matches!(change, Change::Reset { .. }));
            prop_assert!(!resets, "{:?}", plan.changes);
        }

        #[test]
        fn an_observed_topic_is_never_changed(mut wanted in wanted(), observed in option::of(observed())) {
            wanted.policy = ManagementPolicy::Observe;
            prop_assert_eq!(plan(&wanted, observed.as_ref(), &[]).changes, vec![]);
        }
    }

    #[test]
    fn fewer_partitions_are_withheld_with_the_reason() {
        let cluster = Cluster {
            name: "default".into(),
            connection: KafkaConnection::default(),
            secret_name: None,
            ca_config_map_name: None,
        };
        let wanted = Wanted {
            cluster,
            name: "shop.orders".into(),
            partitions: Some(3),
            replicas: None,
            config: BTreeMap::new(),
            policy: ManagementPolicy::Full,
        };
        let observed = Observed { id: "id".into(), partitions: 6, replicas: 1, config: BTreeMap::new() };
        let plan = plan(&wanted, Some(&observed), &[]);
        assert_eq!(plan.changes, []);
        assert_eq!(
            plan.pending().unwrap().changes[0].reason,
            "topic \"shop.orders\" has 6 partitions; 3 were asked for, and Kafka cannot remove partitions"
        );
    }
}
