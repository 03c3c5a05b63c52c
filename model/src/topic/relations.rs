//! What Topics, Webhooks and Integrations have to do with each other: who claims a Kafka topic, and who uses a Topic.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::jiff::Timestamp;
use sluice_crds::{NamespacedName, Tenancy, Topic};

use super::{
    claim::{Claim, Place, in_metrics},
    schema::{allows_subject, subject_of},
    users::{Across, Target, Usage, Use, User, Users},
};
use crate::{grants::ReferenceGrant, tenancy::allows_topic};

/// All relations that are known. Each change gives the Topics for which something is different now, beside the one that
/// changed.
#[derive(Debug, Default)]
pub struct Relations {
    /// The claims by what Kafka's metrics call their topics, each with its cluster's name in the operator's configuration.
    claims: HashMap<String, Vec<(String, Claim)>>,
    topics: HashMap<NamespacedName, Place>,
    /// The Topics that name a subject of a schema registry, by registry and subject, the oldest first.
    subjects: HashMap<Subject, BTreeSet<(Option<Timestamp>, NamespacedName)>>,
    named_subjects: HashMap<NamespacedName, (Subject, Option<Timestamp>)>,
    users: Users,
    /// Names of the operator's configuration that mean one Kafka cluster.
    same: Vec<Vec<String>>,
    tenancy: Option<Tenancy>,
}

/// A subject, by the registry's name in the operator's configuration and its own.
type Subject = (String, String);

/// What a Topic has to do with others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Who uses it.
    pub users: Vec<Usage>,
    /// The claims of other Topics to its Kafka topic.
    pub rivals: Vec<Claim>,
    /// The older Topic that has the subject of its schema.
    pub subject_winner: Option<NamespacedName>,
}

impl Relations {
    /// None yet. A Topic claims nothing that its namespace may not name.
    pub fn new(tenancy: Option<Tenancy>) -> Self {
        Self { tenancy, ..Self::default() }
    }

    /// Takes a Topic as it is now.
    pub fn topic_is(&mut self, topic: &Topic) -> BTreeSet<NamespacedName> {
        let (place, claim) = Claim::of(topic);
        let name = claim.topic.clone();
        if !allows_topic(self.tenancy.as_ref(), &name.namespace, &claim.kafka_name) {
            return self.topic_is_gone(&name);
        }
        let mut concerned = match self.topics.get(&name) {
            Some(before) if *before != place => self.topic_is_gone(&name),
            _ => BTreeSet::new(),
        };
        if self.claim_is(&place, &claim) {
            concerned.extend(self.claims_to(&place).map(|claim| claim.topic.clone()).filter(|rival| *rival != name));
        }
        concerned.extend(self.subject_is(topic, &claim));
        self.topics.insert(name, place);
        concerned
    }

    /// Takes a claim as it is now; says whether it was another one before.
    fn claim_is(&mut self, place: &Place, claim: &Claim) -> bool {
        let claims = self.claims.entry(place.name.clone()).or_default();
        if let Some((_, known)) = claims.iter_mut().find(|(_, known)| known.topic == claim.topic) {
            return std::mem::replace(known, claim.clone()) != *claim;
        }
        claims.push((place.cluster.clone(), claim.clone()));
        true
    }

    /// Takes the subject that a Topic names now. Gives the other Topics that name it or the one from before, where it changed.
    fn subject_is(&mut self, topic: &Topic, claim: &Claim) -> BTreeSet<NamespacedName> {
        let named = topic.spec.schema.as_ref().map(|schema| (&schema.registry, subject_of(schema, &claim.kafka_name)));
        let allowed = named.filter(|(_, subject)| {
            allows_subject(self.tenancy.as_ref(), &claim.topic.namespace, &claim.kafka_name, subject)
        });
        let now = allowed.map(|(registry, subject)| ((registry.clone(), subject), claim.created));
        if self.named_subjects.get(&claim.topic) == now.as_ref() {
            return BTreeSet::new();
        }
        let mut concerned = self.subject_is_gone(&claim.topic);
        if let Some((subject, created)) = now {
            let claimants = self.subjects.entry(subject.clone()).or_default();
            concerned.extend(claimants.iter().map(|(_, name)| name.clone()));
            claimants.insert((created, claim.topic.clone()));
            self.named_subjects.insert(claim.topic.clone(), (subject, created));
        }
        concerned
    }

