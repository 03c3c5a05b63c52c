//! Carries out a plan over Kubernetes objects.

use std::future::Future;

use kube::{
    Client,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::json;
use sluice_model::children::{Change, Child, ChildKind, Live, Plan, find};
use tracing::info;

use super::{FIELD_MANAGER, api, get};
use crate::error::{Doing, Error};

/// Writes over newer versions that one change may need: others may write the rest of an object that fast.
const VERSIONS: usize = 4;

/// Makes the changes, in order, of a plan that was made for `live`. What was made before an error stays: the next pass goes on from there. Error:
/// [`Error::Overtaken`] where an object is no longer what the plan was made for.
pub async fn apply(client: &Client, namespace: &str, plan: &Plan, live: &[Live]) -> Result<(), Error> {
    for change in &plan.changes {
        carry_out(client, namespace, change, live).await.map_err(|error| match error {
            Error::Stale => Error::Overtaken,
            error => error,
        })?;
    }
    Ok(())
}

async fn carry_out(client: &Client, namespace: &str, change: &Change, live: &[Live]) -> Result<(), Error> {
    match change {
        Change::Create(child) => create(client, namespace, child).await,
        Change::Update { child, uid, resource_version, differences } => {
            let write = move |version: String| async move {
                let observed = (uid.as_str(), version.as_str());
                update(client, namespace, child, observed).await
            };
            let looked_at = find(live, child.kind, &child.name);
            over_newer(client, looked_at, resource_version, write).await?;
            let differences = differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            info!(kind = child.kind.api().1, name = %child.name, %differences, "Object repaired");
            Ok(())
        }
        Change::Delete { kind, name, uid, resource_version } => {
            let write = move |version: String| async move {
                let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: Some(version) };
                delete(client, *kind, namespace, name, preconditions).await
            };
            over_newer(client, find(live, *kind, name), resource_version, write).await
        }
    }
}

/// Writes over the version that was looked at. Where others have written the object since, and the plan is right for it all the same, over theirs:
/// whoever notes something on it, or writes its status, faster than a pass comes to it would hold it up for ever.
async fn over_newer<F: Future<Output = Result<(), Error>>>(
    client: &Client,
    looked_at: Option<&Live>,
    version: &str,
    write: impl Fn(String) -> F,
) -> Result<(), Error> {
    let mut version = version.to_owned();
    for _ in 0..VERSIONS {
        match write(version.clone()).await {
            Err(Error::Stale) => {}
            written => return written,
        }
        let Some(looked_at) = looked_at else { return Err(Error::Stale) };
        let newer = get(client, looked_at.kind, looked_at.metadata("namespace"), &looked_at.name).await?.there();
        let Some(newer) = newer.filter(|newer| looked_at.is_still(newer)) else { return Err(Error::Stale) };
        newer.metadata("resourceVersion").clone_into(&mut version);
    }
    Err(Error::Stale)
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

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use sluice_model::children::Difference;

    use super::*;
    use crate::kubernetes::answers::{Asked, answers, conflict};

    const NAME: &str = "to-api-worker";

    /// The workers' Deployment in this version.
    fn deployment(version: &str, replicas: i32, note: &str) -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {
                "name": NAME, "namespace": "shop", "uid": "a", "resourceVersion": version,
                "annotations": {"sluice.dev/applied": "0", "others/note": note},
            },
            "spec": {"replicas": replicas}, "status": {"observedGeneration": version.len()},
        })
    }

    fn update() -> Change {
        let child = Child { kind: ChildKind::Deployment, name: NAME.to_owned(), manifest: json!({"metadata": {}}) };
        let difference =
            Difference { path: "spec.replicas".to_owned(), from: Some("1".to_owned()), to: "2".to_owned() };
        let [uid, resource_version] = ["a", "7"].map(str::to_owned);
        Change::Update { child, uid, resource_version, differences: vec![difference] }
    }

    fn delete() -> Change {
        let [name, uid, resource_version] = [NAME, "a", "7"].map(str::to_owned);
        Change::Delete { kind: ChildKind::Deployment, name, uid, resource_version }
    }

    /// Makes a change of the Deployment that was seen in version 7, and gives what comes of it.
    async fn apply_change(client: &Client, change: Change) -> Result<(), Error> {
        let object = deployment("7", 1, "");
        let live = Live { kind: ChildKind::Deployment, name: NAME.to_owned(), object };
        apply(client, "shop", &Plan { changes: vec![change], ..Plan::default() }, &[live]).await
    }

    /// The versions over which was written.
    fn versions(asked: &Asked, place: &str) -> Vec<Value> {
        let asked = asked.lock().unwrap();
        asked.iter().filter_map(|sent| sent.pointer(place)).cloned().collect()
    }

    #[tokio::test]
    async fn what_others_write_beside_it_holds_up_no_change() {
        for (change, place) in [(update(), "/metadata/resourceVersion"), (delete(), "/preconditions/resourceVersion")] {
            let newer = |version| (200, deployment(version, 1, version));
            let (client, asked) = answers([conflict(), newer("8"), conflict(), newer("9"), newer("10")]);
            apply_change(&client, change).await.unwrap();
            assert_eq!(versions(&asked, place), ["7", "8", "9"]);
        }
    }

    #[tokio::test]
    async fn what_is_no_longer_what_the_plan_was_made_for_is_not_changed() {
        for change in [update(), delete()] {
            let (client, asked) = answers([conflict(), (200, deployment("8", 3, ""))]);
            let overtaken = apply_change(&client, change).await;
            assert!(matches!(overtaken, Err(Error::Overtaken)), "{overtaken:?}");
            assert_eq!(asked.lock().unwrap().len(), 2);
        }
    }
}
