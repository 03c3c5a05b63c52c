//! Writes a status: only what changed, and only over the version that was looked at.

use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Map, Value, json};

use crate::{
    children::FIELD_MANAGER,
    controller::{Kind, version_of},
    error::{Doing, Error},
};

/// Whether there was anything to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The object has a newer version now.
    Changed {
        /// This one.
        version: u64,
    },
    /// The status says already what it should.
    Unchanged,
}

/// Writes over newer versions that one write may need: somebody else's changes to the rest of the object come that fast.
const VERSIONS: usize = 4;

/// Writes the status where it differs from the one that was seen. Error: [`Error::Stale`] where another status was written
/// meanwhile, or the object is about to go, with nothing that it holds on for, or is another one. Other changes do not hold it up: an object that others annotate, or
/// whose spec changes, faster than a pass ends would never get a status. Its `observedGeneration` says which spec it is about. Nor do those in the
/// parts `beside`, which are not written here: numbers may change as often.
pub async fn write<K: Kind>(
    client: &Client,
    object: &K,
    status: &K::Status,
    beside: &[&str],
) -> Result<Written, Error> {
    let before = object.status().map(to_value).unwrap_or_default();
    let Some(change) = merge_patch(&before, &to_value(status)) else { return Ok(Written::Unchanged) };
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let api = Api::<K>::namespaced(client.clone(), &namespace);
    let parameters = PatchParams::apply(FIELD_MANAGER);
    let mut version = object.resource_version();
    for _ in 0..VERSIONS {
        let patch = json!({"metadata": {"resourceVersion": version}, "status": change});
        match api.patch_status(&name, &parameters, &Patch::Merge(patch)).await {
            Err(kube::Error::Api(refusal)) if refusal.is_conflict() => {}
            // It was deleted meanwhile: there is nothing to say any more.
            Err(kube::Error::Api(refusal)) if refusal.is_not_found() => return Ok(Written::Unchanged),
            written => {
                let written = written.doing(|| format!("write the status of {} \"{namespace}/{name}\"", K::NAME))?;
                return Ok(Written::Changed { version: version_of(written.meta()) });
            }
        }
        let newer = api.get_opt(&name).await;
        let newer = newer.doing(|| format!("read {} \"{namespace}/{name}\"", K::NAME))?;
        let Some(newer) = newer else { return Ok(Written::Unchanged) };
        if subject(&newer, beside) != subject(object, beside) {
            return Err(Error::Stale);
        }
        version = newer.resource_version();
    }
    Err(Error::Stale)
}

/// What a status speaks of: which object, whether it is going, and what was said before, but for the parts `beside`. One that holds on in its
/// deletion is not: what a pass notes of Kafka is what its farewell has to delete.
fn subject<'a, K: Kind>(object: &'a K, beside: &[&str]) -> (Option<&'a str>, bool, Option<Value>) {
    let meta = object.meta();
    let said = object.status().map(to_value).map(|mut said| {
        if let Some(parts) = said.as_object_mut() {
            parts.retain(|part, _| !beside.contains(&part.as_str()));
        }
        said
    });
    (meta.uid.as_deref(), meta.deletion_timestamp.is_some() && !object.holds_on(), said)
}

fn to_value(status: &impl serde::Serialize) -> Value {
    serde_json::to_value(status).expect("a status is plain data")
}

/// The JSON merge patch (RFC 7386) that turns `from` into `to`; `None` where they are equal.
fn merge_patch(from: &Value, to: &Value) -> Option<Value> {
    if from == to {
        return None;
    }
    let (Value::Object(from), Value::Object(to)) = (from, to) else { return Some(to.clone()) };
    let mut patch = Map::new();
    for key in from.keys().filter(|key| !to.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in to {
        match from.get(key) {
            Some(before) => patch.extend(merge_patch(before, value).map(|change| (key.clone(), change))),
            None => drop(patch.insert(key.clone(), value.clone())),
        }
    }
    Some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use sluice_crds::Integration;

    use super::*;
    use crate::kubernetes::answers::answers;

    /// An Integration in this version with this status.
    fn integration(version: &str, status: &Value) -> Integration {
        let metadata = json!({"name": "to-api", "namespace": "shop", "uid": "a", "resourceVersion": version});
        let spec = json!({"source": {"topic": {"name": "orders"}}, "sink": {"http": {"url": "https://api.example/"}}});
        let (api_version, kind) = ("sluice.dev/v1alpha1", "Integration");
        let object =
            json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec, "status": status});
        serde_json::from_value(object).unwrap()
    }

    /// Writes the status of an Integration that says otherwise by then, as is known once it was written.
    async fn write_over(now: &Value, beside: &[&str]) -> Result<Written, Error> {
        let before = integration("7", &json!({"lag": "0", "sink": "old"}));
        let newer = (200, json!(integration("8", now)));
        let conflict = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 409, "reason": "Conflict", "message": "no",
        });
        let (client, _) = answers([(409, conflict), newer, (200, json!(integration("9", now)))]);
        let mut status = before.status.clone().unwrap();
        status.sink = Some("new".to_owned());
        write(&client, &before, &status, beside).await
    }

    #[tokio::test]
    async fn numbers_that_change_meanwhile_hold_up_no_status_and_all_else_does() {
        let numbers = json!({"lag": "5", "sink": "old"});
        let written = write_over(&numbers, &["lag"]).await.unwrap();
        assert_eq!(written, Written::Changed { version: 9 });
        let other = json!({"lag": "0", "sink": "other"});
        for stale in [write_over(&numbers, &[]).await, write_over(&other, &["lag"]).await] {
            assert!(matches!(stale, Err(Error::Stale)), "{stale:?}");
        }
    }

    #[test]
    fn a_patch_says_only_what_changed() {
        let from = json!({"lag": "3", "gone": 1, "pending": {"hash": "a", "old": 1}, "same": [1]});
        let to = json!({"lag": "0", "pending": {"hash": "b"}, "same": [1], "new": true});
        let patch = json!({"gone": null, "lag": "0", "pending": {"hash": "b", "old": null}, "new": true});
        assert_eq!(merge_patch(&from, &to), Some(patch));
        assert_eq!(merge_patch(&to, &to), None);
    }
}
