//! Which Integrations and Webhooks use which Topics.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use sluice_crds::{
    Integration, KafkaTopic, LastGood, NamespacedName, OnInvalidEvent, Ordering, TopicReference, TopicRole, UsedTopic,
    Webhook,
};

use crate::grants::{Grants, ReferenceGrant};

/// A resource that uses Topics.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct User {
    /// Its kind.
    pub kind: UserKind,
    /// Its namespace and name.
    pub name: NamespacedName,
}

/// The kinds of resources that use Topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserKind {
    /// Reads records, delivers them, and writes dead letters.
    Integration,
    /// Writes events, and dead letters.
    Webhook,
}

/// One use of a topic, as the user names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Use {
    /// What it names.
    pub target: Target,
    /// What for.
    pub role: Role,
}

/// How a user names the topic that it uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// By the Topic.
    Topic(NamespacedName),
    /// As the Topic that holds the events of a Webhook.
    EventsOf(NamespacedName),
    /// By the name in Kafka.
    Kafka {
        /// The cluster's name in the operator's configuration. `None` where the spec alone does not tell: it counts on each.
        cluster: Option<String>,
        /// The topic's name.
        topic: String,
    },
}

/// What a topic is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Records are read from it.
    Source {
        /// Whether records with the same key stay in order.
        by_key: bool,
    },
    /// Events are written to it.
    Events {
        /// Whether events with the same key stay in order.
        by_key: bool,
    },
    /// Records are delivered to it.
    Sink {
        /// Whether records with the same key stay in order.
        by_key: bool,
    },
    /// Dead letters are written to it.
    DeadLetters,
}

impl Role {
    /// As a status notes it, and whether records with the same key stay in order.
    fn noted(self) -> (TopicRole, bool) {
        match self {
            Self::Source { by_key } => (TopicRole::Source, by_key),
            Self::Events { by_key } => (TopicRole::Events, by_key),
            Self::Sink { by_key } => (TopicRole::Sink, by_key),
            Self::DeadLetters => (TopicRole::DeadLetters, false),
        }
    }

    fn recalled(role: TopicRole, by_key: bool) -> Self {
        match role {
            TopicRole::Source => Self::Source { by_key },
            TopicRole::Events => Self::Events { by_key },
            TopicRole::Sink => Self::Sink { by_key },
            TopicRole::DeadLetters => Self::DeadLetters,
        }
    }
}

/// Somebody who uses one certain Topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usage {
    /// Who.
    pub user: User,
    /// What for.
    pub role: Role,
}

impl Usage {
    /// Whether more partitions would break an order that the user relies on.
    pub fn orders_by_key(&self) -> bool {
        let (Role::Source { by_key } | Role::Events { by_key } | Role::Sink { by_key }) = self.role else {
            return false;
        };
        by_key
    }
}

/// All users that are known, found by what they use. Who names a Topic of another namespace without being let is none.
#[derive(Debug, Default)]
pub struct Users {
    uses: BTreeMap<User, BTreeSet<Use>>,
    by_target: HashMap<Target, BTreeSet<User>>,
    grants: Grants,
}

/// Resources that name Topics of other namespaces, let or not, and these Topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Across {
    /// The Topics.
    pub topics: BTreeSet<NamespacedName>,
    /// Who names them, by name or through a Webhook.
    pub users: BTreeSet<User>,
}

/// What an Integration uses: what its spec names, and what the last one that could be carried out does.
pub fn uses_of_integration(integration: &Integration) -> (User, BTreeSet<Use>) {
    let (who, mut uses) = named_by_integration(integration);
    uses.extend(kept(&who, integration.status.as_ref().and_then(|status| status.last_good.as_ref())));
    (who, uses)
}

/// What a Webhook uses: what its spec names, and what the last one that could be carried out does.
pub fn uses_of_webhook(webhook: &Webhook) -> (User, BTreeSet<Use>) {
    let (who, mut uses) = named_by_webhook(webhook);
    uses.extend(kept(&who, webhook.status.as_ref().and_then(|status| status.last_good.as_ref())));
    (who, uses)
}