    fn subject_is_gone(&mut self, name: &NamespacedName) -> BTreeSet<NamespacedName> {
        let Some((subject, created)) = self.named_subjects.remove(name) else { return BTreeSet::new() };
        let Some(names) = self.subjects.get_mut(&subject) else { return BTreeSet::new() };
        names.remove(&(created, name.clone()));
        let left = names.iter().map(|(_, name)| name.clone()).collect();
        if names.is_empty() {
            self.subjects.remove(&subject);
        }
        left
    }

    /// Forgets a Topic.
    pub fn topic_is_gone(&mut self, name: &NamespacedName) -> BTreeSet<NamespacedName> {
        let Some(place) = self.topics.remove(name) else { return BTreeSet::new() };
        let mut concerned = self.subject_is_gone(name);
        if let Some(claims) = self.claims.get_mut(&place.name) {
            claims.retain(|(_, claim)| claim.topic != *name);
            if claims.is_empty() {
                self.claims.remove(&place.name);
            }
        }
        concerned.extend(self.claims_to(&place).map(|claim| claim.topic.clone()));
        concerned
    }

    /// Takes what a Webhook or an Integration uses now; nothing, once it is gone.
    pub fn user_is(&mut self, who: User, uses: BTreeSet<Use>) -> BTreeSet<NamespacedName> {
        let changed = self.users.set(who, uses);
        let meant = changed.into_iter().flat_map(|target| self.users.meant(target));
        meant.flat_map(|target| self.topics_of(target)).collect()
    }

    /// Takes a ReferenceGrant as it is now, or that it is gone. Gives whom that concerns.
    pub fn grant_is(&mut self, name: NamespacedName, grant: Option<ReferenceGrant>) -> Across {
        self.users.grant_is(name, grant)
    }

    /// Who names the Topic in another namespace, let or not.
    pub fn strangers(&self, topic: &NamespacedName) -> BTreeSet<User> {
        self.users.strangers(topic)
    }

    /// Who names Topics of other namespaces, let or not.
    pub fn across(&self) -> Across {
        self.users.across(|_| true)
    }

    /// These names of the operator's configuration mean one Kafka cluster. Gives the Topics whose Kafka topic others claim or use under
    /// another one of them.
    pub fn are_one(&mut self, clusters: &[String]) -> BTreeSet<NamespacedName> {
        self.same.retain(|names| !names.iter().any(|name| clusters.contains(name)));
        self.same.push(clusters.to_vec());
        let is_named_twice = |own: &String, claim: &Claim| {
            clusters.iter().any(|other| other != own && self.is_named(&self.users, other, &claim.kafka_name))
        };
        let claims = self.claims.values().flatten();
        let concerned = claims.filter(|(own, claim)| clusters.contains(own) && is_named_twice(own, claim));
        concerned.map(|(_, claim)| claim.topic.clone()).collect()
    }

