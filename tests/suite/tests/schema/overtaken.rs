//! Schemas that nobody wants any more by the time the registry takes them.

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use http::Method;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use sluice_crds::Topic;
use sluice_suite::{
    proxy::{Asked, Delay, Fate, Proxy},
    until,
    world::PATIENCE,
};

use crate::desk::{Desk, OPTIONAL, REQUIRED, order, registry};

/// A desk whose requests to the registry are held up. A request waits 5 s for its answer.
struct HeldUp {
    desk: Desk,
    delay: Delay,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// It ends when this is dropped.
    _way: Proxy,
}

impl Deref for HeldUp {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.desk
    }
}

impl HeldUp {
    async fn begin(name: &str, is_held: impl Fn(&Asked) -> bool + Send + Sync + 'static) -> Self {
        let way = Proxy::before(&registry().await).await.unwrap();
        let (delay, asked) = (Delay::default(), Arc::new(Mutex::new(Vec::new())));
        let (held, seen) = (delay.clone(), Arc::clone(&asked));
        way.judge(move |asked: &Asked| {
            seen.lock().unwrap().push(asked.clone());
            if is_held(asked) { Fate::Delay(held.clone()) } else { Fate::Forward }
        });
        // Nobody looks again by a timer.
        let desk = Desk::with(name, &format!("default: {{url: '{}', driftInterval: 24h}}", way.url)).await;
        Self { desk, delay, asked, _way: way }
    }

    fn asked_about(&self, topic: &str) -> Vec<Asked> {
        let subject = self.subject(topic);
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.path.contains(&subject)).cloned().collect()
    }

    /// Waits until the operator works on the Topic's schema.
    async fn is_asked_about(&self, topic: &str) {
        until(&format!("the registry is asked about {topic}"), PATIENCE, || async {
            if self.asked_about(topic).is_empty() { Err("nothing".to_owned()) } else { Ok(()) }
        })
        .await
        .unwrap_or_else(|error| panic!("{error:#}\n{}", self.operator.log()));
    }

    /// What the registry was asked to change about the Topic's subject: a `PUT` sets its compatibility, a `POST` registers.
    fn writes(&self, topic: &str) -> Vec<Method> {
        let asked = self.asked_about(topic).into_iter();
        asked.filter(|asked| asked.method == Method::PUT || registers(asked)).map(|asked| asked.method).collect()
    }
}

/// Another `POST` looks for a schema.
fn registers(asked: &Asked) -> bool {
    asked.method == Method::POST && asked.path.ends_with("/versions")
}

#[tokio::test]
async fn of_changes_before_the_registry_answers_only_the_last_is_registered() {
    let desk = HeldUp::begin("schema-twice", |_| true).await;
    desk.avro("orders", &order(""), json!({"compatibility": "Full"})).await;
    desk.is_asked_about("orders").await;
    for (fields, level) in [(OPTIONAL, "Forward"), (REQUIRED, "None")] {
        desk.avro("orders", &order(fields), json!({"compatibility": level})).await;
        // Its pass is over.
        desk.says("orders", "False").await;
    }
    desk.delay.end().await;
    desk.has_version("orders", 1).await;
    let subject = desk.subject("orders");
    assert_eq!(desk.newest(&subject).await, order(REQUIRED));
    assert_eq!(desk.versions(&subject).await, json!([1]));
    assert_eq!(desk.ask(&format!("config/{subject}")).await["compatibilityLevel"], "NONE");
    assert_eq!(desk.writes("orders"), [Method::POST, Method::PUT]);
}

#[tokio::test]
async fn what_nobody_wants_any_more_is_not_registered() {
    let desk = HeldUp::begin("schema-unwanted", |_| true).await;
    let schema = json!({"format": "Avro", "compatibility": "Full", "definition": {"inline": order("")}});
    let overtaken = ["observed", "bare", "gone"];
    for topic in overtaken {
        desk.topic(topic, json!({"schema": schema})).await;
    }
    for topic in overtaken {
        desk.is_asked_about(topic).await;
    }
    desk.topic("observed", json!({"managementPolicy": "Observe", "schema": schema})).await;
    desk.topic("bare", json!({})).await;
    desk.api::<Topic>().delete("gone", &DeleteParams::default()).await.unwrap();
    desk.says("observed", "False").await;
    desk.says("bare", "True InSync").await;
    // Whoever has seen this one has seen the other one go.
    desk.topic("last", json!({"schema": schema})).await;
    desk.is_asked_about("last").await;
    desk.delay.end().await;
    desk.has_version("last", 1).await;
    desk.says("observed", "True InSync").await;
    for topic in overtaken {
        let writes = desk.writes(topic);
        assert!(writes.is_empty(), "{topic}: {writes:?}");
        assert_eq!(desk.versions(&desk.subject(topic)).await, Value::Null, "{topic}");
    }
}

#[tokio::test]
async fn a_newer_schema_waits_for_the_request_that_is_under_way() {
    let is_first = AtomicBool::new(true);
    let first_registers = move |asked: &Asked| registers(asked) && is_first.swap(false, Ordering::SeqCst);
    let desk = HeldUp::begin("schema-under-way", first_registers).await;
    desk.avro("orders", &order(""), json!({})).await;
    desk.delay.holds_one().await;
    desk.avro("orders", &order(OPTIONAL), json!({})).await;
    desk.says("orders", "False").await;
    assert_eq!(desk.writes("orders"), [Method::POST]);
    desk.delay.end().await;
    desk.has_version("orders", 2).await;
    let subject = desk.subject("orders");
    assert_eq!(desk.newest(&subject).await, order(OPTIONAL));
    assert_eq!(desk.versions(&subject).await, json!([1, 2]));
}