/// What the spec of an Integration names.
pub(crate) fn named_by_integration(integration: &Integration) -> (User, BTreeSet<Use>) {
    let who = user(UserKind::Integration, &integration.metadata);
    let spec = &integration.spec;
    let by_key = spec.delivery.ordering == Ordering::Key;
    let (source, sink) = (Role::Source { by_key }, Role::Sink { by_key });
    let mut uses = BTreeSet::new();
    if let Some(topic) = &spec.source.topic {
        uses.insert(Use { target: named_topic(&who, topic), role: source });
    }
    if let Some(webhook) = &spec.source.webhook {
        uses.insert(Use { target: Target::EventsOf(beside(&who, webhook.name.clone())), role: source });
    }
    // All is on the source's cluster, which only a Topic knows where that is one.
    let cluster = spec.source.kafka.as_ref().map(|kafka| &kafka.cluster);
    let in_kafka = |topic: &String| Target::Kafka { cluster: cluster.cloned(), topic: topic.clone() };
    let topics = spec.source.kafka.iter().flat_map(|kafka| &kafka.topics);
    uses.extend(topics.map(|topic| Use { target: in_kafka(topic), role: source }));
    if let Some(topic) = spec.sink_topic() {
        uses.insert(Use { target: named_topic(&who, topic), role: sink });
    }
    if let Some(topic) = spec.sink.kafka.as_ref().and_then(|kafka| kafka.topic_name.as_ref()) {
        uses.insert(Use { target: in_kafka(topic), role: sink });
    }
    let own = || own_topic(&who, format!("{}-dead-letters", who.name.name));
    let target = spec.dead_letters.topic_ref.as_ref().map_or_else(own, |topic| named_topic(&who, topic));
    uses.insert(Use { target, role: Role::DeadLetters });
    (who, uses)
}

/// What the spec of a Webhook names.
pub(crate) fn named_by_webhook(webhook: &Webhook) -> (User, BTreeSet<Use>) {
    let who = user(UserKind::Webhook, &webhook.metadata);
    let events = Role::Events { by_key: webhook.spec.event.key.is_some() };
    let mut uses = BTreeSet::from([Use { target: Target::Topic(events_topic(webhook)), role: events }]);
    if webhook.spec.validate.as_ref().is_some_and(|validate| validate.on_invalid == OnInvalidEvent::DeadLetter) {
        let own = || own_topic(&who, format!("{}-webhook-dead-letters", who.name.name));
        let target = webhook.spec.dead_letters_ref().map_or_else(own, |topic| named_topic(&who, topic));
        uses.insert(Use { target, role: Role::DeadLetters });
    }
    (who, uses)
}

/// The Topic that holds a Webhook's events: the one that it names, or its own, which is named like it.
fn events_topic(webhook: &Webhook) -> NamespacedName {
    let NamespacedName { namespace, name } = user(UserKind::Webhook, &webhook.metadata).name;
    match &webhook.spec.topic_ref {
        Some(topic) => topic.seen_from(&namespace),
        None => NamespacedName { namespace, name },
    }
}

/// What a spec names that can be carried out, as a status notes it: on this Kafka cluster, and through its Webhook the Topic that holds the
/// events now, whichever the Webhook names later.
pub(crate) fn noted_uses(
    (who, named): (User, BTreeSet<Use>),
    webhook: Option<&Webhook>,
    cluster: &str,
) -> Vec<UsedTopic> {
    let reference = |NamespacedName { namespace, name }| {
        let namespace = Some(namespace).filter(|namespace| *namespace != who.name.namespace);
        TopicReference { name, namespace }
    };
    let used = |Use { target, role }| {
        let (topic, kafka) = match target {
            Target::Topic(name) => (Some(reference(name)), None),
            Target::EventsOf(_) => (Some(reference(events_topic(webhook?))), None),
            Target::Kafka { cluster: known, topic } => {
                let cluster = known.unwrap_or_else(|| cluster.to_owned());
                (None, Some(KafkaTopic { cluster, name: topic }))
            }
        };
        let (role, by_key) = role.noted();
        Some(UsedTopic { role, by_key, topic, kafka })
    };
    named.into_iter().filter_map(used).collect()
}

