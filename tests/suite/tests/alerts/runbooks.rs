//! Runbooks speak of what exists: metrics, fields, reasons, labels and names. The commands in them are run on a real node by
//! `--test node -- runbooks`.

use std::{collections::BTreeSet, fs};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::Value;
use sluice_crds::{
    definitions,
    metrics::{CHAPTERS, Values},
};
use sluice_model::{
    children::{SHARED, owner_label},
    integration,
    webhook::SHARED_RECEIVERS,
};
use sluice_suite::checkout;

use crate::{alerts, metrics_in, rules, samples};

/// Words of Kubernetes and of the shell that look like ours.
const FOREIGN: [&str; 9] =
    ["Bad", "Forbidden", "OOMKilled", "OpenSSL", "Running", "NetworkPolicy", "ConfigMap", "ReplicaSet", "Secret"];

/// One page.
struct Runbook {
    name: String,
    text: String,
}

impl Runbook {
    fn all() -> Vec<Self> {
        let files = fs::read_dir(checkout("docs/runbooks").unwrap()).unwrap().map(|file| file.unwrap().path());
        let page = |path: std::path::PathBuf| Self {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            text: fs::read_to_string(path).unwrap(),
        };
        files.map(page).collect()
    }

    /// The lines of its commands.
    fn commands(&self) -> Vec<&str> {
        let blocks = self.text.split("```sh\n").skip(1).filter_map(|block| block.split_once("```"));
        blocks.flat_map(|(commands, _)| commands.lines()).collect()
    }

    /// What stands in backticks outside the blocks of commands.
    fn words(&self) -> Vec<&str> {
        let prose = self.text.split("```").step_by(2);
        prose.flat_map(|prose| prose.split('`').skip(1).step_by(2)).collect()
    }
}

/// The names that schemas have for fields and values.
#[derive(Default)]
struct Vocabulary {
    /// From `spec` or `status` on.
    fields: BTreeSet<String>,
    names: BTreeSet<String>,
    values: BTreeSet<String>,
}

impl Vocabulary {
    /// Of all kinds, or of the one whose plural is that.
    fn of(plural: Option<&str>) -> Self {
        let mut all = Self::default();
        for definition in definitions() {
            if plural.is_none_or(|plural| definition.spec.names.plural == plural) {
                let version = definition.spec.versions.into_iter().next().unwrap();
                all.read("", &version.schema.unwrap().open_api_v3_schema.unwrap());
                let columns = version.additional_printer_columns.unwrap_or_default();
                all.values.extend(columns.into_iter().map(|column| column.name.to_uppercase()));
                all.values.insert(definition.spec.names.kind);
            }
        }
        all
    }

    fn read(&mut self, place: &str, schema: &JSONSchemaProps) {
        let texts = schema.enum_.iter().flatten().filter_map(|value| value.0.as_str());
        self.values.extend(texts.map(str::to_owned));
        for part in schema.all_of.iter().flatten() {
            self.read(place, part);
        }
        for (name, schema) in schema.properties.iter().flatten() {
            let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
            self.read(&place, schema);
            self.names.insert(name.clone());
            self.fields.insert(place);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
            self.read(place, items);
        }
        if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
            self.read(place, values);
        }
    }
}

/// Every `spec.a.b` and `status.a.b` of a text.
fn fields_in(text: &str) -> Vec<&str> {
    let parts = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_');
    let fields = parts.map(|part| part.trim_matches('.'));
    fields.filter(|field| field.starts_with("spec.") || field.starts_with("status.")).collect()
}

/// Every `$NAME` of a text.
fn variables_in(text: &str) -> BTreeSet<&str> {
    let names = text.split('$').skip(1).map(|rest| rest.trim_start_matches('{'));
    let end = |rest: &str| rest.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(rest.len());
    names.map(|rest| &rest[..end(rest)]).filter(|name| !name.is_empty()).collect()
}

/// The types and reasons of conditions, and what metrics' labels say.
fn said() -> BTreeSet<String> {
    let conditions = include_str!("../../../../crds/src/condition.rs");
    let variants = conditions.lines().filter_map(|line| line.strip_prefix("    ")?.strip_suffix(','));
    let is_word = |word: &&str| word.chars().all(char::is_alphanumeric) && word.starts_with(char::is_uppercase);
    let labels = CHAPTERS.iter().flat_map(|chapter| chapter.metrics).flat_map(|metric| metric.labels);
    let listed = labels.filter_map(|label| match label.values {
        Values::OneOf(values) => Some(values),
        Values::AsMany(_) => None,
    });
    let listed = listed.flatten().copied();
    variants.filter(is_word).chain(listed).chain(["DataError", "DeliveryError", "Timeout"]).map(str::to_owned).collect()
}

/// The words of the generated page about the operator's configuration that stand in backticks.
fn settings() -> BTreeSet<String> {
    let page = fs::read_to_string(checkout("docs/configuration.md").unwrap()).unwrap();
    let quoted =
        page.split('`').skip(1).step_by(2).flat_map(|quoted| quoted.split(|c: char| !c.is_ascii_alphanumeric()));
    quoted.map(str::to_owned).collect()
}

