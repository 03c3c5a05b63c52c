//! etcd: the API server's store. It never waits for the disk, so it is for clusters that may be lost.

use super::Launch;
use crate::site::Site;

/// Reached only from inside the cluster's network.
pub(super) const ADDRESS: &str = "http://127.0.0.1:2379";
const PEERS: &str = "http://127.0.0.1:2380";

pub(super) fn prepare(site: &Site) -> Launch {
    Launch::kubernetes(
        site,
        "etcd",
        [
            "--name=etcd".into(),
            format!("--data-dir={}", site.text("data/etcd")),
            format!("--listen-client-urls={ADDRESS}"),
            format!("--advertise-client-urls={ADDRESS}"),
            format!("--listen-peer-urls={PEERS}"),
            format!("--initial-advertise-peer-urls={PEERS}"),
            format!("--initial-cluster=etcd={PEERS}"),
            "--unsafe-no-fsync".into(),
            "--log-level=warn".into(),
        ],
    )
}
