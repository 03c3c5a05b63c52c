//! Workers in the number that the lag needs.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::Duration;

/// Workers in the number that the lag needs, as Sluice measures it at the broker. The spec's `replicas` counts for nothing then.
///
/// More than the source has partitions are stopped, as they would have nothing to do. While the lag is not known the workers
/// that run go on, and there are at least `minReplicas`. An autoscaler of Kubernetes may drive `replicas` instead, through the
/// subresource `scale`: without this, as what it sets is refused beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.minReplicas <= self.maxReplicas")
    .message("scaling: maxReplicas is smaller than minReplicas; make it larger"))]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// Workers that run even when no record waits. Default: 1. With 0 the first record after a pause waits until a worker has
    /// started.
    #[serde(default = "Scaling::default_min_replicas")]
    #[schemars(range(min = 0, max = 1000))]
    pub min_replicas: i32,
    /// Workers that run at most.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,
    /// Waiting records for each worker: another worker starts when more wait. Default: 1000.
    #[serde(default = "Scaling::default_target_lag")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub target_lag: u64,
    /// For so long fewer workers must have been enough before one is stopped. Default: `5m`.
    #[serde(default = "Scaling::default_cooldown")]
    pub cooldown: Duration,
}

impl Scaling {
    const fn default_min_replicas() -> i32 {
        1
    }

    const fn default_target_lag() -> u64 {
        1000
    }

    const fn default_cooldown() -> Duration {
        Duration::from_secs(300)
    }
}