#[test]
fn fields_that_a_runbook_names_exist() {
    let all = Vocabulary::of(None);
    for page in Runbook::all() {
        for field in page.words().into_iter().flat_map(fields_in) {
            assert!(all.fields.contains(field), "{} names {field}, which no resource has", page.name);
        }
        for command in page.commands() {
            let Some((kind, _)) = command.split_once(".sluice.dev") else { continue };
            let plural = kind.rsplit(' ').next().unwrap();
            // An alert about all kinds has the kind as a label.
            let of_kind = Vocabulary::of(Some(plural).filter(|plural| *plural != "$KIND"));
            for field in fields_in(command) {
                assert!(of_kind.fields.contains(field), "{}: {plural} have no {field}: {command}", page.name);
            }
        }
    }
}

#[test]
fn words_that_a_runbook_quotes_are_said_by_something() {
    let (all, said, settings) = (Vocabulary::of(None), said(), settings());
    for page in Runbook::all() {
        for quoted in page.words() {
            let words = quoted.split(|c: char| !c.is_ascii_alphanumeric());
            for word in words.filter(|word| word.len() > 1) {
                let is_like_a_field = word.starts_with(|c: char| c.is_ascii_lowercase())
                    && word.contains(|c: char| c.is_ascii_uppercase());
                let is_like_a_reason = word.starts_with(|c: char| c.is_ascii_uppercase())
                    && word.contains(|c: char| c.is_ascii_lowercase())
                    && quoted == word;
                let is_known = all.names.contains(word)
                    || all.values.contains(word)
                    || said.contains(word)
                    || settings.contains(word)
                    || FOREIGN.contains(&word);
                assert!(is_known || !(is_like_a_field || is_like_a_reason), "{} quotes {word:?}", page.name);
            }
        }
    }
}

#[test]
fn metrics_that_a_runbook_names_exist() {
    let samples = samples();
    for page in Runbook::all() {
        for metric in metrics_in(&page.text) {
            assert!(samples.contains(metric), "{} names {metric}, which no program has", page.name);
        }
        for command in page.commands() {
            let Some((_, pattern)) = command.split_once("| grep ") else { continue };
            for part in pattern.trim_start_matches("-E ").trim_matches('\'').split('|') {
                let is_some = samples.iter().any(|sample| sample.contains(part));
                assert!(is_some, "{} looks for {part:?}, which no metric is called", page.name);
            }
        }
    }
}

/// How a runbook finds the receivers of a Webhook: its own, or those that it shares.
fn receivers_are_found() -> String {
    let (shared, own) = (owner_label(SHARED), owner_label("Webhook"));
    let mode = "kubectl get webhooks.sluice.dev -n $NAMESPACE $WEBHOOK -o jsonpath='{.spec.receiver.mode}'";
    format!("RECEIVERS=$({mode} | sed \"s|Shared|{shared}={SHARED_RECEIVERS}|; s|Dedicated|{own}=$WEBHOOK|\")")
}

#[test]
fn names_and_labels_in_the_commands_of_a_runbook_are_those_that_sluice_gives() {
    let programs = ["sluice-operator", "sluice-receiver", "sluice-worker", "$JOB"];
    let labels =
        [(owner_label("Integration"), "$INTEGRATION".to_owned()), (owner_label("Webhook"), "$WEBHOOK".to_owned())];
    let workloads = ["sluice-operator".to_owned(), format!("$INTEGRATION-{}", integration::COMPONENT)];
    let found = receivers_are_found();
    for page in Runbook::all() {
        let finds_receivers = page.commands().contains(&found.as_str());
        for command in page.commands() {
            let after = |what: &str| command.split_once(what).map(|(_, rest)| rest.split([' ', ')']).next().unwrap());
            let found_labels = after(" -l ").into_iter().flat_map(|labels| labels.split(','));
            for label in found_labels.filter(|label| !(finds_receivers && *label == "$RECEIVERS")) {
                let (key, value) = label.split_once('=').unwrap();
                let is_program = key == "app.kubernetes.io/name" && programs.contains(&value);
                let is_owner = labels.contains(&(key.to_owned(), value.to_owned()));
                assert!(is_program || is_owner, "{}: {label}", page.name);
            }
            if let Some(workload) = after(" deployment/") {
                assert!(workloads.iter().any(|known| known == workload), "{}: {workload}", page.name);
            }
        }
    }
}

#[test]
fn a_runbook_explains_its_variables_and_its_links_lead_somewhere() {
    let pages = Runbook::all();
    let folder = checkout("docs/runbooks").unwrap();
    let (rules, _rules) = rules();
    let alerts = alerts(&rules);
    for page in &pages {
        let words = page.words();
        for command in page.commands() {
            for variable in variables_in(command) {
                let is_set = page.commands().iter().any(|line| line.starts_with(&format!("{variable}=")));
                assert!(is_set || words.contains(&variable), "{} does not explain ${variable}", page.name);
            }
        }
        for link in page.text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let file = link.0.split('#').next().unwrap();
            assert!(folder.join(file).is_file(), "{} leads to {}", page.name, link.0);
        }
        let alert: &Value = alerts.iter().find(|alert| alert["alert"] == page.name.as_str()).unwrap();
        let text = page.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let Some((before, _)) = text.split_once(" are labels of the alert") else { continue };
        let sentence = before.rsplit('.').next().unwrap();
        for label in sentence.split('`').skip(1).step_by(2) {
            let expression = alert["expr"].as_str().unwrap();
            let groups = expression.split("by (").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
            let mut labels = groups.map(|group| group.split(", ").any(|one| one == label.to_lowercase()));
            assert!(labels.any(|has| has), "{} has no label {label}: {expression}", page.name);
        }
    }
}
