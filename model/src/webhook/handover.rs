//! A Webhook that changes between receivers of its own and shared ones. Those before go on, with its route, until the others take over; then
//! the route moves; then it names those before no longer, and then these go. Meanwhile the route names both: a gateway that knows both moves all
//! requests in one moment, where Envoy answers some of them 503 that are to go to a backend that it does not know yet, or no longer.
//!
//! Gateways watch routes and Services apart, and see what becomes of them in any order, on a busy machine seconds apart. Contour answers every
//! request 500 while the only backend of a route that has a weight is a Service that it does not see. So each step begins when gateways have
//! followed the one before, by what they say of the route.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use sluice_crds::{ReceiverMode, Settings};

use super::{Endpoint, Found, Held, SharedReceivers, acceptance, is_of_route};
use crate::children::{Availability, Change, Child, ChildKind, FIELD_MANAGER, Live, Plan};

/// Gateways follow a route that they know, and the endpoints of a Service, within this time. What they still send to receivers that end is
/// taken for some seconds more.
const GATEWAYS_FOLLOW: Duration = Duration::from_secs(10);
/// A gateway that speaks of a route and does not know its newest version is waited for so long: it may have been uninstalled.
const GATEWAYS_ANSWER: Duration = Duration::from_mins(1);

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Those that are wanted are made beside those before, which have the route.
    Beside,
    /// The route moves, or gateways follow it yet. Those before still answer.
    Moves,
    /// Requests come to those before no longer.
    Done,
}

/// How a pass finds the receivers of a Webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There are no others than those that are wanted.
    Stay,
    /// Those of the other kind go on.
    Wait,
    /// Those that are wanted may take over.
    TakeOver,
    /// They have taken over, and shared ones still serve it.
    Leave,
}

/// The objects that are wanted in each step of a change. Where receivers do not change it is always the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Steps {
    next: Vec<Child>,
    beside: Vec<Child>,
    moved: Vec<Child>,
}

impl Steps {
    /// What is to be in the end, and what is noted of receivers of the other kind, where these go on.
    pub fn of(next: Vec<Child>, before: Option<&Held>, settings: &Settings) -> Self {
        let of_both =
            |held: &Held| (held.beside(next.clone(), settings), announcing(next.clone(), &held.desire(settings)));
        let (beside, moved) = before.map(of_both).unwrap_or_default();
        Self { next, beside, moved }
    }

    /// All objects that are wanted in any step, each once.
    pub fn all(&self) -> Vec<Child> {
        let is_more = |child: &&Child| !self.next.iter().any(|known| known.is_same_object(child));
        self.next.iter().chain(self.beside.iter().filter(is_more)).cloned().collect()
    }

    /// The step that it has come to, and what that has to change. `plan_of` compares what is wanted with `live`.
    pub fn step(&self, turn: Turn, live: &[Live], now: Timestamp, plan_of: impl Fn(&[Child]) -> Plan) -> (Step, Plan) {
        let (step, plan) = match turn {
            Turn::Wait => return (Step::Beside, plan_of(&self.beside)),
            Turn::Stay | Turn::Leave => {
                let plan = plan_of(&self.next);
                (after_take_over(turn == Turn::Leave, &plan, live, now), plan)
            }
            Turn::TakeOver => {
                let (beside, moved) = (plan_of(&self.beside), plan_of(&self.moved));
                if !may_move(&beside, &moved, live, now) {
                    return (Step::Beside, beside);
                }
                (after_take_over(true, &moved, live, now), moved)
            }
        };
        match (step, turn) {
            (Step::Moves, _) => (step, without_farewells(plan)),
            // The route names those before no longer, and they go when gateways have followed that too.
            (Step::Done, Turn::TakeOver) => (step, without_farewells(plan_of(&self.next))),
            (Step::Beside | Step::Done, _) => (step, plan),
        }
    }
}

