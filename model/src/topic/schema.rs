//! Compares the schema that a subject should have with the versions that it has.

use std::collections::BTreeMap;

use sluice_crds::{
    Compatibility, ManagementPolicy, NamespacedName, Reason, RegisteredSchema, SchemaFormat, SchemaReference, Settings,
    Tenancy, Topic, TopicSchema,
};

use crate::{
    Rejection,
    tenancy::{self, Named, allows_topic},
};

/// A schema that can be registered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WantedSchema {
    /// The registry's name in the operator's configuration.
    pub registry: String,
    /// The subject.
    pub subject: String,
    /// The schema's language.
    pub format: SchemaFormat,
    /// Which changes the subject should let through; as found where absent.
    pub compatibility: Option<Compatibility>,
    /// The schema.
    pub text: String,
    /// The schemas of other subjects that it uses.
    pub references: Vec<SchemaReference>,
    /// How far to go.
    pub policy: ManagementPolicy,
}

/// What a registry tells of a subject. It is compared to see whether somebody changed something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectState {
    /// The subject's own compatibility, as the registry writes it. Not asked for where none is wanted.
    pub compatibility: Option<String>,
    /// The newest version.
    pub newest: Option<SchemaVersion>,
}

/// One version of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaVersion {
    /// The registry's id of the schema.
    pub id: i64,
    /// Its number, from 1.
    pub version: i32,
}

/// Everything that the operator can do to a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaChange {
    /// Sets its compatibility.
    SetCompatibility(Compatibility),
    /// Registers the schema as its newest version.
    Register,
}

/// What has to change, in order, and what is asked for and not done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaPlan {
    /// Changes to make.
    pub changes: Vec<SchemaChange>,
    /// What is asked for and not done, for people.
    pub withheld: Vec<String>,
    /// Whether it is withheld only because of `spec.managementPolicy`.
    pub by_policy: bool,
}

/// What is known of a Topic's schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaOutcome {
    /// It cannot be registered.
    Rejected(Rejection),
    /// Another Topic has the subject.
    Lost {
        /// The subject.
        subject: String,
        /// The Topic that has it.
        winner: NamespacedName,
    },
    /// The registry has not answered yet.
    Asked,
    /// It was compared with what the registry has.
    Compared {
        /// The version that holds it, where there is one.
        registered: Option<RegisteredSchema>,
        /// What is withheld, and why.
        plan: SchemaPlan,
    },
    /// The registry did not let it finish.
    Failed {
        /// The subject.
        subject: String,
        /// Why, by class.
        reason: Reason,
        /// What was being done, and what came of it.
        message: String,
    },
}

/// The subject of a Topic's schema: the one that it names, or the default for its Kafka topic.
pub fn subject_of(schema: &TopicSchema, kafka_name: &str) -> String {
    schema.subject.clone().unwrap_or_else(|| format!("{kafka_name}-value"))
}

/// The schema that should be registered, or what is wrong with it: it does not hold back anything else of the Topic.
/// `config_map` is the data of the ConfigMap that the definition names.
pub fn wanted_schema(
    topic: &Topic,
    schema: &TopicSchema,
    kafka_name: &str,
    settings: &Settings,
    config_map: Option<&BTreeMap<String, String>>,
) -> Result<WantedSchema, Rejection> {
    if !settings.schema_registries.contains_key(&schema.registry) {
        return Err(unknown_registry(settings, &schema.registry));
    }
    let subject = subject_of(schema, kafka_name);
    let namespace = topic.metadata.namespace.as_deref().unwrap_or_default();
    if !is_of_topic(&subject, kafka_name)
        && let Some(complaint) = tenancy::judge(settings, namespace, "spec.schema.subject", Named::Subject(&subject))
    {
        return Err(complaint);
    }
    for (index, reference) in schema.references.iter().enumerate() {
        let field = format!("spec.schema.references[{index}].subject");
        if let Some(complaint) = tenancy::judge(settings, namespace, &field, Named::Subject(&reference.subject)) {
            return Err(complaint);
        }
    }
    let text = text(schema, config_map)?;
    Ok(WantedSchema {
        registry: schema.registry.clone(),
        subject,
        format: schema.format,
        compatibility: schema.compatibility,
        text,
        references: schema.references.clone(),
        policy: topic.spec.management_policy,
    })
}

