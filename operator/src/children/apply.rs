//! Carries out a plan over Kubernetes objects.

use kube::{
    Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::json;
use sluice_model::children::{Change, Child, ChildKind, Plan};
use tracing::info;

use super::{FIELD_MANAGER, api};
use crate::error::{Doing, Error};

/// Makes the changes, in order. What was made before an error stays: the next pass goes on from there. Error:
/// [`Error::Overtaken`] where an object is no longer what the plan was made for.
pub async fn apply(client: &Client, namespace: &str, plan: &Plan) -> Result<(), Error> {
    for change in &plan.changes {
        carry_out(client, namespace, change).await.map_err(|error| match error {
            Error::Stale => Error::Overtaken,
            error => error,
        })?;
    }
    Ok(())
}

async fn carry_out(client: &Client, namespace: &str, change: &Change) -> Result<(), Error> {
    match change {
        Change::Create(child) => create(client, namespace, child).await,
        Change::Update { child, uid, resource_version, differences } => {
            update(client, namespace, child, (uid, resource_version)).await?;
            let differences = differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            info!(kind = child.kind.api().1, name = %child.name, %differences, "Object repaired");
            Ok(())
        }
        Change::Delete { kind, name, uid, resource_version } => {
            let preconditions =
                Preconditions { uid: Some(uid.clone()), resource_version: Some(resource_version.clone()) };
            delete(client, *kind, namespace, name, preconditions).await
        }
    }
}

/// Applied without force: where somebody made an object of that name in the meantime, its fields are not taken over.
async fn create(client: &Client, namespace: &str, child: &Child) -> Result<(), Error> {
    let parameters = PatchParams::apply(FIELD_MANAGER).validation_strict();
    let created =
        api(client, child.kind, namespace).patch(&child.name, &parameters, &Patch::Apply(&child.manifest)).await;
    created.doing(|| doing("create", child.kind, namespace, &child.name))?;
    info!(kind = child.kind.api().1, name = %child.name, "Object created");
    Ok(())
}

/// Applied with force: what others wrote into our fields is taken back. Uid and resourceVersion, as they were observed, make sure
/// that it is still the same object and has not changed: the request may arrive after another replica has taken over.
async fn update(client: &Client, namespace: &str, child: &Child, observed: (&str, &str)) -> Result<(), Error> {
    let mut manifest = child.manifest.clone();
    (manifest["metadata"]["uid"], manifest["metadata"]["resourceVersion"]) = (json!(observed.0), json!(observed.1));
    let parameters = PatchParams::apply(FIELD_MANAGER).force().validation_strict();
    let updated = api(client, child.kind, namespace).patch(&child.name, &parameters, &Patch::Apply(&manifest)).await;
    updated.map(drop).doing(|| doing("update", child.kind, namespace, &child.name))
}

async fn delete(
    client: &Client,
    kind: ChildKind,
    namespace: &str,
    name: &str,
    preconditions: Preconditions,
) -> Result<(), Error> {
    let parameters = DeleteParams::background().preconditions(preconditions);
    match api(client, kind, namespace).delete(name, &parameters).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        deleted => {
            deleted.doing(|| doing("delete", kind, namespace, name))?;
            info!(kind = kind.api().1, name, "Object deleted");
            Ok(())
        }
    }
}

fn doing(verb: &str, kind: ChildKind, namespace: &str, name: &str) -> String {
    format!("{verb} {} \"{namespace}/{name}\"", kind.api().1)
}
