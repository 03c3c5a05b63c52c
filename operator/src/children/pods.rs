//! Reads the pods of a Deployment that is not complete, and asks those that run what they wait for.

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

/// The pods of the Deployment `name`; none where it is complete or does not exist, for then nobody needs them.
pub async fn pods(
    client: &Client,
    asker: &Asker,
    owner: &Owner,
    component: &str,
    deployment: Option<&Live>,
) -> Result<Vec<SeenPod>, Error> {
    let now = Timestamp::now();
    let deployment = deployment.and_then(|live| children::find_deployment(std::slice::from_ref(live), &live.name));
    if deployment.is_none_or(|deployment| children::availability(&deployment, &[], now).complete) {
        return Ok(Vec::new());
    }
    let namespace = &owner.name.namespace;
    let parameters = ListParams::default().labels(&owner.selector_text(component));
    let list = match Api::<Pod>::namespaced(client.clone(), namespace).list(&parameters).await {
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            debug!(namespace, "Pods may not be listed, so that nobody can say why they do not become available");
            return Ok(Vec::new());
        }
        list => list.doing(|| format!("list pods in {namespace:?}"))?,
    };
    let mut left = ASKED;
    let seen = list.items.into_iter().map(|pod| {
        let ask = children::is_worth_asking(&pod, now) && left > 0;
        left -= usize::from(ask);
        async move {
            let says = if ask { asker.ask(&pod).await } else { None };
            SeenPod { pod, says }
        }
    });
    let seen: Vec<_> = seen.collect();
    Ok(join_all(seen).await)
}
