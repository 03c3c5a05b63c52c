//! Tells of a status' transitions as Events of Kubernetes, which `kubectl describe` shows.
//!
//! The status is the truth; an Event that cannot be written is counted and left.

use std::sync::Arc;

use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Client, Resource,
    core::{PartialObjectMetaExt, error_boundary::InvalidObject},
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use sluice_model::{News, conditions::news};
use tracing::debug;

use crate::{controller::Kind, metrics::Metrics};

/// The API server refuses longer notes: 1024 bytes.
const LONGEST_NOTE: usize = 1023;
/// What Sluice was doing, for the Events' field `action`.
const ACTION: &str = "Reconcile";

/// Where Events are written.
pub struct Events {
    recorder: Recorder,
    metrics: Arc<Metrics>,
}

impl Events {
    /// Events by the replica `identity`.
    pub fn new(client: Client, identity: &str, metrics: Arc<Metrics>) -> Self {
        let reporter = Reporter { controller: "sluice.dev/operator".to_owned(), instance: Some(identity.to_owned()) };
        Self { recorder: Recorder::new(client, reporter), metrics }
    }

    /// Tells what is new in the conditions of a status that was written.
    pub async fn transition<K: Kind>(&self, object: &K, before: &[Condition], after: &[Condition]) {
        for news in news(before, after) {
            self.tell(object, &news).await;
        }
    }

    /// Tells what no condition says.
    pub async fn tell<K: Kind>(&self, object: &K, news: &News) {
        self.publish(&object.object_ref(&()), None, news).await;
    }

    /// Tells something about another object that concerns this one.
    pub async fn tell_about<K: Kind>(&self, other: &ObjectReference, object: &K, news: &News) {
        self.publish(other, Some(object.object_ref(&())), news).await;
    }

    /// Tells that a resource cannot be decoded.
    pub async fn undecodable<K: Kind>(&self, invalid: &InvalidObject) {
        let news = News {
            is_good: false,
            reason: "Undecodable".to_owned(),
            message: format!(
                "This resource is not what its CRD asks for, and is left alone until it is changed: {}",
                invalid.error
            ),
        };
        let object = invalid.metadata.clone().into_response_partial::<K>();
        self.publish(&object.object_ref(&()), None, &news).await;
    }

    async fn publish(&self, about: &ObjectReference, concerns: Option<ObjectReference>, news: &News) {
        let event = Event {
            type_: if news.is_good { EventType::Normal } else { EventType::Warning },
            reason: news.reason.clone(),
            note: Some(shortened(&news.message).to_owned()),
            action: ACTION.to_owned(),
            secondary: concerns,
        };
        if let Err(error) = self.recorder.publish(&event, about).await {
            // In a namespace that is being deleted no Event can be made.
            debug!(reason = news.reason, %error, "The Event could not be written");
            self.metrics.event_lost();
        }
    }
}

fn shortened(message: &str) -> &str {
    &message[..message.floor_char_boundary(LONGEST_NOTE)]
}
