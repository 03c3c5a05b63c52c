//! A Webhook that changes between receivers of its own and shared ones. Those before go on, with its route, until the others take over; then
//! the route moves, and when gateways have followed it, those before go. Meanwhile the route names both: a gateway that knows both moves all
//! requests in one moment, where Envoy answers some of them 503 that are to go to a backend that it does not know yet, or no longer.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use sluice_crds::ReceiverMode;

use super::{Endpoint, Found, SharedReceivers, is_of_route};
use crate::children::{Availability, Change, Child, ChildKind, FIELD_MANAGER, Live, Plan};

/// Gateways follow a route within this time. What they still send to receivers that end is taken for some seconds more.
pub const GATEWAYS_FOLLOW: Duration = Duration::from_secs(10);

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Those that are wanted are made beside those before, which have the route.
    Beside,
    /// The route moves, or gateways follow it yet. Those before still answer.
    Moves,
    /// Nothing of those before is needed any more.
    Done,
}

/// Whether the receivers that a Webhook asks for take over from those of the other kind: they serve it, or those do not run any more. `own`
/// are its own; `shared` is what is known of the shared ones, where these could be looked at, and `found` what they say of it.
pub fn take_over(
    endpoint: &Endpoint,
    own: Option<&Availability>,
    shared: Option<&SharedReceivers>,
    found: Option<&Found>,
) -> bool {
    let run = |receivers: Option<&Availability>| receivers.is_some_and(|receivers| receivers.ready > 0);
    let are_complete = |receivers: Option<&Availability>| receivers.is_some_and(|receivers| receivers.complete);
    match endpoint.mode {
        ReceiverMode::Dedicated => are_complete(own) || shared.is_some_and(|shared| !run(shared.availability.as_ref())),
        ReceiverMode::Shared => {
            let share = endpoint.share();
            // One that does not answer may not know of it yet.
            let serve = |found: &Found, revision: &str| found.complete && found.all_serve(revision);
            let is_served = share.zip(found).is_some_and(|(share, found)| serve(found, &share.revision));
            let are_all =
                |shared: &SharedReceivers| shared.failure.is_none() && are_complete(shared.availability.as_ref());
            !run(own) || (shared.is_some_and(are_all) && is_served)
        }
    }
}

/// What comes after those that are wanted have taken over, where `changes` tells whether there were others before. Also without that, receivers
/// do not go in one step with their route: it may have been changed back meanwhile.
pub fn after_take_over(changes: bool, plan: &Plan, live: &[Live], now: Timestamp) -> Step {
    let is_farewell =
        |change: &Change| matches!(change, Change::Delete { .. }) && change.kind() == ChildKind::Deployment;
    let is_done = has_moved(plan, live, now) || !(changes || plan.changes.iter().any(is_farewell));
    if is_done { Step::Done } else { Step::Moves }
}

/// Whether a Webhook's route leads where it is to lead, and gateways have followed it.
fn has_moved(plan: &Plan, live: &[Live], now: Timestamp) -> bool {
    let changes = plan.changes.iter().any(|change| is_of_route(change.kind()));
    let is_new = |route: &Live| written(route).is_some_and(|at| since(at, now) < GATEWAYS_FOLLOW);
    !changes && !live.iter().any(|object| is_of_route(object.kind) && is_new(object))
}

/// These objects, with a route that names the backends of another one of its name too, and sends nothing to them.
pub fn announcing(mut children: Vec<Child>, others: &[Child]) -> Vec<Child> {
    for child in children.iter_mut().filter(|child| child.kind == ChildKind::HttpRoute) {
        let Some(other) = others.iter().find(|other| other.is_same_object(child)) else { continue };
        let mut backend = other.manifest["spec"]["rules"][0]["backendRefs"][0].clone();
        backend["weight"] = json!(0);
        *child = child.clone().changed(|manifest| {
            if let Some(backends) = manifest["spec"]["rules"][0]["backendRefs"].as_array_mut() {
                backends.push(backend);
            }
        });
    }
    children
}

