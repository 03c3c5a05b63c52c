//! The last passes over an Integration with a finalizer: end its workers, delete its consumer group, and let the Integration go.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Pod},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use sluice_crds::{ConsumerGroup, Integration, IntegrationStatus};
use sluice_kafka::{Admin, ErrorCode, KafkaError};
use sluice_model::{
    children::Owner,
    integration::{
        COMPONENT, Farewell, GroupUse, Leaving, Outcome, Release, complaints_of_deletion, farewell, owner, report,
        worker_name,
    },
};
use tracing::info;

use crate::{
    children::FIELD_MANAGER,
    context::Context,
    controller::{Next, Pass, name_of},
    error::{Doing, Error},
    farewell::{NAMESPACE_PATIENCE, Stays, let_go, list, waited},
    finalizer,
    metrics::Metrics,
    watch::controller,
};

/// How long a namespace that is being deleted waits for the members of a group: workers may take 30 s to end, and Kafka as long to
/// notice that one was killed.
const LEAVING_PATIENCE: Duration = Duration::from_secs(90);
/// How soon it is looked again for the first time, and how seldom later on: nothing tells that a member has left its group.
const LOOKS_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// How a farewell came out.
enum End {
    /// The consumer group is deleted.
    Deleted,
    /// The consumer group stays.
    Released(Release),
    /// Somebody has to leave first.
    Waits(Leaving),
}

impl Stays for Release {
    const WHAT: &'static str = "consumer group";

    fn count(&self, metrics: &Metrics) {
        metrics.integration_released(self.name());
    }

    fn is_given_up(&self) -> bool {
        matches!(self, Self::GivenUp(_))
    }

    fn is_due_to_its_namespace(&self) -> bool {
        self.is_given_up()
    }
}

/// A pass over an Integration that is being deleted and holds on to its consumer group.
pub(super) async fn pass(integration: &Integration, context: &Context) -> Result<Pass<IntegrationStatus>, Error> {
    // A visit of a group without workers would be a member of it.
    context.measurements.forget(&name_of(integration));
    let namespace = context.farewells.going(context, integration).await?;
    let waited = waited(integration);
    let end = match end(integration, context).await {
        Err(error) if namespace.is_some() && waited >= NAMESPACE_PATIENCE => {
            End::Released(Release::GivenUp(error.to_string()))
        }
        Ok(End::Waits(leaving)) if namespace.is_some() && waited >= LEAVING_PATIENCE => {
            End::Released(Release::GivenUp(leaving.to_string()))
        }
        end => end?,
    };
    let unchanged = || integration.status.clone().unwrap_or_default();
    let status = match end {
        End::Waits(leaving) => report(integration, &Outcome::Leaving(&leaving), Timestamp::now()),
        End::Deleted => {
            finalizer::release(&context.client, integration).await?;
            unchanged()
        }
        End::Released(reason) => {
            let group = unchanged().consumer_group.unwrap_or_default().name;
            let_go(context, integration, namespace.as_ref(), &group, &reason).await?;
            unchanged()
        }
    };
    let (soonest, latest) = LOOKS_AGAIN;
    Ok(Pass { status, next: Next::Within((waited / 4).clamp(soonest, latest)) })
}

async fn end(integration: &Integration, context: &Context) -> Result<End, Error> {
    let uses = context.farewells.groups.at((), live_uses(context)).await?;
    let group = match farewell(integration, uses.iter()) {
        Farewell::Release(reason) => return Ok(End::Released(reason)),
        Farewell::Delete(group) => group,
    };
    let pods = end_workers(&context.client, &owner(integration)).await?;
    if pods > 0 {
        return Ok(End::Waits(Leaving::Workers { group: group.name, pods }));
    }
    delete(integration, context, group).await
}

/// Which consumer groups are named by others than those who are about to take them along.
async fn live_uses(context: &Context) -> Result<Vec<GroupUse>, Error> {
    Ok(list::<Integration>(context).await?.iter().filter_map(GroupUse::of).collect())
}