/// Whether the receivers that a Webhook asks for take over from those of the other kind: they have served it so long that gateways know where
/// they are, or those have not run for so long. `own` are its own; `shared` is what is known of the shared ones, where these could be looked at,
/// and `found` what they say of it.
pub fn take_over(
    endpoint: &Endpoint,
    own: Option<&Availability>,
    shared: Option<&SharedReceivers>,
    found: Option<&Found>,
    now: Timestamp,
) -> bool {
    let is_known = |receivers: &Availability| receivers.changed.is_none_or(|at| since(at, now) >= GATEWAYS_FOLLOW);
    // One that cannot answer its probes for a moment, as on a busy machine, is no reason to go to others that are not there.
    let run = |receivers: Option<&Availability>| receivers.is_some_and(|one| one.ready > 0 || !is_known(one));
    let are_complete = |receivers: Option<&Availability>| receivers.is_some_and(|one| one.complete && is_known(one));
    match endpoint.mode {
        ReceiverMode::Dedicated => are_complete(own) || shared.is_some_and(|shared| !run(shared.availability.as_ref())),
        ReceiverMode::Shared => {
            let share = endpoint.share();
            // One that does not answer may not know of it yet.
            let serve = |found: &Found, revision: &str| found.complete && found.all_serve(revision);
            let is_served = share.zip(found).is_some_and(|(share, found)| serve(found, &share.revision));
            let are_all = |shared: &SharedReceivers| {
                let has_service = !shared.withheld.iter().any(|one| one.kind == ChildKind::Service);
                shared.failure.is_none() && has_service && are_complete(shared.availability.as_ref())
            };
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

/// Whether the route may move: all that it names is there, with nothing `beside` left to make, and gateways know it. Or it has moved, so that
/// nothing of it is left to change.
fn may_move(beside: &Plan, moved: &Plan, live: &[Live], now: Timestamp) -> bool {
    let is_left = |change: &Change| matches!(change, Change::Create(_)) || is_of_route(change.kind());
    let is_made = !beside.changes.iter().any(is_left);
    !changes_route(moved) || (is_made && has_service(beside) && is_followed(live, now))
}

/// Whether nobody else has the name of a Service that is wanted: no route may lead to that.
pub fn has_service(plan: &Plan) -> bool {
    !plan.withheld.iter().any(|one| one.kind == ChildKind::Service)
}

/// Whether a Webhook's route leads where it is to lead, and gateways have followed it.
fn has_moved(plan: &Plan, live: &[Live], now: Timestamp) -> bool {
    !changes_route(plan) && is_followed(live, now)
}

fn changes_route(plan: &Plan) -> bool {
    plan.changes.iter().any(|change| is_of_route(change.kind()))
}

/// Whether gateways have followed the route as it is.
fn is_followed(live: &[Live], now: Timestamp) -> bool {
    live.iter().filter(|object| is_of_route(object.kind)).all(|route| {
        let Some(written) = written(route) else { return true };
        // What a gateway says of a route it tells its proxies at the same time.
        let told = answered(route).map_or(written, |answered| answered.max(written));
        let is_known = route.kind != ChildKind::HttpRoute || acceptance::is_known(&route.object);
        (is_known && since(told, now) >= GATEWAYS_FOLLOW) || since(written, now) >= GATEWAYS_ANSWER
    })
}

/// These objects, with a route that names the backends of another one of its name too, and sends nothing to them.
pub(super) fn announcing(mut children: Vec<Child>, others: &[Child]) -> Vec<Child> {
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

/// When Sluice wrote an object last, where the API server tells.
fn written(object: &Live) -> Option<Timestamp> {
    last_write(object, |writer| writer["manager"] == FIELD_MANAGER)
}

/// When its status was written last.
fn answered(object: &Live) -> Option<Timestamp> {
    last_write(object, |writer| writer["subresource"] == "status")
}

fn last_write(object: &Live, is_meant: impl Fn(&Value) -> bool) -> Option<Timestamp> {
    let writers = object.object["metadata"]["managedFields"].as_array()?.iter();
    writers.filter(|writer| is_meant(writer)).filter_map(|writer| writer["time"].as_str()?.parse().ok()).max()
}

/// None has passed where clocks differ.
fn since(then: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(then).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{prelude::*, sample::select};
    use sluice_crds::{Reason, Webhook};

    use super::*;
    use crate::{
        children::{Withheld, last_good, plan},
        webhook::{COMPONENT, References, desire, validate, without_unknown},
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

    /// What is noted of the first spec, where the second one is wanted.
    fn held(before: &str, after: &str) -> Held {
        let old = desire(&endpoint(before), &settings());
        let mut changed = webhook(after);
        changed.status.get_or_insert_default().last_good = last_good(&old, &BTreeSet::new(), &[]);
        let configuration = old.iter().find(|child| child.manifest["immutable"] == true).unwrap();
        let mut held = Held::recall(&changed, &live(configuration)).unwrap();
        if let Some(own) = old.iter().find(|child| child.kind == ChildKind::Deployment) {
            held = held.as_many_as(&live(own));
        }
        held
    }

    /// What runs after the first spec, beside what the second one wants.
    fn beside(before: &str, after: &str) -> Vec<Child> {
        held(before, after).beside(desire(&endpoint(after), &settings()), &settings())
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
            Some(Availability { replicas: 2, ready, complete, overdue: false, reason, message, changed: None })
        };
        let now = Timestamp::from_second(100).unwrap();
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
            let found = take_over(&own, of_own.as_ref(), of_shared.as_ref(), None, now);
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
            let takes_over = take_over(&shared, of_own.as_ref(), Some(&pool(of_shared)), found.as_ref(), now);
            assert_eq!(takes_over, expected, "{found:?}");
        }
        let withheld =
            |kind| Plan { changes: Vec::new(), withheld: vec![Withheld { kind, name: "stripe-receiver".into() }] };
        assert_eq!(
            [ChildKind::Service, ChildKind::NetworkPolicy].map(|kind| has_service(&withheld(kind))),
            [false, true]
        );
        let strange = Withheld { kind: ChildKind::Service, name: "sluice-receivers".into() };
        let without_service = SharedReceivers { withheld: vec![strange], ..pool(some(2, true)) };
        let found = serve(&revision, 0);
        assert!(!take_over(&shared, some(1, true).as_ref(), Some(&without_service), Some(&found), now));
    }

    #[test]
    fn what_changed_a_moment_ago_decides_nothing() {
        let own = endpoint(OWN);
        let changed = |ready: i32, complete: bool, seconds: i64| {
            let (reason, message, changed) = (Reason::Satisfied, String::new(), Timestamp::from_second(seconds).ok());
            Availability { replicas: 2, ready, complete, overdue: false, reason, message, changed }
        };
        let now = Timestamp::from_second(100).unwrap();
        let serving = SharedReceivers { availability: Some(changed(2, true, 0)), ..SharedReceivers::default() };
        let complete = |seconds| take_over(&own, Some(&changed(2, true, seconds)), Some(&serving), None, now);
        assert_eq!([95, 90].map(complete), [false, true], "gateways may not know its pods yet");
        let ended = |seconds| SharedReceivers { availability: Some(changed(0, false, seconds)), ..serving.clone() };
        let alone = |seconds| take_over(&own, None, Some(&ended(seconds)), None, now);
        assert_eq!([95, 90].map(alone), [false, true], "those that have gone may come back");
        let ahead = |minutes| {
            let at = now + Duration::from_mins(minutes);
            take_over(&own, Some(&changed(2, true, 160)), Some(&serving), None, at)
        };
        assert_eq!([0, 10].map(ahead), [false, true], "the API server's clock is a minute ahead");
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

    #[test]
    fn a_gateway_that_does_not_know_the_route_is_waited_for_a_minute() {
        let condition = |kind: &str, status: &str, generation: i64| json!({"type": kind, "status": status, "observedGeneration": generation});
        let route = |conditions: &[Value], answered: &str| {
            let writers = json!([
                {"manager": "sluice", "time": "2026-01-01T00:00:00Z"},
                {"manager": "contour", "time": answered, "subresource": "status"},
            ]);
            let parents = json!([{"conditions": conditions}]);
            let metadata = json!({"generation": 2, "managedFields": writers});
            let object = json!({"metadata": metadata, "status": {"parents": parents}});
            [Live { kind: ChildKind::HttpRoute, name: "stripe-receiver".into(), object }]
        };
        let (at_once, late) = ("2026-01-01T00:00:01Z", "2026-01-01T00:00:15Z");
        let [accepted, resolved] = ["Accepted", "ResolvedRefs"].map(|kind| condition(kind, "True", 2));
        let of_others = condition("example.net/Own", "False", 1);
        let known = vec![accepted.clone(), resolved, of_others];
        let without_backend = vec![accepted, condition("ResolvedRefs", "False", 2)];
        let outdated = vec![condition("Accepted", "True", 1), condition("ResolvedRefs", "True", 1)];
        for (conditions, answered, expected) in [
            (&known, at_once, [true, true]),
            (&known, late, [false, true]),
            (&Vec::new(), at_once, [true, true]),
            (&without_backend, at_once, [false, true]),
            (&outdated, at_once, [false, true]),
        ] {
            let found = ["2026-01-01T00:00:20Z", "2026-01-01T00:01:00Z"]
                .map(|now| is_followed(&route(conditions, answered), now.parse().unwrap()));
            assert_eq!(found, expected, "{conditions:?} at {answered}");
        }
    }

    #[test]
    fn the_route_stays_while_others_are_waited_for_whose_route_the_cluster_cannot_have() {
        let (settings, wants) = (settings(), endpoint(SHARED));
        let plugin = wants.owner.child(ChildKind::KongPlugin, COMPONENT, "stripe-receiver-rate-limiting", json!({}));
        let next: Vec<Child> = desire(&wants, &settings).into_iter().chain([plugin]).collect();
        let live: Vec<Live> = desire(&endpoint(OWN), &settings).iter().map(live).collect();
        let plan_of =
            |children: &[Child]| plan(&wants.owner, &without_unknown(children, &[ChildKind::KongPlugin]), &live);
        let now = Timestamp::from_second(1_000).unwrap();
        let loses_route = |before: Option<&Held>, turn| {
            let (_, plan) = Steps::of(next.clone(), before, &settings).step(turn, &live, now, plan_of);
            let is_farewell = |change: &Change| matches!(change, Change::Delete { kind, .. } if is_of_route(*kind));
            plan.changes.iter().any(is_farewell)
        };
        let before = held(OWN, SHARED);
        assert_eq!([loses_route(Some(&before), Turn::Wait), loses_route(None, Turn::Stay)], [false, true]);
    }

    /// A gateway that sees routes and Services each at its own pace.
    struct Gateway {
        route_lag: usize,
        service_lag: usize,
    }

    /// What there was in one second: the route's generation and backends with their weights, and the Services.
    #[derive(Clone, Default)]
    struct Moment {
        generation: i64,
        backends: Vec<(String, i64)>,
        services: BTreeSet<String>,
    }

    impl Gateway {
        /// What it sees at the end of a history.
        fn sees(&self, history: &[Moment]) -> Moment {
            let seen = |lag: usize| history[history.len().saturating_sub(lag + 1)].clone();
            Moment { services: seen(self.service_lag).services, ..seen(self.route_lag) }
        }
    }

    impl Moment {
        fn has(&self, backend: &str) -> bool {
            self.services.contains(backend)
        }

        /// Whether every request is answered 500: nothing that has a weight is there.
        fn fails(&self) -> bool {
            !self.backends.iter().any(|(backend, weight)| *weight > 0 && self.has(backend))
        }

        /// What it says of the route.
        fn status(&self) -> Value {
            let resolved = if self.backends.iter().all(|(backend, _)| self.has(backend)) { "True" } else { "False" };
            let condition =
                |kind, status| json!({"type": kind, "status": status, "observedGeneration": self.generation});
            json!({"parents": [{"conditions": [condition("Accepted", "True"), condition("ResolvedRefs", resolved)]}]})
        }
    }

    fn backends_of(route: &Value) -> Vec<(String, i64)> {
        let backends = route["spec"]["rules"][0]["backendRefs"].as_array().into_iter().flatten();
        let backend = |one: &Value| (one["name"].as_str().unwrap().to_owned(), one["weight"].as_i64().unwrap_or(1));
        backends.map(backend).collect()
    }

    /// Carries a plan out in the second `now`; how many changes there were.
    fn apply(plan: &Plan, live: &mut Vec<Live>, now: Timestamp) -> usize {
        for change in &plan.changes {
            let (kind, name) = match change {
                Change::Create(child) | Change::Update { child, .. } => (child.kind, child.name.clone()),
                Change::Delete { kind, name, .. } => (*kind, name.clone()),
            };
            let there = live.iter().position(|object| (object.kind, &object.name) == (kind, &name));
            let before = there.map(|place| live.remove(place));
            if let Change::Create(child) | Change::Update { child, .. } = change {
                let mut object = child.manifest.clone();
                let generation = before.as_ref().and_then(|one| one.object["metadata"]["generation"].as_i64());
                object["metadata"]["generation"] = json!(generation.unwrap_or_default() + 1);
                object["metadata"]["managedFields"] = json!([{"manager": FIELD_MANAGER, "time": now.to_string()}]);
                if let Some(before) = before {
                    object["status"] = before.object["status"].clone();
                }
                live.push(Live { kind, name, object });
            }
        }
        plan.changes.len()
    }

    /// Seconds from one look at everything to the next.
    const PACE: u64 = 2;

    /// Receivers that have all been ready since then.
    fn ready_since(at: Timestamp) -> Availability {
        let (reason, message, changed) = (Reason::Satisfied, String::new(), Some(at));
        Availability { replicas: 2, ready: 2, complete: true, overdue: false, reason, message, changed }
    }

    /// How a pass finds receivers of which its own, and shared ones, are ready since then.
    fn turn(wants: &Endpoint, before: Option<&Held>, [own, shared]: [Option<Timestamp>; 2], now: Timestamp) -> Turn {
        let pool = SharedReceivers { availability: shared.map(ready_since), ..SharedReceivers::default() };
        let revisions = wants.share().map(|share| (share.revision, 2)).into_iter().collect();
        let found = Found { complete: true, answered: 2, revisions, ..Found::default() };
        match before {
            Some(_) if take_over(wants, own.map(ready_since).as_ref(), Some(&pool), Some(&found), now) => {
                Turn::TakeOver
            }
            Some(_) => Turn::Wait,
            None if wants.mode == ReceiverMode::Dedicated && shared.is_some() => Turn::Leave,
            None => Turn::Stay,
        }
    }

    fn route_of(live: &mut [Live]) -> &mut Value {
        &mut live.iter_mut().find(|object| object.kind == ChildKind::HttpRoute).unwrap().object
    }

    /// What there is, where shared receivers have a Service while they run.
    fn moment(live: &mut [Live], has_shared: bool) -> Moment {
        let own = live.iter().filter(|object| object.kind == ChildKind::Service).map(|object| object.name.clone());
        let services = own.chain(has_shared.then(|| "sluice-receivers".to_owned())).collect();
        let route = route_of(live);
        let generation = route["metadata"]["generation"].as_i64().unwrap();
        Moment { generation, backends: backends_of(route), services }
    }

    /// The gateway says this of the route, where that is new.
    fn answer(route: &mut Value, status: Value, now: Timestamp) {
        if route["status"] != status {
            route["status"] = status;
            let writers = route["metadata"]["managedFields"].as_array_mut().unwrap();
            writers.retain(|writer| writer["manager"] == FIELD_MANAGER);
            writers.push(json!({"manager": "gateway", "subresource": "status", "time": now.to_string()}));
        }
    }

    /// Changes a Webhook from one spec to the other, whose receivers are ready after some looks, beside such a gateway, which may not fail.
    fn change(gateway: &Gateway, [from, to]: [&str; 2], ready_after: usize) -> Result<(), TestCaseError> {
        let (settings, wants) = (settings(), endpoint(to));
        let (old, next) = (desire(&endpoint(from), &settings), desire(&wants, &settings));
        let (mut before, mut live, mut at_rest) = (Some(held(from, to)), Vec::new(), 0);
        let mut now = Timestamp::from_second(1_000).unwrap();
        let changes = old.into_iter().map(Change::Create).collect();
        apply(&Plan { changes, withheld: Vec::new() }, &mut live, now);
        // Its own receivers, and shared ones.
        let (last, first) = if wants.mode == ReceiverMode::Dedicated { (0, 1) } else { (1, 0) };
        let mut ready = [None; 2];
        ready[first] = Some(Timestamp::UNIX_EPOCH);
        let mut history = vec![moment(&mut live, ready[1].is_some())];
        for look in 0..300_usize {
            now += Duration::from_secs(PACE);
            let turn = turn(&wants, before.as_ref(), ready, now);
            let steps = Steps::of(next.clone(), before.as_ref(), &settings);
            let (step, todo) = steps.step(turn, &live, now, |children| plan(&wants.owner, children, &live));
            let changes = apply(&todo, &mut live, now);
            let is_over = step == Step::Done && before.is_none();
            if step == Step::Done {
                before = None;
            }
            if look >= ready_after && ready[last].is_none() {
                ready[last] = Some(now);
            }
            // Its own go with their Deployment, and shared ones when they are told to serve nothing.
            let has_own = live.iter().any(|object| object.kind == ChildKind::Deployment);
            if (first == 0 && !has_own) || (first == 1 && is_over) {
                ready[first] = None;
            }
            history.push(moment(&mut live, ready[1].is_some()));
            let sees = gateway.sees(&history);
            prop_assert!(!sees.fails(), "look {look}, {step:?}: {:?} of {:?}", sees.backends, sees.services);
            answer(route_of(&mut live), sees.status(), now);
            // Also what it sees last.
            let is_alone = history.last().is_some_and(|last| last.services.len() == 1 && last.has(&wants.service()));
            at_rest = if is_alone && changes == 0 { at_rest + 1 } else { 0 };
            if at_rest > gateway.route_lag.max(gateway.service_lag) {
                return Ok(());
            }
        }
        Err(TestCaseError::fail("it does not come to an end"))
    }

    proptest! {
        // Each is a whole change.
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_order_in_which_a_gateway_sees_routes_and_services_leaves_a_request_without_a_backend(
            route_lag in 0_usize..13,
            service_lag in 0_usize..13,
            ready_after in 0_usize..8,
            way in select(vec![[OWN, SHARED], [SHARED, OWN]]),
        ) {
            change(&Gateway { route_lag, service_lag }, way, ready_after)?;
        }
    }
}