/// What goes on of the last spec that could be carried out, as the status notes it.
fn kept(who: &User, last_good: Option<&LastGood>) -> BTreeSet<Use> {
    let used = |UsedTopic { role, by_key, topic, kafka }: &UsedTopic| {
        let target = match (topic, kafka) {
            (Some(topic), _) => named_topic(who, topic),
            (None, Some(KafkaTopic { cluster, name })) => {
                Target::Kafka { cluster: Some(cluster.clone()), topic: name.clone() }
            }
            (None, None) => return None,
        };
        Some(Use { target, role: Role::recalled(*role, *by_key) })
    };
    last_good.into_iter().flat_map(|known| &known.uses).filter_map(used).collect()
}

fn user(kind: UserKind, metadata: &kube::core::ObjectMeta) -> User {
    let [namespace, name] = [&metadata.namespace, &metadata.name].map(|text| text.clone().unwrap_or_default());
    User { kind, name: NamespacedName { namespace, name } }
}

fn named_topic(who: &User, topic: &TopicReference) -> Target {
    Target::Topic(topic.seen_from(&who.name.namespace))
}

fn own_topic(who: &User, name: String) -> Target {
    Target::Topic(beside(who, name))
}

/// A resource in the user's own namespace.
fn beside(who: &User, name: String) -> NamespacedName {
    NamespacedName { namespace: who.name.namespace.clone(), name }
}

impl FromIterator<(User, BTreeSet<Use>)> for Users {
    fn from_iter<T: IntoIterator<Item = (User, BTreeSet<Use>)>>(all: T) -> Self {
        let mut users = Self::default();
        for (who, uses) in all {
            users.set(who, uses);
        }
        users
    }
}

impl Users {
    /// Takes what a user uses now; nothing, once it is gone. Gives the targets for which something changed.
    pub fn set(&mut self, who: User, uses: BTreeSet<Use>) -> BTreeSet<Target> {
        let before = self.uses.remove(&who).unwrap_or_default();
        for target in before.iter().map(|one| &one.target) {
            if let Some(users) = self.by_target.get_mut(target) {
                users.remove(&who);
                if users.is_empty() {
                    self.by_target.remove(target);
                }
            }
        }
        for target in uses.iter().map(|one| one.target.clone()) {
            self.by_target.entry(target).or_default().insert(who.clone());
        }
        let changed = before.symmetric_difference(&uses).map(|one| one.target.clone()).collect();
        if !uses.is_empty() {
            self.uses.insert(who, uses);
        }
        changed
    }

    /// The same users, let by these grants.
    #[must_use]
    pub fn let_by(self, grants: Grants) -> Self {
        Self { grants, ..self }
    }

    /// Takes a ReferenceGrant as it is now, or that it is gone. Gives whom that concerns.
    pub fn grant_is(&mut self, name: NamespacedName, grant: Option<ReferenceGrant>) -> Across {
        let namespace = name.namespace.clone();
        if self.grants.set(name, grant) { self.across(|topic| topic.namespace == namespace) } else { Across::default() }
    }

    /// Who names Topics of other namespaces, of those Topics that are wanted.
    pub fn across(&self, wanted: impl Fn(&NamespacedName) -> bool) -> Across {
        let mut across = Across::default();
        for target in self.by_target.keys() {
            let Target::Topic(topic) = target else { continue };
            let strangers = if wanted(topic) { self.strangers(topic) } else { BTreeSet::new() };
            if !strangers.is_empty() {
                across.topics.insert(topic.clone());
                across.users.extend(strangers);
            }
        }
        across
    }

    /// Who names the Topic in another namespace, let or not: by its name, or through a Webhook.
    pub fn strangers(&self, topic: &NamespacedName) -> BTreeSet<User> {
        let users = self.by_target.get(&Target::Topic(topic.clone())).into_iter().flatten();
        let mut strangers: BTreeSet<User> =
            users.filter(|user| user.name.namespace != topic.namespace).cloned().collect();
        let webhooks = strangers.iter().filter(|user| user.kind == UserKind::Webhook);
        let events = webhooks.map(|webhook| Target::EventsOf(webhook.name.clone()));
        let through: Vec<User> = events.filter_map(|events| self.by_target.get(&events)).flatten().cloned().collect();
        strangers.extend(through);
        strangers
    }