/// Has the workers end, whose Deployment Kubernetes only collects once the Integration is gone, and tells how many of their pods are left,
/// or may still come.
async fn end_workers(client: &Client, owner: &Owner) -> Result<usize, Error> {
    let namespace = &owner.name.namespace;
    let may_come = !is_scaled_down(client, owner).await?;
    let parameters = ListParams::default().labels(&owner.selector_text(COMPONENT));
    let pods = Api::<Pod>::namespaced(client.clone(), namespace).list(&parameters).await;
    let pods = pods.doing(|| format!("list pods in {namespace:?}"))?.items;
    Ok(pods.iter().filter(|pod| !has_ended(pod)).count().max(may_come.into()))
}

/// Wants no more workers, and tells whether that is done. A controller that has not seen it yet may still make pods.
async fn is_scaled_down(client: &Client, owner: &Owner) -> Result<bool, Error> {
    let (namespace, name) = (&owner.name.namespace, worker_name(owner));
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
    let doing = |verb: &str| format!("{verb} Deployment \"{namespace}/{name}\"");
    let deployment = deployments.get_opt(&name).await.doing(|| doing("read"))?;
    let Some(deployment) = deployment.filter(|deployment| is_of(deployment, owner)) else { return Ok(true) };
    if deployment.spec.as_ref().is_some_and(|spec| spec.replicas == Some(0)) {
        let status = deployment.status.unwrap_or_default();
        return Ok(status.observed_generation >= deployment.metadata.generation && status.replicas.unwrap_or(0) == 0);
    }
    let parameters = PatchParams::apply(FIELD_MANAGER);
    let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
    match deployments.patch(&name, &parameters, &none).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(true),
        scaled => {
            scaled.doing(|| doing("scale down"))?;
            info!(deployment = name, "Workers are told to end");
            Ok(false)
        }
    }
}

fn is_of(deployment: &Deployment, owner: &Owner) -> bool {
    controller(&deployment.metadata).is_some_and(|reference| reference.uid == owner.uid)
}

/// One that was put out by its node, for example, is there for people to look at.
fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Deletes the group, where the operator's configuration still leaves it to the namespace.
async fn delete(integration: &Integration, context: &Context, group: ConsumerGroup) -> Result<End, Error> {
    let complaints = complaints_of_deletion(integration, &group, &context.settings);
    if !complaints.is_empty() {
        return Err(Error::Rejected(complaints));
    }
    let ConsumerGroup { cluster, name: group } = group;
    let kafka = context.clusters.client(&cluster)?;
    let failed = |source| Error::Kafka { cluster: cluster.clone(), source };
    let refused = |source| Error::Refused { doing: format!("delete consumer group {group:?}"), source };
    let mut answers = kafka.delete_groups(&[&group]).await.map_err(failed)?;
    match answers.remove(&group) {
        Some(Ok(())) => {
            info!(group, cluster, "Consumer group deleted");
            Ok(End::Deleted)
        }
        Some(Err(error)) if error.code == ErrorCode::GROUP_ID_NOT_FOUND => Ok(End::Released(Release::Gone)),
        Some(Err(error)) if error.code == ErrorCode::NON_EMPTY_GROUP => {
            let members = members(&kafka, &group).await.map_err(failed)?.map_err(refused)?;
            Ok(End::Waits(Leaving::Members { group, members }))
        }
        Some(Err(error)) => Err(refused(error)),
        None => Err(refused(KafkaError { code: ErrorCode::UNKNOWN_SERVER_ERROR, message: "no answer".to_owned() })),
    }
}

/// Who is in a group, each as `<client id> at <address>`.
async fn members(kafka: &Admin, group: &str) -> Result<Result<BTreeSet<String>, KafkaError>, sluice_kafka::Error> {
    let mut described = kafka.describe_groups(&[group]).await?;
    let members = |group: sluice_kafka::GroupDescription| {
        group.members.into_iter().map(|member| format!("{} at {}", member.client_id, member.host)).collect()
    };
    Ok(described.remove(group).map_or_else(|| Ok(BTreeSet::new()), |answer| answer.map(members)))
}
