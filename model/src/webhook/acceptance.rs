//! What gateways and the controllers of Ingresses say of a Webhook's route.

use serde_json::Value;
use sluice_crds::{ConditionType, Ingress, ParentReference, Reason};

use super::{
    Endpoint, Entry, aws, receiver_name,
    report::{Part, Seen},
    url::no_listener,
};
use crate::children::{self, ChildKind, Live};

/// The controller that Contour, Kong and the others name themselves by stands in a route's status; Sluice reads all.
const ACCEPTED: &str = "Accepted";
const RESOLVED: &str = "ResolvedRefs";

/// The verdict on the route: of every gateway that is named, or of the Ingress's controller.
pub(super) fn route(endpoint: &Endpoint, seen: &Seen<'_>) -> Part {
    let kind = ConditionType::RouteAccepted;
    if let Some(older) = &endpoint.older_claim {
        let address = match &endpoint.header {
            None => format!("the path {:?}", endpoint.path),
            Some((name, value)) => format!("the path {:?} with the header {name}: {value}", endpoint.path),
        };
        let message = format!(
            "the older Webhook \"{older}\" has {address} on the same host and gateway; use another path or host name"
        );
        return Part::fails(kind, Reason::RouteConflict, message);
    }
    match seen.unknown_kind {
        None => {}
        Some(ChildKind::KongPlugin) => {
            let message = "this cluster has no KongPlugin (configuration.konghq.com/v1), so that nothing would do what \
                           route.kong says, and there is no route; install Kong, or remove route.kong";
            return Part::fails(kind, Reason::KongMissing, message);
        }
        Some(missing) if matches!(endpoint.entry, Entry::AwsApiGateway(_)) => {
            let (version, name) = missing.api();
            let message = format!(
                "this cluster has no {name} ({version}); install the ACK controller for API Gateway v2, or write route.parentRefs or \
                 route.ingress"
            );
            return Part::fails(kind, Reason::AckMissing, message);
        }
        Some(_) => {
            let message = "this cluster has no HTTPRoute (gateway.networking.k8s.io/v1); install the Gateway API and a \
                           gateway that serves it, or write route.ingress";
            return Part::fails(kind, Reason::GatewayApiMissing, message);
        }
    }
    match &endpoint.entry {
        Entry::Gateways(parents) => gateways(endpoint, parents, seen),
        Entry::Ingress(ingress) => of_ingress(endpoint, ingress, seen.live),
        Entry::AwsApiGateway(api) => match aws::verdict(endpoint, api, seen.live) {
            Ok(message) => Part::works(kind, message),
            Err((reason, message)) => Part::fails(kind, reason, message),
        },
    }
}

/// An Ingress has no condition: a controller that serves it writes its own address into the status, and others do nothing.
fn of_ingress(endpoint: &Endpoint, ingress: &Ingress, live: &[Live]) -> Part {
    let kind = ConditionType::RouteAccepted;
    if children::find(live, ChildKind::Ingress, &receiver_name(&endpoint.owner)).is_none() {
        return Part::fails(kind, Reason::Progressing, "no Ingress exists yet");
    }
    let Some(address) = ingress_address(endpoint, live) else {
        let class = &ingress.class_name;
        let message = format!("no controller of the class {class:?} has given the Ingress an address; does it run?");
        return Part::fails(kind, Reason::RoutePending, message);
    };
    Part::works(kind, format!("the Ingress is served at {address}"))
}

/// The first address that a controller has given to the endpoint's Ingress.
pub(super) fn ingress_address<'a>(endpoint: &Endpoint, live: &'a [Live]) -> Option<&'a str> {
    let ingress = children::find(live, ChildKind::Ingress, &receiver_name(&endpoint.owner))?;
    let first = &ingress.object["status"]["loadBalancer"]["ingress"][0];
    first["hostname"].as_str().or_else(|| first["ip"].as_str())
}

fn gateways(endpoint: &Endpoint, parents: &[ParentReference], seen: &Seen<'_>) -> Part {
    let kind = ConditionType::RouteAccepted;
    let Some(route) = children::find(seen.live, ChildKind::HttpRoute, &receiver_name(&endpoint.owner)) else {
        return Part::fails(kind, Reason::Progressing, "no HTTPRoute exists yet");
    };
    for parent in parents {
        let namespace = parent.namespace.as_deref().unwrap_or(&endpoint.owner.name.namespace);
        let gateway = format!("{namespace}/{}", parent.name);
        let status = parent_status(&route.object, &endpoint.owner.name.namespace, parent);
        let refusal = status.and_then(|status| [ACCEPTED, RESOLVED].iter().find_map(|wanted| refusal(status, wanted)));
        if status.is_some() && refusal.is_none() {
            continue;
        }
        // What can be seen from here says more than what a gateway says, or that it says nothing.
        if seen.missing_gateways.contains(&gateway) {
            let message =
                format!("there is no Gateway {gateway:?}; create it, or name another one in route.parentRefs");
            return Part::fails(kind, Reason::RoutePending, message);
        }
        if let Some(complaint) = no_listener(endpoint, parent, seen.listeners) {
            return Part::fails(kind, Reason::NoListener, format!("the Gateway {gateway:?} {complaint}"));
        }
        let Some(refusal) = refusal else {
            let message = format!("the Gateway {gateway:?} has not answered; does its controller run?");
            return Part::fails(kind, Reason::RoutePending, message);
        };
        return Part::fails(kind, Reason::RouteRefused, format!("the Gateway {gateway:?} says {refusal}"));
    }
    Part::works(kind, "every gateway accepted the route")
}

/// What a parent says about the newest version of the route.
fn parent_status<'a>(route: &'a Value, own: &str, parent: &ParentReference) -> Option<&'a Value> {
    let is_parent = |reference: &Value| {
        reference["name"] == parent.name.as_str()
            && reference["namespace"].as_str().unwrap_or(own) == parent.namespace.as_deref().unwrap_or(own)
            && reference["sectionName"].as_str() == parent.section_name.as_deref()
    };
    let generation = route["metadata"]["generation"].as_i64();
    let is_current = |status: &Value| {
        status["conditions"].as_array().is_some_and(|conditions| {
            conditions.iter().any(|condition| {
                condition["type"] == ACCEPTED && condition["observedGeneration"].as_i64() == generation
            })
        })
    };
    let parents = route["status"]["parents"].as_array()?;
    parents.iter().find(|status| is_parent(&status["parentRef"]) && is_current(status))
}

fn refusal(status: &Value, wanted: &str) -> Option<String> {
    let condition = status["conditions"].as_array()?.iter().find(|condition| condition["type"] == wanted)?;
    let text = |key: &str| condition[key].as_str().unwrap_or_default();
    (condition["status"] != "True").then(|| format!("{}: {}", text("reason"), text("message")))
}
