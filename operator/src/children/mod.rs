//! The Kubernetes objects that a Webhook or an Integration owns: how they are read and changed.

mod apply;
mod observe;
mod pods;
mod remembered;

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
};
use sluice_model::children::{self, ChildKind, Plan, SeenPod};

pub use sluice_model::children::FIELD_MANAGER;

pub use apply::apply;
pub use observe::{Existence, get, list, observe};
pub use pods::{Pods, hear, list_pods};
pub use remembered::remembered;

/// Whether an object of somebody else is gone, whose name is that of one that is needed, no watch tells: it need have no label of ours.
pub const LOOK_AT_CONFLICT: Duration = Duration::from_secs(30);

/// The objects of a kind in a namespace.
fn api(client: &Client, kind: ChildKind, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &api_resource(kind))
}

/// How the API server calls a kind.
pub fn api_resource(kind: ChildKind) -> ApiResource {
    let (api_version, name) = kind.api();
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.to_owned(),
        kind: name.to_owned(),
        plural: plural(kind).to_owned(),
    }
}

const fn plural(kind: ChildKind) -> &'static str {
    match kind {
        ChildKind::Topic => "topics",
        ChildKind::ConfigMap => "configmaps",
        ChildKind::Deployment => "deployments",
        ChildKind::Service => "services",
        ChildKind::HttpRoute => "httproutes",
        ChildKind::Ingress => "ingresses",
        ChildKind::KongPlugin => "kongplugins",
        ChildKind::PodDisruptionBudget => "poddisruptionbudgets",
        ChildKind::NetworkPolicy => "networkpolicies",
        ChildKind::AwsApi => "apis",
        ChildKind::AwsVpcLink => "vpclinks",
        ChildKind::AwsIntegration => "integrations",
        ChildKind::AwsRoute => "routes",
        ChildKind::AwsStage => "stages",
    }
}

/// Whether a change of such an object wakes its owner. Kinds that only some clusters have, and few Webhooks use, are not watched: each would
/// cost every cluster a request twice a minute, to see whether it has come.
pub const fn is_watched(kind: ChildKind) -> bool {
    match kind {
        ChildKind::Topic
        | ChildKind::ConfigMap
        | ChildKind::Deployment
        | ChildKind::Service
        | ChildKind::HttpRoute
        | ChildKind::Ingress
        | ChildKind::PodDisruptionBudget
        | ChildKind::NetworkPolicy => true,
        ChildKind::KongPlugin
        | ChildKind::AwsApi
        | ChildKind::AwsVpcLink
        | ChildKind::AwsIntegration
        | ChildKind::AwsRoute
        | ChildKind::AwsStage => false,
    }
}

/// When to look again, though no watch says so: at pods that do not become ready, and at names that objects of somebody else hold.
pub fn look_again(plan: &Plan, pods: &[SeenPod], now: Timestamp) -> Option<Duration> {
    let at_conflict = (!plan.withheld.is_empty()).then_some(LOOK_AT_CONFLICT);
    children::look_again(pods, now).into_iter().chain(at_conflict).min()
}