    /// Those of these names of Kafka clusters, beside that of the Topic's own, under which somebody claims or uses its Kafka topic: who that
    /// is has to do with it where they mean its cluster.
    pub fn named_under<'a>(&self, topic: &Topic, clusters: impl IntoIterator<Item = &'a String>) -> Vec<String> {
        self.named_under_by(topic, &self.users, clusters)
    }

    /// The same, with these users instead of those that are known.
    pub fn named_under_by<'a>(
        &self,
        topic: &Topic,
        users: &Users,
        clusters: impl IntoIterator<Item = &'a String>,
    ) -> Vec<String> {
        let (place, own) = Claim::of(topic);
        let others = clusters.into_iter().filter(|cluster| **cluster != place.cluster);
        others.filter(|cluster| self.is_named(users, cluster, &own.kafka_name)).cloned().collect()
    }

    /// Whether somebody claims or uses a Kafka topic on the cluster of this name.
    fn is_named(&self, users: &Users, cluster: &str, kafka_name: &str) -> bool {
        let mut claims = self.claims.get(&in_metrics(kafka_name)).into_iter().flatten();
        claims.any(|(claimed, _)| claimed == cluster) || users.name(cluster, kafka_name)
    }

    /// What a Topic has to do with others.
    pub fn of(&self, topic: &Topic) -> References {
        self.of_users(topic, &self.users)
    }

    /// The same, with these users instead of those that are known.
    pub fn of_users(&self, topic: &Topic, users: &Users) -> References {
        let (place, own) = Claim::of(topic);
        let clusters = self.names_of(&place.cluster);
        let users: BTreeSet<Usage> =
            clusters.iter().flat_map(|cluster| users.of(&own.topic, cluster, &own.kafka_name)).collect();
        let rivals = self.claims_to(&place).filter(|rival| rival.topic != own.topic).cloned().collect();
        References { users: users.into_iter().collect(), rivals, subject_winner: self.subject_winner(&own.topic) }
    }

    /// Whether others write too to the topic that holds that user's dead letters.
    pub fn shares_dead_letters(&self, who: &User) -> bool {
        self.users.shares_dead_letters(who)
    }

    /// Who reads the events of a Webhook: through it, or from the Topic that holds them.
    pub fn readers(&self, webhook: &NamespacedName) -> BTreeSet<User> {
        self.users.readers(webhook)
    }

    /// The Topic that has the subject that this one names, where that is another.
    fn subject_winner(&self, topic: &NamespacedName) -> Option<NamespacedName> {
        let (subject, _) = self.named_subjects.get(topic)?;
        let (_, oldest) = self.subjects.get(subject)?.first()?;
        (oldest != topic).then(|| oldest.clone())
    }

    /// All claims to a place, under whatever name of its Kafka cluster.
    fn claims_to<'a>(&'a self, place: &'a Place) -> impl Iterator<Item = &'a Claim> {
        let names = self.names_of(&place.cluster);
        let claims = self.claims.get(&place.name).into_iter().flatten();
        claims.filter(move |(cluster, _)| names.contains(&cluster.as_str())).map(|(_, claim)| claim)
    }

    /// All names of a Kafka cluster that are known.
    fn names_of<'a>(&'a self, cluster: &'a str) -> Vec<&'a str> {
        match self.same.iter().find(|names| names.iter().any(|name| name == cluster)) {
            Some(names) => names.iter().map(String::as_str).collect(),
            None => vec![cluster],
        }
    }

    fn topics_of(&self, target: Target) -> Vec<NamespacedName> {
        match target {
            Target::Topic(name) => vec![name],
            // On whichever cluster: whether it is the one that is meant, under another name, the Topic's pass finds out.
            Target::Kafka { topic, .. } => {
                let claims = self.claims.get(&in_metrics(&topic)).into_iter().flatten();
                let claims = claims.filter(|(_, claim)| claim.kafka_name == topic);
                claims.map(|(_, claim)| claim.topic.clone()).collect()
            }
            Target::EventsOf(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::{uses_of_integration, uses_of_webhook};

    fn name(name: &str) -> NamespacedName {
        NamespacedName { namespace: "shop".into(), name: name.into() }
    }

    fn topic(name: &str, kafka_name: &str, id: &str) -> Topic {
        let metadata = format!("{{name: {name}, namespace: shop, creationTimestamp: '2026-01-01T00:00:00Z'}}");
        let spec = format!("{{topicName: {kafka_name}}}");
        let yaml = format!(
            "{{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {metadata}, spec: {spec}, status: {id}}}"
        );
        serde_saphyr::from_str(&yaml).unwrap()
    }

    fn object<K: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: &str) -> K {
        let metadata = format!("{{name: {name}, namespace: shop}}");
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: {kind}, metadata: {metadata}, spec: {spec}}}");
        serde_saphyr::from_str(&yaml).unwrap()
    }

    fn names(all: &[&str]) -> BTreeSet<NamespacedName> {
        all.iter().map(|one| name(one)).collect()
    }

    #[test]
    fn rivals_are_told_when_a_claim_changes_or_goes() {
        let mut relations = Relations::default();
        assert_eq!(relations.topic_is(&topic("a", "shop.orders", "{}")), names(&[]));
        assert_eq!(relations.topic_is(&topic("b", "shop_orders", "{}")), names(&["a"]));
        assert_eq!(relations.topic_is(&topic("a", "shop.orders", "{}")), names(&[]), "nothing changed");
        assert_eq!(relations.topic_is(&topic("a", "shop.orders", "{topicId: x}")), names(&["b"]));
        let rivals = relations.of(&topic("b", "shop_orders", "{}")).rivals;
        assert_eq!(rivals.iter().map(|rival| rival.id.as_deref()).collect::<Vec<_>>(), [Some("x")]);
        assert_eq!(relations.topic_is_gone(&name("a")), names(&["b"]));
        assert_eq!(relations.topic_is_gone(&name("b")), names(&[]));
    }

    #[test]
    fn a_topic_that_its_namespace_may_not_name_is_no_rival() {
        let mut relations = Relations::new(Some(Tenancy::default()));
        let mut foreign = topic("a", "shop.orders", "{topicId: x}");
        foreign.metadata.namespace = Some("billing".into());
        assert_eq!(relations.topic_is(&foreign), names(&[]));
        assert_eq!(relations.topic_is(&topic("b", "shop.orders", "{}")), names(&[]));
        assert_eq!(relations.of(&topic("b", "shop.orders", "{}")).rivals, []);
        assert_eq!(relations.of(&foreign).rivals.len(), 1, "and is told who has it");
    }

    #[test]
    fn two_names_of_one_kafka_cluster_are_one_once_it_is_known() {
        let mut relations = Relations::default();
        let mut elsewhere = topic("c", "shop.orders", "{}");
        elsewhere.spec.cluster = "east".into();
        relations.topic_is(&elsewhere);
        assert_eq!(relations.topic_is(&topic("a", "shop.orders", "{}")), names(&[]));
        assert_eq!(relations.of(&elsewhere).rivals, []);
        assert_eq!(relations.are_one(&["default".into(), "east".into()]), names(&["a", "c"]));
        assert_eq!(relations.of(&elsewhere).rivals.len(), 1);
        assert_eq!(relations.topic_is_gone(&name("a")), names(&["c"]));
    }

    #[test]
    fn who_reads_a_topic_under_another_name_of_its_kafka_cluster_is_told_apart_first() {
        let mut relations = Relations::default();
        let orders = topic("orders", "shop.orders", "{}");
        relations.topic_is(&orders);
        let reader = |cluster: &str| {
            let source = format!("{{kafka: {{cluster: {cluster}, topics: [shop.orders]}}}}");
            let spec = format!("{{source: {source}, sink: {{}}, deadLetters: {{topicRef: {{name: dead}}}}}}");
            uses_of_integration(&object("Integration", "reader", &spec))
        };
        let (who, reads) = reader("east");
        assert_eq!(relations.user_is(who, reads), names(&["dead", "orders"]), "it may be the same");
        let clusters = ["default", "east", "west"].map(str::to_owned);
        assert_eq!(relations.named_under(&orders, &clusters), ["east"]);
        assert_eq!(relations.of(&orders).users, []);
        assert_eq!(relations.are_one(&["default".into(), "east".into()]), names(&["orders"]));
        assert_eq!(relations.of(&orders).users.len(), 1);

        let users: Users = [reader("west")].into_iter().collect();
        assert_eq!(relations.named_under_by(&orders, &users, &clusters), ["west"]);
        let mut rival = topic("copy", "shop_orders", "{}");
        rival.spec.cluster = "west".into();
        relations.topic_is(&rival);
        assert_eq!(relations.named_under(&orders, &clusters), ["east", "west"]);
    }

    #[test]
    fn who_writes_to_a_topic_by_its_kafka_name_is_told_of_on_every_cluster() {
        let mut relations = Relations::default();
        let mut orders = topic("orders", "shop.orders", "{}");
        orders.spec.cluster = "east".into();
        relations.topic_is(&orders);
        let sink = "{kafka: {topicName: shop.orders}}";
        let spec =
            format!("{{source: {{topic: {{name: raw}}}}, sink: {sink}, deadLetters: {{topicRef: {{name: raw}}}}}}");
        let (who, named) = uses_of_integration(&object("Integration", "writer", &spec));
        assert_eq!(relations.user_is(who, named), names(&["orders", "raw"]));
        assert_eq!(relations.of(&orders).users.len(), 1);
    }

    #[test]
    fn the_oldest_topic_that_names_a_subject_has_it() {
        let mut relations = Relations::default();
        let with_subject = |name: &str, second: i64, subject: &str| {
            let mut topic = topic(name, name, "{}");
            topic.metadata.creation_timestamp =
                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::from_second(second).unwrap()));
            let schema = format!("{{format: Avro, subject: {subject}, definition: {{inline: '\"string\"'}}}}");
            topic.spec.schema = Some(serde_saphyr::from_str(&schema).unwrap());
            topic
        };
        let (older, younger) = (with_subject("b", 1, "Order"), with_subject("a", 2, "Order"));
        assert_eq!(relations.topic_is(&younger), names(&[]));
        assert_eq!(relations.of(&younger).subject_winner, None);
        assert_eq!(relations.topic_is(&older), names(&["a"]));
        assert_eq!(relations.topic_is(&older), names(&[]), "nothing changed");
        assert_eq!(relations.of(&younger).subject_winner, Some(name("b")));
        assert_eq!(relations.of(&older).subject_winner, None);
        assert_eq!(relations.topic_is(&with_subject("b", 1, "Another")), names(&["a"]));
        assert_eq!(relations.of(&younger).subject_winner, None);
        assert_eq!(relations.topic_is(&older), names(&["a"]));
        assert_eq!(relations.topic_is_gone(&name("b")), names(&["a"]));
        assert_eq!(relations.of(&younger).subject_winner, None);
        assert_eq!(relations.topic_is_gone(&name("a")), names(&[]));
        assert!(relations.subjects.is_empty() && relations.named_subjects.is_empty());
    }

    #[test]
    fn topics_are_told_when_their_users_change() {
        let mut relations = Relations::default();
        relations.topic_is(&topic("orders", "legacy", "{}"));
        relations.topic_is(&topic("payments", "payments", "{}"));
        let webhook = |events: &str| {
            let spec = format!("{{route: {{parentRefs: []}}, verify: {{}}, topicRef: {{name: {events}}}}}");
            uses_of_webhook(&object("Webhook", "stripe", &spec))
        };
        let integration = |name: &str, source: &str| {
            uses_of_integration(&object("Integration", name, &format!("{{source: {source}, sink: {{}}}}")))
        };
        let (reader, reads) = integration("reader", "{webhook: {name: stripe}}");
        assert_eq!(relations.user_is(reader.clone(), reads), names(&["reader-dead-letters"]));
        let (stripe, writes) = webhook("orders");
        assert_eq!(relations.user_is(stripe.clone(), writes), names(&["orders"]));
        let (by_kafka, reads) = integration("by-kafka", "{kafka: {topics: [legacy]}}");
        assert_eq!(relations.user_is(by_kafka, reads), names(&["orders", "by-kafka-dead-letters"]));
        let users = |relations: &Relations, topic: &Topic| {
            let users = relations.of(topic).users;
            users.iter().map(|usage| usage.user.name.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(users(&relations, &topic("orders", "legacy", "{}")), ["by-kafka", "reader", "stripe"]);

        let (_, writes) = webhook("payments");
        assert_eq!(relations.user_is(stripe, writes), names(&["orders", "payments"]));
        assert_eq!(users(&relations, &topic("payments", "payments", "{}")), ["reader", "stripe"]);
        assert_eq!(relations.user_is(reader, BTreeSet::new()), names(&["payments", "reader-dead-letters"]));
    }
}
