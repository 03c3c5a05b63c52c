//! Lists the pods of a Deployment, and asks those that run what they wait for.

use futures::future::join_all;
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{Api, Client, api::ListParams};
use sluice_model::children::{self, Live, Owner, SeenPod};
use tracing::debug;

use crate::{
    data_plane::Asker,
    error::{Doing, Error},
};

/// Pods of one Deployment that are asked: the others would say the same.
const ASKED: usize = 3;

/// Whether somebody needs to know why pods are not available: not where the Deployment is complete or does not exist.
pub fn is_incomplete(deployment: Option<&Live>) -> bool {
    let deployment = deployment.and_then(|live| children::find_deployment(std::slice::from_ref(live), &live.name));
    deployment.is_some_and(|deployment| !children::availability(&deployment, &[], Timestamp::now()).complete)
}

/// The pods of one component of a resource; none where they may not be listed.
pub async fn list_pods(client: &Client, owner: &Owner, component: &str) -> Result<Vec<Pod>, Error> {
    let namespace = &owner.name.namespace;
    let parameters = ListParams::default().labels(&owner.selector_text(component));
    match Api::<Pod>::namespaced(client.clone(), namespace).list(&parameters).await {
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            debug!(namespace, "Pods may not be listed, so that nobody can say why they do not become available");
            Ok(Vec::new())
        }
        list => Ok(list.doing(|| format!("list pods in {namespace:?}"))?.items),
    }
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
                Some(address) => asker.ask(address).await,
                None => None,
            };
            SeenPod { pod, says }
        }
    });
    let heard: Vec<_> = heard.collect();
    join_all(heard).await
}