/// Whether resources of `namespace` may have the subject, where they may have the Kafka topic.
pub(super) fn allows_subject(tenancy: Option<&Tenancy>, namespace: &str, kafka_name: &str, subject: &str) -> bool {
    is_of_topic(subject, kafka_name) || allows_topic(tenancy, namespace, subject)
}

/// Whether the subject is named after the topic: who may have the one may have the other.
fn is_of_topic(subject: &str, kafka_name: &str) -> bool {
    subject.strip_prefix(kafka_name).is_some_and(|rest| rest.starts_with('-'))
}

fn unknown_registry(settings: &Settings, name: &str) -> Rejection {
    let known: Vec<&str> = settings.schema_registries.keys().map(String::as_str).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let message = format!("the operator's configuration has no schema registry {name:?}; it has: {known}");
    Rejection::invalid("spec.schema.registry", message)
}

/// The schema's text. That of Avro and JSON Schema is JSON, which registries say less clearly.
fn text(schema: &TopicSchema, config_map: Option<&BTreeMap<String, String>>) -> Result<String, Rejection> {
    let (field, text) = match (&schema.definition.inline, &schema.definition.config_map_ref) {
        (Some(text), _) => ("spec.schema.definition.inline", text.clone()),
        (None, Some(reference)) => {
            let (field, name, key) = ("spec.schema.definition.configMapRef", &reference.name, &reference.key);
            let missing = |what| Rejection::not_found(field, format!("there is no {what}; create it"));
            let data = config_map.ok_or_else(|| missing(format!("ConfigMap {name:?} in this namespace")))?;
            let text = data.get(key).ok_or_else(|| missing(format!("key {key:?} in the ConfigMap {name:?}")))?;
            (field, text.clone())
        }
        (None, None) => {
            return Err(Rejection::invalid("spec.schema.definition", "write exactly one of inline, configMapRef"));
        }
    };
    if schema.format != SchemaFormat::Protobuf {
        serde_json::from_str::<serde::de::IgnoredAny>(&text)
            .map_err(|error| Rejection::invalid(field, format!("it is no JSON: {error}")))?;
    }
    Ok(text)
}

