//! How many pods of a data plane may be put out at a time, as when a node is drained.

use serde_json::json;

use super::{Child, ChildKind, Owner, SHARED};

impl Owner {
    /// One pod at a time, where at most `most` are to run. Of one alone there is nothing to say: it could never be put out, or always.
    /// A pod that does not work may always be put out, so that it holds up no drain.
    pub(crate) fn disruption_budget(&self, component: &str, most: i32) -> Option<Child> {
        let body = json!({"spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": self.selector(component)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        }});
        let name = self.data_plane(component);
        (most > 1).then(|| self.child(ChildKind::PodDisruptionBudget, component, &name, body))
    }

    /// The name of the Deployment of a component, and of what goes with it.
    pub fn data_plane(&self, component: &str) -> String {
        match self.kind {
            SHARED => self.name.name.clone(),
            _ => format!("{}-{component}", self.name.name),
        }
    }
}