/// The same without what goes, but for routes: requests may still come to it.
#[must_use]
pub fn without_farewells(mut plan: Plan) -> Plan {
    plan.changes.retain(|change| !matches!(change, Change::Delete { .. }) || is_of_route(change.kind()));
    plan
}

/// When Sluice wrote an object, where the API server tells.
fn written(object: &Live) -> Option<Timestamp> {
    let writers = object.object["metadata"]["managedFields"].as_array()?.iter();
    let ours = writers.filter(|writer| writer["manager"] == FIELD_MANAGER);
    ours.filter_map(|writer| writer["time"].as_str()?.parse().ok()).max()
}

/// None has passed where clocks differ.
fn since(then: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(then).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;
    use sluice_crds::{Reason, Settings, Webhook};

    use super::*;
    use crate::{
        children::last_good,
        webhook::{Held, References, desire, validate},
    };

    fn settings() -> Settings {
        let yaml = "{clusters: {default: {bootstrapServers: ['kafka:9092']}}, images: {receiver: r, worker: w}}";
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn webhook(spec: &str) -> Webhook {
        let metadata = "{name: stripe, namespace: shop, uid: u, generation: 3}";
        let spec = format!("{{route: {{parentRefs: [{{name: edge}}]}}, verify: {{none: {{}}}}, {spec}}}");
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {metadata}, spec: {spec}}}");
        serde_saphyr::from_str(&yaml).unwrap()
    }

    fn endpoint(spec: &str) -> Endpoint {
        validate(&webhook(spec), &References::default(), &settings()).unwrap()
    }

    const SHARED: &str = "receiver: {mode: Shared}";
    const OWN: &str = "replicas: 2";

    fn live(child: &Child) -> Live {
        Live { kind: child.kind, name: child.name.clone(), object: child.manifest.clone() }
    }

    /// What runs after the first spec, beside what the second one wants.
    fn beside(before: &str, after: &str) -> Vec<Child> {
        let old = desire(&endpoint(before), &settings());
        let mut changed = webhook(after);
        changed.status.get_or_insert_default().last_good = last_good(&old, &BTreeSet::new(), &[]);
        let configuration = old.iter().find(|child| child.manifest["immutable"] == true).unwrap();
        let mut held = Held::recall(&changed, &live(configuration)).unwrap();
        if let Some(own) = old.iter().find(|child| child.kind == ChildKind::Deployment) {
            held = held.as_many_as(&live(own));
        }
        held.beside(desire(&endpoint(after), &settings()), &settings())
    }

    fn of_kind(children: &[Child], kind: ChildKind) -> Vec<&Value> {
        children.iter().filter(|child| child.kind == kind).map(|child| &child.manifest).collect()
    }

    fn backends(children: &[Child]) -> &Value {
        let [route] = of_kind(children, ChildKind::HttpRoute).try_into().unwrap();
        &route["spec"]["rules"][0]["backendRefs"]
    }

    #[test]
    fn those_before_go_on_with_the_route_beside_those_that_come() {
        let to_shared = beside(OWN, SHARED);
        let both =
            json!([{"name": "stripe-receiver", "port": 80}, {"name": "sluice-receivers", "port": 80, "weight": 0}]);
        assert_eq!(*backends(&to_shared), both);
        let [own] = of_kind(&to_shared, ChildKind::Deployment).try_into().unwrap();
        assert_eq!(own["spec"]["replicas"], 2);
        // Both configurations, and what is obeyed without a restart.
        assert_eq!(of_kind(&to_shared, ChildKind::ConfigMap).len(), 3);

        let to_own = beside(SHARED, OWN);
        let both =
            json!([{"name": "sluice-receivers", "port": 80}, {"name": "stripe-receiver", "port": 80, "weight": 0}]);
        assert_eq!(*backends(&to_own), both);
        let kinds = [ChildKind::Deployment, ChildKind::Service, ChildKind::Topic];
        assert_eq!(kinds.map(|kind| of_kind(&to_own, kind).len()), [1, 1, 1]);
    }

    #[test]
    fn others_take_over_when_they_serve_or_nobody_does() {
        let some = |ready: i32, complete: bool| {
            let (reason, message) = (Reason::Satisfied, String::new());
            Some(Availability { replicas: 2, ready, complete, overdue: false, reason, message })
        };
        let pool = |availability| SharedReceivers { availability, ..SharedReceivers::default() };
        let own = endpoint(OWN);
        for (of_own, of_shared, expected) in [
            (None, Some(pool(some(2, true))), false),
            (some(1, false), Some(pool(some(2, true))), false),
            (some(2, true), Some(pool(some(2, true))), true),
            (some(0, false), Some(pool(some(0, false))), true),
            (None, Some(pool(None)), true),
            // Nobody could look at the shared ones.
            (some(1, false), None, false),
            (some(2, true), None, true),
        ] {
            let found = take_over(&own, of_own.as_ref(), of_shared.as_ref(), None);
            assert_eq!(found, expected, "{of_own:?}");
        }
        let shared = endpoint(SHARED);
        let revision = shared.share().unwrap().revision;
        let serve = |revision: &str, unaware: usize| {
            let revisions = [(revision.to_owned(), 2)].into();
            Found { complete: true, answered: 2, revisions, unaware, ..Found::default() }
        };
        let one_is_silent = Found { complete: false, ..serve(&revision, 0) };
        for (of_own, of_shared, found, expected) in [
            (some(1, true), some(2, true), None, false),
            (some(1, true), some(2, true), Some(serve("another", 0)), false),
            (some(1, true), some(2, true), Some(serve(&revision, 1)), false),
            (some(1, true), some(1, false), Some(serve(&revision, 0)), false),
            (some(1, true), some(2, true), Some(one_is_silent), false),
            (some(1, true), some(2, true), Some(serve(&revision, 0)), true),
            (some(0, false), None, None, true),
        ] {
            let takes_over = take_over(&shared, of_own.as_ref(), Some(&pool(of_shared)), found.as_ref());
            assert_eq!(takes_over, expected, "{found:?}");
        }
    }

    #[test]
    fn nothing_goes_before_gateways_have_followed_the_route() {
        let route = |time: &str| {
            let ours = json!({"manager": "sluice", "time": time});
            let of_gateway = json!({"manager": "gateway", "time": "2026-01-01T00:01:00Z"});
            let object = json!({"metadata": {"managedFields": [ours, of_gateway]}});
            Live { kind: ChildKind::HttpRoute, name: "stripe-receiver".into(), object }
        };
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let moved = |time: &str| has_moved(&Plan::default(), &[route(time)], now);
        assert_eq!(["2026-01-01T00:00:55Z", "2026-01-01T00:01:05Z"].map(moved), [false, false]);
        assert!(moved("2026-01-01T00:00:45Z") && has_moved(&Plan::default(), &[], now));
        let step = |changes, plan: &Plan, time| after_take_over(changes, plan, &[route(time)], now);
        let (new, old) = ("2026-01-01T00:00:55Z", "2026-01-01T00:00:45Z");
        let steps =
            [(true, new), (true, old), (false, new)].map(|(changes, time)| step(changes, &Plan::default(), time));
        assert_eq!(steps, [Step::Moves, Step::Done, Step::Done]);

        let delete = |kind| {
            let [name, uid, resource_version] = ["stripe-receiver", "u", "1"].map(str::to_owned);
            Change::Delete { kind, name, uid, resource_version }
        };
        let create = desire(&endpoint(SHARED), &settings()).into_iter().map(Change::Create).collect::<Vec<_>>();
        let kept: Vec<Change> = create.into_iter().chain([delete(ChildKind::Ingress)]).collect();
        let changes = kept.iter().cloned().chain([delete(ChildKind::Service), delete(ChildKind::Deployment)]).collect();
        let plan = Plan { changes, withheld: Vec::new() };
        assert!(!has_moved(&plan, &[], now));
        let farewell = Plan { changes: vec![delete(ChildKind::Deployment)], withheld: Vec::new() };
        assert_eq!([new, old].map(|time| step(false, &farewell, time)), [Step::Moves, Step::Done]);
        assert_eq!(without_farewells(plan).changes, kept);
    }
}
