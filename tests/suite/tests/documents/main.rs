//! What users copy works: every manifest of `examples` and of the pages is taken by a real API server as it stands, and by the operator.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod judge;
mod places;

use std::collections::BTreeSet;

use kube::{
    Api,
    api::{DynamicObject, GroupVersionKind, Patch, PatchParams},
    discovery::{Scope, pinned_kind},
};
use serde_json::{Map, Value, json};
use sluice_crds::Settings;
use sluice_suite::{Stage, definitions::definitions, until, world::PATIENCE};

use crate::places::{blocks, example_folders, pages, places};

/// Places without which the test would pass by finding nothing.
const KNOWN: [&str; 6] = [
    "README.md",
    "docs/integrations.md",
    "docs/providers.md",
    "docs/topics.md",
    "examples/quickstart",
    "examples/topic-to-topic",
];

#[tokio::test]
async fn what_users_copy_is_taken_by_the_api_server_and_by_the_operator() {
    let stage = Stage::begin("documents").await.unwrap();
    define_keda(&stage).await;
    let places = places();
    for known in KNOWN {
        assert!(places.iter().any(|place| place.name == known), "no manifest was found in {known}");
    }
    let mut complaints = Vec::new();
    for place in &places {
        for manifest in &place.manifests {
            let of_api_server = dry_run(&stage, &manifest.object).await.err();
            let of_operator = judge::complaint(place, &manifest.object);
            complaints.extend(of_api_server.map(|complaint| format!("{}: the API server: {complaint}", manifest.at)));
            complaints.extend(of_operator.map(|complaint| format!("{}: the operator: {complaint}", manifest.at)));
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// KEDA's kinds, as its module defines them.
async fn define_keda(stage: &Stage) {
    let versions = [include_str!("keda/go.mod"), include_str!("keda/go.sum")];
    let files = "config/crd/bases/keda.sh_{scaledobjects,triggerauthentications}.yaml";
    let folder = definitions("keda", versions, "github.com/kedacore/keda/v2", files).unwrap();
    for (plural, kind) in [("scaledobjects", "ScaledObject"), ("triggerauthentications", "TriggerAuthentication")] {
        let file = folder.join(format!("keda.sh_{plural}.yaml")).display().to_string();
        stage.kubectl(&["apply", "--server-side", "-f", &file]).unwrap();
        let kind = GroupVersionKind::gvk("keda.sh", "v1alpha1", kind);
        until("the API server serves it", PATIENCE, || async {
            pinned_kind(&stage.client, &kind).await.map(drop).map_err(|error| error.to_string())
        })
        .await
        .unwrap();
    }
}

/// Applies an object in the test's namespace, as kubectl would, without making anything: fields that do not exist are errors. Of kinds
/// that other projects bring along nothing is known here but KEDA's.
async fn dry_run(stage: &Stage, object: &Value) -> Result<(), String> {
    let [api_version, kind] = ["apiVersion", "kind"].map(|key| object[key].as_str().unwrap_or_default());
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    if group.contains('.') && !group.ends_with(".k8s.io") && !["sluice.dev", "keda.sh"].contains(&group) {
        return Ok(());
    }
    let kind = GroupVersionKind::gvk(group, version, kind);
    let (resource, capabilities) = pinned_kind(&stage.client, &kind).await.map_err(|error| error.to_string())?;
    let mut object = object.clone();
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Namespaced => {
            object["metadata"]["namespace"] = json!(stage.namespace);
            Api::namespaced_with(stage.client.clone(), &stage.namespace, &resource)
        }
        Scope::Cluster => Api::all_with(stage.client.clone(), &resource),
    };
    let name = object["metadata"]["name"].as_str().ok_or("it has no name")?.to_owned();
    let parameters = PatchParams::apply("kubectl").force().dry_run().validation_strict();
    api.patch(&name, &parameters, &Patch::Apply(object)).await.map(drop).map_err(|error| error.to_string())
}

/// `kubectl apply -k` applies all files of an example, and none is left lying there.
#[test]
fn an_example_names_all_of_its_files() {
    for folder in example_folders() {
        let kustomization = &folder.kustomization;
        let resources = kustomization["resources"].as_array().into_iter().flatten();
        let named: BTreeSet<&str> = resources.filter_map(Value::as_str).collect();
        let files: BTreeSet<&str> = folder.files.iter().map(String::as_str).collect();
        assert_eq!(named, files, "{}", folder.name);
    }
}

/// Blocks that begin with this are a part of that file.
const OPERATOR: &str = "# manifests/operator/config.yaml\n";

#[test]
fn what_pages_write_into_the_operators_configuration_is_read_by_it() {
    let parts = pages()
        .into_iter()
        .flat_map(|(page, text)| blocks(&text).into_iter().map(move |(line, block)| (format!("{page}:{line}"), block)));
    let parts: Vec<_> = parts.filter(|(_, block)| block.starts_with(OPERATOR)).collect();
    assert!(!parts.is_empty());
    for (at, part) in parts {
        let mut settings = json!({"clusters": {}, "images": {"receiver": "r", "worker": "w"}});
        let part: Map<String, Value> = serde_saphyr::from_str(&part).unwrap_or_else(|error| panic!("{at}: {error}"));
        settings.as_object_mut().unwrap().extend(part);
        serde_json::from_value::<Settings>(settings).unwrap_or_else(|error| panic!("{at}: {error}"));
    }
}