/// What turns the subject into the wanted one. `ours` is the version that holds the wanted schema.
pub fn plan_schema(wanted: &WantedSchema, state: &SubjectState, ours: Option<SchemaVersion>) -> SchemaPlan {
    let mut plan = SchemaPlan { by_policy: true, ..SchemaPlan::default() };
    let may = match wanted.policy {
        ManagementPolicy::Full => true,
        ManagementPolicy::CreateOnly => state.newest.is_none(),
        ManagementPolicy::Observe => false,
    };
    if let Some(compatibility) =
        wanted.compatibility.filter(|level| state.compatibility.as_deref() != Some(level.wire()))
    {
        if may {
            plan.changes.push(SchemaChange::SetCompatibility(compatibility));
        } else {
            let found = state.compatibility.as_deref().unwrap_or("not set");
            plan.withheld.push(format!("its compatibility is {found} and not {}", compatibility.wire()));
        }
    }
    match (ours, state.newest) {
        (Some(ours), Some(newest)) if ours.version < newest.version => {
            plan.by_policy = wanted.policy != ManagementPolicy::Full;
            plan.withheld.push(format!(
                "version {} holds the schema, and version {} was registered after it: a registry does not make an older \
                 version the newest again; put the newest schema into spec.schema.definition, or delete the newer versions",
                ours.version, newest.version
            ));
        }
        (Some(_), _) => {}
        (None, _) if may => plan.changes.push(SchemaChange::Register),
        (None, _) => plan.withheld.push("no version of it holds the schema".to_owned()),
    }
    if wanted.compatibility == Some(Compatibility::None) && state.newest.is_none() {
        // Apicurio takes every other level of a subject that does not exist. There is nothing yet that the schema would be compared with.
        plan.changes.reverse();
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    const AVRO: &str = r#"{"type": "string"}"#;

    fn settings() -> Settings {
        let yaml =
            "{clusters: {}, images: {receiver: r, worker: w}, schemaRegistries: {default: {url: 'http://registry'}}}";
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn topic(schema: &str) -> Topic {
        let metadata = "{name: orders, namespace: shop}";
        let yaml = format!(
            "{{apiVersion: sluice.dev/v1alpha1, kind: Topic, metadata: {metadata}, spec: {{schema: {schema}}}}}"
        );
        serde_saphyr::from_str(&yaml).unwrap()
    }

    /// A ConfigMap, where there is one.
    type Data<'a> = Option<&'a [(&'a str, &'a str)]>;

    fn judge(schema: &str, data: Data<'_>) -> Result<WantedSchema, Rejection> {
        let topic = topic(schema);
        let data = data.map(|data| data.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect());
        wanted_schema(&topic, topic.spec.schema.as_ref().unwrap(), "shop.orders", &settings(), data.as_ref())
    }

    fn wanted(compatibility: Option<Compatibility>, policy: ManagementPolicy) -> WantedSchema {
        let wanted = judge(&format!("{{format: Avro, definition: {{inline: '{AVRO}'}}}}"), None).unwrap();
        WantedSchema { compatibility, policy, ..wanted }
    }

    fn version(version: i32) -> SchemaVersion {
        SchemaVersion { id: i64::from(version) + 100, version }
    }

    fn state(compatibility: Option<&str>, newest: Option<i32>) -> SubjectState {
        SubjectState { compatibility: compatibility.map(str::to_owned), newest: newest.map(version) }
    }

    #[test]
    fn a_schema_is_registered_for_the_values_of_its_topic() {
        let wanted = wanted(None, ManagementPolicy::Full);
        assert_eq!((wanted.registry.as_str(), wanted.subject.as_str()), ("default", "shop.orders-value"));
        let named = judge("{format: Protobuf, subject: Order, definition: {inline: 'syntax = \"proto3\";'}}", None);
        assert_eq!(named.unwrap().subject, "Order");
    }

    #[test]
    fn what_is_wrong_with_a_schema_is_said_with_its_field() {
        let named = "{format: Json, definition: {configMapRef: {name: schemas, key: order.json}}}";
        let inline = |rest: &str| format!("{{format: Avro, definition: {{inline: '{{'}}{rest}}}");
        let cases: [(&str, Data<'_>, &str, Reason); 5] = [
            (&inline(""), None, "spec.schema.definition.inline: it is no JSON: EOF", Reason::Invalid),
            (&inline(", registry: east"), None, "no schema registry \"east\"; it has: default", Reason::Invalid),
            (named, None, "there is no ConfigMap \"schemas\"", Reason::NotFound),
            (named, Some(&[("other", "{}")]), "there is no key \"order.json\"", Reason::NotFound),
            (named, Some(&[("order.json", "no")]), "configMapRef: it is no JSON", Reason::Invalid),
        ];
        for (schema, data, message, reason) in cases {
            let rejection = judge(schema, data).unwrap_err();
            assert!(rejection.to_string().contains(message), "{rejection}");
            assert_eq!(rejection.reason, reason);
        }
        assert_eq!(judge(named, Some(&[("order.json", "{}")])).unwrap().text, "{}");
    }

    #[test]
    fn a_subject_that_is_not_named_after_the_topic_may_belong_to_others() {
        let mut limited = settings();
        limited.tenancy = Some(Tenancy::default());
        let judge = |subject: &str| {
            let topic = topic(&format!("{{format: Avro, subject: {subject}, definition: {{inline: '{AVRO}'}}}}"));
            let schema = topic.spec.schema.as_ref().unwrap();
            wanted_schema(&topic, schema, "legacy", &limited, None).map(drop).map_err(|rejection| rejection.reason)
        };
        assert_eq!((judge("legacy-key"), judge("shop.Order")), (Ok(()), Ok(())));
        assert_eq!(judge("bank.Order"), Err(Reason::OutsideTenancy));
        let reference = |subject: &str| {
            let references = format!("references: [{{name: Customer, subject: {subject}, version: 1}}]");
            let topic = topic(&format!("{{format: Avro, definition: {{inline: '{AVRO}'}}, {references}}}"));
            let schema = topic.spec.schema.as_ref().unwrap();
            wanted_schema(&topic, schema, "shop.orders", &limited, None).map(|wanted| wanted.references.len())
        };
        assert_eq!(reference("shop.customers-value").unwrap(), 1);
        let rejection = reference("bank.customers-value").unwrap_err();
        assert_eq!(
            (rejection.field.as_str(), rejection.reason),
            ("spec.schema.references[0].subject", Reason::OutsideTenancy)
        );
        assert!(!allows_subject(limited.tenancy.as_ref(), "shop", "legacy", "legacy2-value"));
    }

    #[test]
    fn compatibility_is_set_before_a_version_is_registered() {
        let wanted = wanted(Some(Compatibility::BackwardTransitive), ManagementPolicy::Full);
        let set = SchemaChange::SetCompatibility(Compatibility::BackwardTransitive);
        let changes = |state, ours| plan_schema(&wanted, &state, ours).changes;
        assert_eq!(changes(state(None, None), None), [set, SchemaChange::Register]);
        assert_eq!(changes(state(Some("FULL"), Some(1)), Some(version(1))), [set]);
        assert_eq!(changes(state(Some("BACKWARD_TRANSITIVE"), Some(1)), None), [SchemaChange::Register]);
        let at_rest = plan_schema(&wanted, &state(Some("BACKWARD_TRANSITIVE"), Some(2)), Some(version(2)));
        assert_eq!((at_rest.changes.len(), at_rest.withheld.len()), (0, 0));
    }

    #[test]
    fn that_nothing_is_compared_is_said_of_a_subject_that_exists() {
        let wanted = wanted(Some(Compatibility::None), ManagementPolicy::Full);
        let set = SchemaChange::SetCompatibility(Compatibility::None);
        let changes = |state, ours| plan_schema(&wanted, &state, ours).changes;
        assert_eq!(changes(state(None, None), None), [SchemaChange::Register, set]);
        assert_eq!(changes(state(None, Some(1)), Some(version(1))), [set]);
        assert_eq!(changes(state(Some("FULL"), Some(1)), None), [set, SchemaChange::Register]);
    }

    #[test]
    fn a_schema_is_not_made_the_newest_again() {
        let plan = plan_schema(&wanted(None, ManagementPolicy::Full), &state(None, Some(3)), Some(version(1)));
        assert_eq!(plan.changes, []);
        assert!(plan.withheld[0].starts_with("version 1 holds the schema, and version 3 was"), "{plan:?}");
        assert!(!plan.by_policy);
    }

    #[test]
    fn a_policy_shows_what_it_forbids() {
        let compatibility = Some(Compatibility::Full);
        let of = |policy, newest| plan_schema(&wanted(compatibility, policy), &state(None, newest), None);
        assert_eq!(of(ManagementPolicy::CreateOnly, None).changes.len(), 2);
        for plan in [of(ManagementPolicy::CreateOnly, Some(1)), of(ManagementPolicy::Observe, None)] {
            assert_eq!(plan.changes, []);
            let expected = ["its compatibility is not set and not FULL", "no version of it holds the schema"];
            assert_eq!((plan.withheld.as_slice(), plan.by_policy), (expected.map(str::to_owned).as_slice(), true));
        }
    }
}