    /// Who uses a Topic, in order: by its own name, by that of its Kafka topic, or through a Webhook.
    pub fn of(&self, topic: &NamespacedName, cluster: &str, kafka_name: &str) -> Vec<Usage> {
        let by_kafka_name =
            [Some(cluster.to_owned()), None].map(|cluster| Target::Kafka { cluster, topic: kafka_name.to_owned() });
        let targets = [Target::Topic(topic.clone())].into_iter().chain(by_kafka_name);
        let mut all: BTreeSet<Usage> = targets.flat_map(|target| self.using(&target)).collect();
        let webhooks = all.iter().filter(|usage| matches!(usage.role, Role::Events { .. }));
        let events = webhooks.map(|usage| Target::EventsOf(usage.user.name.clone()));
        let through = events.flat_map(|events| self.using(&events));
        let through: Vec<Usage> = through.filter(|usage| self.grants.permit(&usage.user, topic)).collect();
        all.extend(through);
        all.into_iter().collect()
    }

    /// Whether somebody names a Kafka topic on the cluster of this name.
    pub fn name(&self, cluster: &str, kafka_name: &str) -> bool {
        let target = Target::Kafka { cluster: Some(cluster.to_owned()), topic: kafka_name.to_owned() };
        self.by_target.contains_key(&target)
    }

    /// What a target means, without the way through a Webhook.
    pub fn meant(&self, target: Target) -> Vec<Target> {
        let Target::EventsOf(name) = target else { return vec![target] };
        let uses = self.uses.get(&User { kind: UserKind::Webhook, name });
        let events = uses.into_iter().flatten().filter(|one| matches!(one.role, Role::Events { .. }));
        events.map(|one| one.target.clone()).collect()
    }

    /// Whether others write too to the topic that holds that user's dead letters.
    pub fn shares_dead_letters(&self, who: &User) -> bool {
        let of = |user: &User| self.uses.get(user).into_iter().flatten();
        let own: Vec<&Target> = of(who).filter(|one| one.role == Role::DeadLetters).map(|one| &one.target).collect();
        let writes =
            |user: &User| of(user).any(|one| !matches!(one.role, Role::Source { .. }) && own.contains(&&one.target));
        own.iter().flat_map(|target| self.users_of(target)).any(|user| user != who && writes(user))
    }

    /// Who reads the events of a Webhook: through it, or from the Topic that holds them.
    pub fn readers(&self, webhook: &NamespacedName) -> BTreeSet<User> {
        let events = Target::EventsOf(webhook.clone());
        let meant = self.meant(events.clone());
        let usages = meant.iter().chain([&events]).flat_map(|target| self.using(target));
        let readers = usages.filter(|usage| matches!(usage.role, Role::Source { .. })).map(|usage| usage.user);
        // A Webhook whose spec is held back may mean two.
        let may_read = |reader: &User| meant.is_empty() || meant.iter().any(|target| self.may_use(reader, target));
        readers.filter(may_read).collect()
    }

    fn using(&self, target: &Target) -> Vec<Usage> {
        let mut found = Vec::new();
        for who in self.users_of(target) {
            let all = self.uses.get(who).into_iter().flatten().filter(|one| one.target == *target);
            found.extend(all.map(|one| Usage { user: who.clone(), role: one.role }));
        }
        found
    }

    /// Who names a target, and may.
    fn users_of(&self, target: &Target) -> impl Iterator<Item = &User> {
        self.by_target.get(target).into_iter().flatten().filter(move |user| self.may_use(user, target))
    }

    fn may_use(&self, user: &User, target: &Target) -> bool {
        match target {
            Target::Topic(topic) => self.grants.permit(user, topic),
            Target::EventsOf(_) | Target::Kafka { .. } => true,
        }
    }
}

/// The most users that a status names.
const MOST_USERS: usize = 50;

