//! What gateways and the controllers of Ingresses say of a Webhook's route.

use std::fmt;

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
    // A route is to name the Service of other receivers before it leads there, and maybe before that exists.
    let judged: &[&str] = if seen.waits { &[ACCEPTED] } else { &[ACCEPTED, RESOLVED] };
    for parent in parents {
        let namespace = parent.namespace.as_deref().unwrap_or(&endpoint.owner.name.namespace);
        let gateway = format!("{namespace}/{}", parent.name);
        let status = parent_status(&route.object, &endpoint.owner.name.namespace, parent);
        let refusal = status.and_then(|status| judged.iter().find_map(|wanted| refusal(status, wanted)));
        if status.is_some() && refusal.is_none() {
            continue;
        }
        // What can be seen from here says more than what a gateway says, or that it says nothing.
        if seen.missing_gateways.contains(&gateway) {
            let message =
                format!("there is no Gateway {gateway:?}; create it, or name another one in route.parentRefs");
            return Part::fails(kind, Reason::RoutePending, message);
        }
        let complaint = no_listener(endpoint, parent, seen.listeners);
        let (reason, message) = match (complaint, &refusal) {
            (Some(complaint), None) => (Reason::NoListener, format!("the Gateway {gateway:?} {complaint}")),
            (Some(complaint), Some(refusal)) => {
                (Reason::NoListener, format!("the Gateway {gateway:?} {complaint}; it says {refusal}"))
            }
            (None, Some(refusal)) => (Reason::RouteRefused, format!("the Gateway {gateway:?} says {refusal}")),
            (None, None) => {
                let message = format!("the Gateway {gateway:?} has not answered; does its controller run?");
                (Reason::RoutePending, message)
            }
        };
        return Part::fails(kind, reason, message).judged(refusal.and_then(|refusal| refusal.reason));
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

/// Whether each gateway that says anything of an HTTPRoute has seen the newest version of it and finds all its backends. Of one that says
/// nothing nobody knows whether it ever will. Conditions of others' making may be about any version.
pub(super) fn is_known(route: &Value) -> bool {
    let generation = route["metadata"]["generation"].as_i64();
    let is_old = |condition: &Value| {
        let seen = condition["observedGeneration"].as_i64();
        seen.is_some() && seen < generation
    };
    let lacks = |condition: &Value| condition["type"] == RESOLVED && condition["status"] != "True";
    let parents = route["status"]["parents"].as_array().into_iter().flatten();
    let conditions = parents.flat_map(|parent| parent["conditions"].as_array().into_iter().flatten());
    let mut judged = conditions.filter(|condition| condition["type"] == ACCEPTED || condition["type"] == RESOLVED);
    !judged.any(|condition| is_old(condition) || lacks(condition))
}

/// What a gateway has against a route.
struct Refusal<'a> {
    reason: Option<&'a str>,
    message: &'a str,
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.unwrap_or_default(), self.message)
    }
}

