//! Writes a status: only what changed, and only over the version that was looked at.

use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Map, Value, json};

use crate::{
    children::FIELD_MANAGER,
    controller::Kind,
    error::{Doing, Error},
};

/// Whether there was anything to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The object has a newer version now.
    Changed,
    /// The status says already what it should.
    Unchanged,
}

/// Writes the status where it differs from the one that was seen. Error: [`Error::Stale`] where somebody wrote meanwhile.
pub async fn write<K: Kind>(client: &Client, object: &K, status: &K::Status) -> Result<Written, Error> {
    let before = object.status().map(to_value).unwrap_or_default();
    let Some(change) = merge_patch(&before, &to_value(status)) else { return Ok(Written::Unchanged) };
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let patch = json!({"metadata": {"resourceVersion": object.resource_version()}, "status": change});
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let written =
        Api::<K>::namespaced(client.clone(), &namespace).patch_status(&name, &parameters, &Patch::Merge(patch)).await;
    match written {
        // It was deleted meanwhile: there is nothing to say any more.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Written::Unchanged),
        written => {
            written.doing(|| format!("write the status of {} \"{namespace}/{name}\"", K::NAME))?;
            Ok(Written::Changed)
        }
    }
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
    use serde_json::json;

    use super::merge_patch;

    #[test]
    fn a_patch_says_only_what_changed() {
        let from = json!({"lag": "3", "gone": 1, "pending": {"hash": "a", "old": 1}, "same": [1]});
        let to = json!({"lag": "0", "pending": {"hash": "b"}, "same": [1], "new": true});
        let patch = json!({"gone": null, "lag": "0", "pending": {"hash": "b", "old": null}, "new": true});
        assert_eq!(merge_patch(&from, &to), Some(patch));
        assert_eq!(merge_patch(&to, &to), None);
    }
}