/// Users as a status names them: of many the first ones.
pub(crate) fn named<'a>(users: impl IntoIterator<Item = &'a User>) -> Vec<String> {
    let mut names: Vec<String> = users.into_iter().map(ToString::to_string).collect();
    names.dedup();
    let more = names.len().saturating_sub(MOST_USERS);
    names.truncate(MOST_USERS);
    names.extend((more > 0).then(|| format!("and {more} more")));
    names
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.kind, self.name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn name(name: &str) -> NamespacedName {
        NamespacedName { namespace: "shop".into(), name: name.into() }
    }

    fn integration(name: &str, spec: &str) -> (User, BTreeSet<Use>) {
        uses_of_integration(&parsed_integration(name, spec))
    }

    fn webhook(name: &str, spec: &str) -> (User, BTreeSet<Use>) {
        uses_of_webhook(&parsed_webhook(name, spec))
    }

    fn parsed_integration(name: &str, spec: &str) -> Integration {
        let sink = if spec.contains("sink:") { "" } else { "sink: {}," };
        let yaml = format!(
            "{{apiVersion: sluice.dev/v1alpha1, kind: Integration, metadata: {{name: {name}, namespace: shop}}, \
             spec: {{{sink} {spec}}}}}"
        );
        serde_saphyr::from_str(&yaml).unwrap()
    }

    fn parsed_webhook(name: &str, spec: &str) -> Webhook {
        let yaml = format!(
            "{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {{name: {name}, namespace: shop}}, \
             spec: {{route: {{parentRefs: []}}, verify: {{none: {{}}}}, {spec}}}}}"
        );
        serde_saphyr::from_str(&yaml).unwrap()
    }

    fn known(all: impl IntoIterator<Item = (User, BTreeSet<Use>)>) -> Users {
        let mut users = Users::default();
        for (user, uses) in all {
            users.set(user, uses);
        }
        users
    }

    fn users_of(users: &Users, topic: &str) -> Vec<String> {
        let found = users.of(&name(topic), "default", &format!("shop.{topic}"));
        found
            .iter()
            .map(|usage| format!("{}{}", usage.user, if usage.orders_by_key() { " by key" } else { "" }))
            .collect()
    }

    #[test]
    fn a_topic_is_used_by_name_by_kafka_name_and_through_a_webhook() {
        let users = known([
            integration("by-name", "source: {topic: {name: orders}}, delivery: {ordering: None}"),
            integration("by-kafka-name", "source: {kafka: {topics: [shop.orders, other]}}"),
            integration("through", "source: {webhook: {name: stripe}}"),
            integration("into", "source: {topic: {name: a}}, sink: {kafka: {topic: {name: orders}}}"),
            integration("into-kafka-name", "source: {topic: {name: a}}, sink: {kafka: {topicName: shop.orders}}"),
            integration("into-kafka", "source: {kafka: {topics: [a]}}, sink: {kafka: {topicName: shop.orders}}"),
            integration(
                "east",
                "source: {kafka: {cluster: east, topics: [a]}}, sink: {kafka: {topicName: shop.orders}}",
            ),
            integration("elsewhere", "source: {topic: {name: payments}}, deadLetters: {topicRef: {name: orders}}"),
            webhook("stripe", "topicRef: {name: orders}, event: {key: {jsonPointer: /id}}"),
            webhook("plain", "topicRef: {name: orders}"),
        ]);
        let expected = [
            "Integration/shop/by-kafka-name by key",
            "Integration/shop/by-name",
            "Integration/shop/elsewhere",
            "Integration/shop/into by key",
            "Integration/shop/into-kafka by key",
            "Integration/shop/into-kafka-name by key",
            "Integration/shop/through by key",
            "Webhook/shop/plain",
            "Webhook/shop/stripe by key",
        ];
        assert_eq!(users_of(&users, "orders"), expected);
        assert_eq!(users_of(&users, "payments"), ["Integration/shop/elsewhere by key"]);
    }

    #[test]
    fn what_the_last_good_spec_uses_is_used_whatever_the_spec_names_now() {
        let told = |uses| Some(LastGood { config_map: "to-api-1".into(), objects_hash: None, elsewhere: vec![], uses });
        let stripe = parsed_webhook("stripe", "topicRef: {name: orders}, event: {key: {jsonPointer: /id}}");
        let before = parsed_integration(
            "to-api",
            "source: {webhook: {name: stripe}}, sink: {kafka: {topicName: legacy}}, \
             deadLetters: {topicRef: {name: orders, namespace: hub}}",
        );
        let mut held = parsed_integration("to-api", "source: {topic: {name: other}}, delivery: {ordering: None}");
        let noted = noted_uses(named_by_integration(&before), Some(&stripe), "east");
        held.status.get_or_insert_default().last_good = told(noted);
        let mut held_webhook = parsed_webhook("stripe", "topicRef: {name: others}");
        let noted = noted_uses(named_by_webhook(&stripe), None, "default");
        held_webhook.status.get_or_insert_default().last_good = told(noted);
        let mut users = known([uses_of_integration(&held), uses_of_webhook(&held_webhook)]);

        assert_eq!(users_of(&users, "orders"), ["Integration/shop/to-api by key", "Webhook/shop/stripe by key"]);
        assert_eq!(users_of(&users, "other"), ["Integration/shop/to-api"]);
        assert_eq!(users_of(&users, "others"), ["Webhook/shop/stripe"]);
        assert_eq!(users_of(&users, "to-api-dead-letters"), ["Integration/shop/to-api"]);
        let legacy = |cluster: &str| users.of(&name("legacy"), cluster, "legacy").len();
        assert_eq!((legacy("east"), legacy("default")), (1, 0), "it is known where its source is");
        assert_eq!(users.of(&shared("orders"), "default", "hub.orders"), []);
        users.grant_is(shared("readers"), Some(grant("Integration")));
        assert_eq!(users.of(&shared("orders"), "default", "hub.orders").len(), 1, "where that is permitted");
    }

    #[test]
    fn an_owner_uses_the_topics_that_are_made_for_it() {
        let users = known([webhook("stripe", ""), integration("to-api", "source: {webhook: {name: stripe}}")]);
        assert_eq!(users_of(&users, "stripe"), ["Integration/shop/to-api by key", "Webhook/shop/stripe"]);
        assert_eq!(users_of(&users, "to-api-dead-letters"), ["Integration/shop/to-api"]);
    }

    #[test]
    fn dead_letters_are_shared_with_whoever_else_writes_to_their_topic() {
        let into = |name: &str| integration(name, "source: {topic: {name: a}}, deadLetters: {topicRef: {name: dead}}");
        let (first, uses) = into("first");
        let alone = known([
            (first.clone(), uses.clone()),
            integration("replays", "source: {topic: {name: dead}}"),
            integration("other", "source: {topic: {name: a}}"),
        ]);
        assert!(!alone.shares_dead_letters(&first), "who reads them does not add any");
        let sink = "source: {topic: {name: a}}, sink: {kafka: {topic: {name: dead}}}";
        let contract =
            "topicRef: {name: a}, validate: {jsonSchema: {inline: {}}}, deadLetters: {topicRef: {name: dead}}";
        for other in [into("second"), integration("copies", sink), webhook("stripe", contract)] {
            assert!(known([(first.clone(), uses.clone()), other]).shares_dead_letters(&first));
        }
        let (owner, own) = integration("owner", "source: {topic: {name: a}}");
        let guest =
            integration("guest", "source: {topic: {name: a}}, deadLetters: {topicRef: {name: owner-dead-letters}}");
        assert!(known([(owner.clone(), own), guest]).shares_dead_letters(&owner));
    }

    #[test]
    fn a_webhook_is_read_through_it_and_from_its_topic() {
        let users = known([
            webhook("stripe", "topicRef: {name: orders}"),
            integration("through", "source: {webhook: {name: stripe}}"),
            integration("by-name", "source: {topic: {name: orders}}"),
            integration("into", "source: {topic: {name: a}}, sink: {kafka: {topic: {name: orders}}}"),
        ]);
        assert_eq!(named(&users.readers(&name("stripe"))), ["Integration/shop/by-name", "Integration/shop/through"]);
        assert_eq!(users.readers(&name("other")), BTreeSet::new());
    }

    #[test]
    fn of_many_users_the_first_are_named() {
        let users = (10..70).map(|number| integration(&format!("i-{number}"), "source: {topic: {name: a}}").0);
        let named = named(&users.collect::<Vec<_>>());
        assert_eq!((named.len(), named.last().unwrap().as_str()), (51, "and 10 more"));
    }

    /// A Topic of the namespace `hub`, which others have to be let use.
    fn shared(name: &str) -> NamespacedName {
        NamespacedName { namespace: "hub".into(), name: name.into() }
    }

    fn grant(kind: &str) -> ReferenceGrant {
        let from = json!([{"group": "sluice.dev", "kind": kind, "namespace": "shop"}]);
        ReferenceGrant::of(&json!({"from": from, "to": [{"group": "sluice.dev", "kind": "Topic", "name": "orders"}]}))
    }

    #[test]
    fn who_names_a_topic_of_another_namespace_uses_it_once_that_permits_it() {
        let webhook_in_hub = "topicRef: {name: orders, namespace: hub}";
        let reads = "source: {topic: {name: orders, namespace: hub}}, deadLetters: {topicRef: {name: dead}}";
        let mut users = known([
            integration("reader", reads),
            integration("through", "source: {webhook: {name: stripe}}, deadLetters: {topicRef: {name: dead}}"),
            integration(
                "other",
                "source: {topic: {name: payments, namespace: hub}}, deadLetters: {topicRef: {name: dead}}",
            ),
            webhook("stripe", webhook_in_hub),
        ]);
        let used_by = |users: &Users| {
            let usages = users.of(&shared("orders"), "default", "hub.orders");
            named(usages.iter().map(|usage| &usage.user))
        };
        assert_eq!(used_by(&users), [""; 0]);
        assert_eq!(named(&users.readers(&name("stripe"))), [""; 0]);
        let strangers = ["Integration/shop/reader", "Integration/shop/through", "Webhook/shop/stripe"];
        assert_eq!(named(&users.strangers(&shared("orders"))), strangers);

        let across = users.grant_is(shared("readers"), Some(grant("Integration")));
        assert_eq!(across.topics, BTreeSet::from([shared("orders"), shared("payments")]));
        assert_eq!(named(&across.users), ["Integration/shop/other", strangers[0], strangers[1], strangers[2]]);
        assert_eq!(used_by(&users), ["Integration/shop/reader"]);
        assert_eq!(users.of(&shared("payments"), "default", "hub.payments"), []);
        assert_eq!(users.grant_is(shared("readers"), Some(grant("Integration"))), Across::default());

        users.grant_is(shared("writers"), Some(grant("Webhook")));
        assert_eq!(used_by(&users), strangers);
        assert_eq!(named(&users.readers(&name("stripe"))), &strangers[..2]);
        users.grant_is(shared("readers"), None);
        assert_eq!(used_by(&users), ["Webhook/shop/stripe"]);
        let elsewhere = users.grant_is(name("readers"), Some(grant("Integration")));
        assert_eq!(elsewhere, Across::default(), "it is about Topics that nobody names from elsewhere");
    }

    #[test]
    fn a_stranger_shares_no_dead_letters_before_it_may() {
        let dead = "source: {topic: {name: a}}, deadLetters: {topicRef: {name: orders, namespace: hub}}";
        let (stranger, uses) = integration("stranger", dead);
        let owner = User { kind: UserKind::Integration, name: shared("owner") };
        let own = Use { target: Target::Topic(shared("orders")), role: Role::DeadLetters };
        let mut all = known([(stranger, uses), (owner.clone(), BTreeSet::from([own]))]);
        assert!(!all.shares_dead_letters(&owner));
        all.grant_is(shared("a"), Some(grant("Integration")));
        assert!(all.shares_dead_letters(&owner));
    }

    #[test]
    fn a_change_names_the_topics_that_are_used_differently_now() {
        let mut all = known([webhook("stripe", "topicRef: {name: orders}")]);
        let (who, uses) = integration("to-api", "source: {webhook: {name: stripe}}");
        let changed = all.set(who.clone(), uses.clone());
        let own = Target::Topic(name("to-api-dead-letters"));
        assert_eq!(changed, BTreeSet::from([Target::EventsOf(name("stripe")), own.clone()]));
        assert_eq!(all.meant(Target::EventsOf(name("stripe"))), [Target::Topic(name("orders"))]);
        assert_eq!(all.set(who.clone(), uses), BTreeSet::new());

        let (_, uses) = integration("to-api", "source: {topic: {name: orders}}");
        let changed = all.set(who.clone(), uses);
        assert_eq!(changed, BTreeSet::from([Target::EventsOf(name("stripe")), Target::Topic(name("orders"))]));
        assert_eq!(all.set(who, BTreeSet::new()), BTreeSet::from([Target::Topic(name("orders")), own]));
        assert_eq!(users_of(&all, "orders"), ["Webhook/shop/stripe"]);
    }
}