fn refusal<'a>(status: &'a Value, wanted: &str) -> Option<Refusal<'a>> {
    let condition = status["conditions"].as_array()?.iter().find(|condition| condition["type"] == wanted)?;
    let text = |key: &str| condition[key].as_str();
    let refusal = || Refusal { reason: text("reason"), message: text("message").unwrap_or_default() };
    (condition["status"] != "True").then(refusal)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use serde_json::json;
    use sluice_crds::Webhook;

    use super::*;
    use crate::{
        children::Plan,
        webhook::{Allowed, Listener, Outcome, References, report, validate},
    };

    /// The Webhook `shop/stripe` behind these gateways.
    fn webhook(parents: &str) -> Webhook {
        let metadata = "{name: stripe, namespace: shop, uid: u, generation: 3}";
        let route = format!("{{parentRefs: {parents}, hostnames: [hooks.example]}}");
        let spec = format!("{{route: {route}, verify: {{none: {{}}}}}}");
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {metadata}, spec: {spec}}}");
        serde_saphyr::from_str(&yaml).unwrap()
    }

    fn endpoint(parents: &str) -> Endpoint {
        let settings = "{clusters: {default: {bootstrapServers: ['kafka:9092']}}, images: {receiver: r, worker: w}}";
        validate(&webhook(parents), &References::default(), &serde_saphyr::from_str(settings).unwrap()).unwrap()
    }

    /// Its route in generation 2, with what gateways say of it.
    fn live(parents: &Value) -> Live {
        let object = json!({"metadata": {"generation": 2}, "status": {"parents": parents}});
        Live { kind: ChildKind::HttpRoute, name: "stripe-receiver".into(), object }
    }

    fn edge() -> Value {
        json!({"name": "edge", "namespace": "gateways"})
    }

    /// What the gateway of a parent says of a generation; each condition is type, status, reason and message.
    fn says(parent: &Value, generation: i64, conditions: &[[&str; 4]]) -> Value {
        let condition = |[kind, status, reason, message]: &[&str; 4]| {
            json!({
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "observedGeneration": generation,
            })
        };
        let conditions: Vec<_> = conditions.iter().map(condition).collect();
        json!({"parentRef": parent, "controllerName": "example.net/gateways", "conditions": conditions})
    }

    const TAKEN: [&str; 4] = ["Accepted", "True", "Accepted", "Accepted HTTPRoute"];
    const FOUND: [&str; 4] = ["ResolvedRefs", "True", "ResolvedRefs", "References resolved"];
    const REFUSED: [&str; 4] = ["Accepted", "False", "NotAllowedByListeners", "no listener allows it"];
    const LOST: [&str; 4] = ["ResolvedRefs", "False", "BackendNotFound", "no Service"];
    const PENDING: &str = "RoutePending None the Gateway \"gateways/edge\" has not answered; does its controller run?";
    const ACCEPTED_BY_ALL: &str = "Satisfied None every gateway accepted the route";

    fn seen<'a>(live: &'a [Live], listeners: &'a [Listener], plan: &'a Plan) -> Seen<'a> {
        Seen {
            live,
            pods: &[],
            plan,
            listeners,
            missing_gateways: &[],
            unknown_kind: None,
            traffic: None,
            last_good: None,
            shared: None,
            waits: false,
            before: None,
        }
    }

    /// Reason of the part, reason of the gateway, and message.
    fn told(endpoint: &Endpoint, seen: &Seen<'_>) -> String {
        let part = route(endpoint, seen);
        format!("{} {} {}", part.reason, part.judged.as_deref().unwrap_or("None"), part.message)
    }

    #[test]
    fn a_route_is_accepted_when_its_gateway_says_so_of_its_newest_version() {
        let endpoint = endpoint("[{name: edge, namespace: gateways}]");
        let refused = "RouteRefused NotAllowedByListeners the Gateway \"gateways/edge\" says NotAllowedByListeners: no listener allows it";
        let lost = "RouteRefused BackendNotFound the Gateway \"gateways/edge\" says BackendNotFound: no Service";
        let of_section = json!({"name": "edge", "namespace": "gateways", "sectionName": "web"});
        for (parents, expected) in [
            (json!([says(&edge(), 2, &[TAKEN, FOUND])]), ACCEPTED_BY_ALL),
            (json!([says(&edge(), 2, &[TAKEN])]), ACCEPTED_BY_ALL),
            (json!([says(&edge(), 2, &[REFUSED, FOUND])]), refused),
            (json!([says(&edge(), 2, &[TAKEN, LOST])]), lost),
            (json!([says(&edge(), 2, &[REFUSED, LOST])]), refused),
            // What was said of an older version is no answer, whatever it was.
            (json!([says(&edge(), 1, &[TAKEN, FOUND])]), PENDING),
            (json!([says(&edge(), 1, &[REFUSED, FOUND])]), PENDING),
            (json!([says(&edge(), 2, &[FOUND])]), PENDING),
            (json!([]), PENDING),
            (Value::Null, PENDING),
            // What others say is about them.
            (json!([says(&json!({"name": "other", "namespace": "gateways"}), 2, &[TAKEN, FOUND])]), PENDING),
            (json!([says(&json!({"name": "edge", "namespace": "elsewhere"}), 2, &[TAKEN, FOUND])]), PENDING),
            (json!([says(&json!({"name": "edge"}), 2, &[TAKEN, FOUND])]), PENDING),
            (json!([says(&of_section, 2, &[TAKEN, FOUND])]), PENDING),
            (json!([says(&of_section, 2, &[REFUSED]), says(&edge(), 2, &[TAKEN, FOUND])]), ACCEPTED_BY_ALL),
        ] {
            let (live, plan) = ([live(&parents)], Plan::default());
            assert_eq!(told(&endpoint, &seen(&live, &[], &plan)), expected, "{parents}");
        }
        let none = "Progressing None no HTTPRoute exists yet";
        assert_eq!(told(&endpoint, &seen(&[], &[], &Plan::default())), none);
    }

    #[test]
    fn the_condition_has_the_gateways_own_reason() {
        let parents = "[{name: edge, namespace: gateways}]";
        let (endpoint, plan) = (endpoint(parents), Plan::default());
        for (conditions, expected) in [
            ([REFUSED, FOUND], "False NotAllowedByListeners"),
            ([TAKEN, LOST], "False BackendNotFound"),
            ([TAKEN, FOUND], "True Satisfied"),
        ] {
            let live = [live(&json!([says(&edge(), 2, &conditions)]))];
            let outcome = Outcome::Planned(&endpoint, seen(&live, &[], &plan));
            let status = report(&webhook(parents), None, &outcome, Timestamp::from_second(1).unwrap());
            let told = status.conditions.iter().find(|condition| condition.type_ == "RouteAccepted").unwrap();
            assert_eq!(format!("{} {}", told.status, told.reason), expected);
        }
    }

    #[test]
    fn a_route_may_name_what_is_not_there_until_it_leads_there() {
        let parents = "[{name: edge, namespace: gateways}]";
        let (endpoint, plan) = (endpoint(parents), Plan::default());
        for (conditions, expected) in [
            ([TAKEN, LOST], ACCEPTED_BY_ALL),
            (
                [REFUSED, FOUND],
                "RouteRefused NotAllowedByListeners the Gateway \"gateways/edge\" says NotAllowedByListeners: no listener allows it",
            ),
        ] {
            let live = [live(&json!([says(&edge(), 2, &conditions)]))];
            assert_eq!(told(&endpoint, &Seen { waits: true, ..seen(&live, &[], &plan) }), expected);
        }
    }

    #[test]
    fn a_parent_is_known_by_its_namespace_and_its_section() {
        let own = json!({"name": "edge"});
        let written_out = json!({"name": "edge", "namespace": "shop"});
        let of_section = json!({"name": "edge", "namespace": "shop", "sectionName": "web"});
        let waits = "RoutePending None the Gateway \"shop/edge\" has not answered; does its controller run?";
        for (parents, parent, expected) in [
            ("[{name: edge}]", &own, ACCEPTED_BY_ALL),
            ("[{name: edge}]", &written_out, ACCEPTED_BY_ALL),
            ("[{name: edge, namespace: shop}]", &own, ACCEPTED_BY_ALL),
            ("[{name: edge, sectionName: web}]", &of_section, ACCEPTED_BY_ALL),
            ("[{name: edge, sectionName: web}]", &own, waits),
            ("[{name: edge, sectionName: api}]", &of_section, waits),
            ("[{name: edge}]", &of_section, waits),
        ] {
            let (live, plan) = ([live(&json!([says(parent, 2, &[TAKEN, FOUND])]))], Plan::default());
            assert_eq!(told(&endpoint(parents), &seen(&live, &[], &plan)), expected, "{parents} and {parent}");
        }
    }

    #[test]
    fn every_gateway_has_to_accept_the_route() {
        let endpoint = endpoint("[{name: edge, namespace: gateways}, {name: inner}]");
        let inner = json!({"name": "inner", "namespace": "shop"});
        let accepted = says(&edge(), 2, &[TAKEN, FOUND]);
        let refused = "RouteRefused NotAllowedByListeners the Gateway \"shop/inner\" says NotAllowedByListeners: no listener allows it";
        let waits = "RoutePending None the Gateway \"shop/inner\" has not answered; does its controller run?";
        for (parents, expected) in [
            (json!([accepted, says(&inner, 2, &[TAKEN, FOUND])]), ACCEPTED_BY_ALL),
            (json!([accepted, says(&inner, 2, &[REFUSED])]), refused),
            (json!([accepted]), waits),
        ] {
            let (live, plan) = ([live(&parents)], Plan::default());
            assert_eq!(told(&endpoint, &seen(&live, &[], &plan)), expected, "{parents}");
        }
    }

    #[test]
    fn what_is_seen_from_here_stands_before_what_the_gateway_says() {
        let endpoint = endpoint("[{name: edge, namespace: gateways}]");
        let other = Listener {
            namespace: "gateways".into(),
            gateway: "edge".into(),
            name: "http".into(),
            protocol: "HTTP".into(),
            port: 80,
            hostname: Some("other.example".into()),
            address: None,
            allowed: Allowed::All,
        };
        let complaint = "the Gateway \"gateways/edge\" serves \"other.example\", and not \"hooks.example\"; change \
                         route.hostnames, or the hostname of a listener";
        let unmatched = ["Accepted", "False", "NoMatchingListenerHostname", "no intersecting hostnames"];
        for (parents, expected) in [
            (json!([]), format!("NoListener None {complaint}")),
            (
                json!([says(&edge(), 2, &[unmatched, FOUND])]),
                format!(
                    "NoListener NoMatchingListenerHostname {complaint}; it says NoMatchingListenerHostname: no intersecting hostnames"
                ),
            ),
            // It knows better.
            (json!([says(&edge(), 2, &[TAKEN, FOUND])]), ACCEPTED_BY_ALL.to_owned()),
        ] {
            let (live, plan) = ([live(&parents)], Plan::default());
            assert_eq!(told(&endpoint, &seen(&live, std::slice::from_ref(&other), &plan)), expected, "{parents}");
        }
        let (live, plan) = ([live(&json!([says(&edge(), 2, &[REFUSED])]))], Plan::default());
        let missing = ["gateways/edge".to_owned()];
        let seen = Seen { missing_gateways: &missing, ..seen(&live, &[], &plan) };
        let expected = "there is no Gateway \"gateways/edge\"; create it, or name another one in route.parentRefs";
        assert_eq!(told(&endpoint, &seen), format!("RoutePending None {expected}"));
    }
}
