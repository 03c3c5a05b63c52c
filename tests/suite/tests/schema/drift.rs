//! What other tools do to a subject, and what nobody does at rest.

use reqwest::Method;
use serde_json::{Value, json};
use sluice_crds::{Topic, metrics::operator::RECONCILES};
use sluice_suite::{until, world::PATIENCE};

use crate::{
    desk::{Desk, OPTIONAL, order, registry},
    guard::Guard,
};

#[tokio::test]
async fn what_other_tools_change_is_repaired_or_said() {
    let desk = Desk::begin("schema-drift").await;
    let subject = desk.subject("orders");
    desk.avro("orders", &order(""), json!({"compatibility": "Backward"})).await;
    desk.has_version("orders", 1).await;

    let config = format!("config/{subject}");
    desk.tell(Method::PUT, &config, &json!({"compatibility": "NONE"})).await;
    desk.answers(&config, &json!({"compatibilityLevel": "BACKWARD"})).await;

    desk.tell(Method::DELETE, &format!("subjects/{subject}"), &Value::Null).await;
    until("it is registered again", PATIENCE, || async {
        let newest = desk.ask(&format!("subjects/{subject}/versions/latest")).await;
        if newest["schema"] == order("") { Ok(()) } else { Err(newest.to_string()) }
    })
    .await
    .unwrap();
    desk.says("orders", "True InSync").await;

    let another = json!({"schema": order(OPTIONAL)});
    desk.tell(Method::POST, &format!("subjects/{subject}/versions"), &another).await;
    let (_, message) = desk.says("orders", "False SchemaSuperseded").await;
    assert!(message.contains("was registered after it"), "{message}");
    // Whoever declares what is there is in sync again.
    desk.avro("orders", &order(OPTIONAL), json!({"compatibility": "Backward"})).await;
    desk.says("orders", "True InSync").await;
}

#[tokio::test]
async fn at_rest_a_subject_is_only_looked_at_once_an_interval() {
    let (often, never) = (Guard::stand(&registry().await, None, None), Guard::stand(&registry().await, None, None));
    let registries = format!(
        "often: {{url: '{}', driftInterval: 1s}}, never: {{url: '{}', driftInterval: 24h}}",
        often.url, never.url
    );
    let desk = Desk::with("schema-rest", &registries).await;
    desk.avro("plain", &order(""), json!({"registry": "never"})).await;
    desk.has_version("plain", 1).await;
    let asked = never.asked();
    // A pass asks nothing that is known.
    for _ in 0..3 {
        let before = passes(&desk).await;
        desk.touch::<Topic>("plain").await.unwrap();
        until("the operator looked again", PATIENCE, || async {
            let now = passes(&desk).await;
            if now > before { Ok(()) } else { Err(format!("{now} passes")) }
        })
        .await
        .unwrap();
    }
    assert_eq!(never.asked(), asked);

    desk.avro("orders", &order(""), json!({"registry": "often", "compatibility": "Full"})).await;
    desk.has_version("orders", 1).await;
    let version = desk.api::<Topic>().get("orders").await.unwrap().metadata.resource_version;
    let before = often.asked().len();
    until("three looks", PATIENCE, || async {
        let count = often.asked().len();
        if count >= before + 6 { Ok(()) } else { Err(format!("{count} requests")) }
    })
    .await
    .unwrap();
    let mut kinds = often.asked().split_off(before);
    kinds.sort();
    kinds.dedup();
    let subject = desk.subject("orders");
    let path = "/apis/ccompat/v7";
    let looks = [format!("GET {path}/config/{subject}"), format!("GET {path}/subjects/{subject}/versions/latest")];
    assert_eq!(kinds, looks);
    assert_eq!(
        desk.api::<Topic>().get("orders").await.unwrap().metadata.resource_version,
        version,
        "nothing is written"
    );
}

async fn passes(desk: &Desk) -> f64 {
    desk.operator.metric(RECONCILES.name).await.unwrap()
}
