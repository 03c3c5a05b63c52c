//! The last pass over a Topic with a finalizer: deletes its Kafka topic, and nothing else, and lets the Topic go.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use sluice_crds::{Integration, Topic, TopicStatus, Webhook};
use sluice_kafka::{Deletion, ErrorCode, TopicError};
use sluice_model::topic::{
    Claim, Farewell, Outcome, Release, Usage, Users, farewell, report, uses_of_integration, uses_of_webhook, validate,
};
use tracing::info;

use crate::{
    context::Context,
    controller::{Next, Pass},
    error::Error,
    farewell::{NAMESPACE_PATIENCE, Stays, let_go, list, waited},
    finalizer, grants,
    metrics::Metrics,
};

/// Users that go wake the Topic; this is for an event that was lost.
const LOOK_AGAIN: Duration = Duration::from_mins(5);

/// A broker shows a topic some seconds after it was made: one that shows none, or the one before, is believed once the Topic has been in deletion
/// for so long, and asked again until then.
const SHOWN: Duration = Duration::from_secs(5);
const LOOK_AT_UNSHOWN: Duration = Duration::from_secs(1);

/// How a farewell came out.
enum End {
    /// The Kafka topic is deleted.
    Deleted,
    /// The broker that was asked may not show it yet.
    NotShown,
    /// The Kafka topic stays.
    Released(Release),
    /// These still use it.
    InUse(Vec<Usage>),
}

impl Stays for Release {
    const WHAT: &'static str = "Kafka topic";

    fn count(&self, metrics: &Metrics) {
        metrics.topic_released(self.name());
    }

    fn is_given_up(&self) -> bool {
        matches!(self, Self::GivenUp(_))
    }

    fn is_due_to_its_namespace(&self) -> bool {
        matches!(self, Self::UsedElsewhere(_) | Self::GivenUp(_))
    }
}

/// A pass over a Topic that is being deleted and holds on to its Kafka topic.
pub async fn pass(topic: &Topic, context: &Context) -> Result<Pass<TopicStatus>, Error> {
    let namespace = context.farewells.going(context, topic).await?;
    let is_out_of_patience = namespace.is_some() && waited(topic) >= NAMESPACE_PATIENCE;
    let end = match end(topic, context, namespace.is_some()).await {
        Err(error) if is_out_of_patience => End::Released(Release::GivenUp(error.to_string())),
        end => end?,
    };
    let unchanged = || topic.status.clone().unwrap_or_default();
    let look_again = if matches!(end, End::NotShown) { LOOK_AT_UNSHOWN } else { LOOK_AGAIN };
    let status = match end {
        End::NotShown => unchanged(),
        End::InUse(users) => report(topic, Some(&users), &Outcome::InUse(&users), Timestamp::now()),
        End::Deleted => {
            finalizer::release(&context.client, topic).await?;
            unchanged()
        }
        End::Released(reason) => {
            let kafka_name = Claim::of(topic).1.kafka_name;
            let_go(context, topic, namespace.as_ref(), &kafka_name, &reason).await?;
            unchanged()
        }
    };
    Ok(Pass { status, next: Next::Within(look_again) })
}

async fn end(topic: &Topic, context: &Context, namespace_goes: bool) -> Result<End, Error> {
    let users = context.farewells.users.at((), live_users(context)).await?;
    let judge = || farewell(topic, &context.relations.of_users(topic, &users), namespace_goes);
    let mut verdict = judge();
    if matches!(verdict, Farewell::Delete { .. }) {
        tell_apart(topic, context, &users).await?;
        verdict = judge();
    }
    match verdict {
        Farewell::Release(reason) => Ok(End::Released(reason)),
        Farewell::Wait(users) => Ok(End::InUse(users)),
        Farewell::Delete { id } => delete(topic, context, &id).await,
    }
}

/// Learns whether the names of Kafka clusters mean the Topic's own under which somebody claims or uses its Kafka topic too.
pub async fn tell_apart(topic: &Topic, context: &Context, users: &Users) -> Result<(), Error> {
    let mut clusters = context.relations.named_under_by(topic, users, context.clusters.names());
    if clusters.is_empty() {
        return Ok(());
    }
    clusters.push(topic.spec.cluster.clone());
    let told = context.identities.learn_all(context, &clusters).await;
    told.map_err(|error| Error::NotToldApart(error.to_string()))
}

/// Who uses Topics at this moment.
async fn live_users(context: &Context) -> Result<Users, Error> {
    let (integrations, webhooks, grants) =
        futures::try_join!(list::<Integration>(context), list::<Webhook>(context), grants::all(context))?;
    let uses = integrations.iter().map(uses_of_integration).chain(webhooks.iter().map(uses_of_webhook));
    Ok(uses.collect::<Users>().let_by(grants))
}

/// Deletes the Kafka topic if it is still the one with that id.
async fn delete(topic: &Topic, context: &Context, id: &str) -> Result<End, Error> {
    let wanted = validate(topic, &context.settings).map_err(Error::Rejected)?;
    let (cluster, name) = (wanted.cluster.name.as_str(), wanted.name.as_str());
    let deletion = match context.clusters.topics(cluster)?.delete(name, id).await {
        // The broker that was looked at did not know yet: an operator that ended before it knew, or somebody else, has deleted it.
        Err(TopicError::Topic(error)) if error.code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
            return Ok(End::Released(Release::Gone));
        }
        deleted => deleted.map_err(|error| Error::of_topic(cluster, || format!("delete topic {name:?}"), error))?,
    };
    if deletion == Deletion::Done {
        info!(topic = name, id, "Kafka topic deleted");
    }
    Ok(end_of(deletion, waited(topic)))
}

/// What a deletion comes to after so long.
fn end_of(deletion: Deletion, waited: Duration) -> End {
    match deletion {
        Deletion::Done => End::Deleted,
        Deletion::Gone | Deletion::Another { .. } if waited < SHOWN => End::NotShown,
        Deletion::Gone => End::Released(Release::Gone),
        Deletion::Another { id } => End::Released(Release::Replaced { found: id }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_shows_no_topic_or_another_one_is_believed_once_it_must_have_heard() {
        let another = || Deletion::Another { id: "other".to_owned() };
        for early in [Deletion::Gone, another()] {
            assert!(matches!(end_of(early, SHOWN / 2), End::NotShown));
        }
        assert!(matches!(end_of(Deletion::Gone, SHOWN), End::Released(Release::Gone)));
        assert!(matches!(end_of(another(), SHOWN), End::Released(Release::Replaced { found }) if found == "other"));
        assert!(matches!(end_of(Deletion::Done, Duration::ZERO), End::Deleted));
    }
}
