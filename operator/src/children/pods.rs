//! Lists the pods of a Deployment, and asks those that run what they wait for.

use futures::future::join_all;
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{Api, Client, api::ListParams};
use sluice_model::children::{self, Availability, Live, Owner, SeenPod};
use tracing::debug;

use crate::{
    data_plane::{Asker, STATUS},
    error::{Doing, Error},
};

/// Pods of one Deployment that are asked: the others would say the same.
const ASKED: usize = 3;

/// The pods of a Deployment.
#[derive(Debug, Default)]
pub struct Pods {
    /// Where those are reached that run.
    pub addresses: Vec<String>,
    /// All of them, where they are not all available: they may tell why.
    pub troubled: Vec<Pod>,
}

/// The pods of one component of a resource; none where they may not be listed, and none are looked for where there are none.
pub async fn list_pods(
    client: &Client,
    owner: &Owner,
    component: &str,
    deployment: Option<&Live>,
) -> Result<Pods, Error> {
    let deployment = deployment.and_then(|live| children::find_deployment(std::slice::from_ref(live), &live.name));
    let Some(deployment) = deployment else { return Ok(Pods::default()) };
    let Availability { complete, replicas, .. } = children::availability(&deployment, &[], Timestamp::now());
    if complete && replicas == 0 {
        return Ok(Pods::default());
    }
    let namespace = &owner.name.namespace;
    let parameters = ListParams::default().labels(&owner.selector_text(component));
    let pods = match Api::<Pod>::namespaced(client.clone(), namespace).list(&parameters).await {
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            debug!(namespace, "Pods may not be listed, so that nobody can say what they do");
            Vec::new()
        }
        list => list.doing(|| format!("list pods in {namespace:?}"))?.items,
    };
    Ok(Pods { addresses: addresses(&pods), troubled: if complete { Vec::new() } else { pods } })
}

/// The addresses of the pods that run.
fn addresses(pods: &[Pod]) -> Vec<String> {
    let alive = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let running =
        alive.filter_map(|pod| pod.status.as_ref()).filter(|status| status.phase.as_deref() == Some("Running"));
    let mut addresses: Vec<_> = running.filter_map(|status| status.pod_ip.clone()).collect();
    addresses.sort_unstable();
    addresses
}

/// Pods with what some of them say of themselves.
pub async fn hear(asker: &Asker, pods: Vec<Pod>) -> Vec<SeenPod> {
    let now = Timestamp::now();
    let mut left = ASKED;
    let heard = pods.into_iter().map(|pod| {
        let ask = children::is_worth_asking(&pod, now) && left > 0;
        left -= usize::from(ask);
        async move {
            let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).filter(|_| ask);
            let says = match address {
                Some(address) => asker.ask(address, STATUS).await,
                None => None,
            };
            SeenPod { pod, says }
        }
    });
    let heard: Vec<_> = heard.collect();
    join_all(heard).await
}
