//! What a gateway could see of a shop's Webhook, and when: what helps to find out why a request failed.

use std::{cell::RefCell, fs};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};
use serde_json::{Value, json};
use sluice_cluster::{Component, Target};
use sluice_suite::Shop;
use tokio::time::{Duration, MissedTickBehavior, interval};

/// From one look to the next: an answer that lasts a second is seen with what was there before and after it.
const PACE: Duration = Duration::from_millis(250);
/// Lines of a log that are told.
const LINES: usize = 300;

/// Looks at route, Services and endpoints, and notes each change with its time.
pub(crate) struct Witness<'a> {
    shop: &'a Shop,
    notes: RefCell<Vec<String>>,
    last: RefCell<String>,
}

impl<'a> Witness<'a> {
    pub(crate) fn new(shop: &'a Shop) -> Self {
        Self { shop, notes: RefCell::default(), last: RefCell::default() }
    }

    /// Notes what happens.
    pub(crate) fn note(&self, what: &str) {
        self.notes.borrow_mut().push(format!("{} {what}", Timestamp::now()));
    }

    /// Looks until `meanwhile` has ended.
    pub(crate) async fn during<T>(&self, meanwhile: impl Future<Output = T>) -> T {
        tokio::select! {
            ended = meanwhile => ended,
            () = self.look_on() => unreachable!("it looks without an end"),
        }
    }

    async fn look_on(&self) {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            let seen = self.look().await.unwrap_or_else(|error| error.to_string());
            if *self.last.borrow() != seen {
                self.note(&seen);
                self.last.replace(seen);
            }
        }
    }

    async fn look(&self) -> Result<String, kube::Error> {
        let routes = self.api("gateway.networking.k8s.io", "v1", "HTTPRoute");
        let [services, slices] = [self.api("", "v1", "Service"), self.api("discovery.k8s.io", "v1", "EndpointSlice")];
        let all = ListParams::default();
        let (routes, services, slices) = futures::try_join!(routes.list(&all), services.list(&all), slices.list(&all))?;
        let routes: Vec<Value> = routes.iter().map(route).collect();
        let services: Vec<String> = services.iter().map(ResourceExt::name_any).collect();
        let endpoints: Vec<Value> = slices.iter().map(endpoints).collect();
        Ok(format!("routes {}; Services {services:?}; endpoints {}", json!(routes), json!(endpoints)))
    }

    fn api(&self, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.shop.client.clone(), &self.shop.namespace, &resource)
    }

    /// All that was noted, and the end of Contour's log.
    pub(crate) fn tells(&self) -> String {
        let notes = self.notes.borrow().join("\n");
        format!("{notes}\nContour:\n{}", contour(self.shop.target))
    }
}

/// Where a route leads, and what gateways say of which generation of it.
fn route(route: &DynamicObject) -> Value {
    let parents = route.data["status"]["parents"].as_array().into_iter().flatten();
    let conditions = parents.flat_map(|parent| parent["conditions"].as_array().into_iter().flatten());
    let said: Vec<String> = conditions
        .map(|one| format!("{}={} of {}: {}", one["type"], one["status"], one["observedGeneration"], one["message"]))
        .collect();
    json!({
        "generation": route.metadata.generation,
        "backends": route.data["spec"]["rules"][0]["backendRefs"],
        "gateways": said,
    })
}

fn endpoints(slice: &DynamicObject) -> Value {
    let all = slice.data["endpoints"].as_array().into_iter().flatten();
    let all: Vec<Value> = all.map(|one| json!([one["addresses"][0], one["conditions"]["ready"]])).collect();
    json!({slice.name_any(): all})
}

/// The last lines of its log; an external cluster's gateway is somebody else's.
fn contour(target: &Target) -> String {
    let Target::Local(cluster) = target else { return "its log is elsewhere".to_owned() };
    let log = fs::read_to_string(cluster.component(Component::Contour).log()).unwrap_or_else(|error| error.to_string());
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
