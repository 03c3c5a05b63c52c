//! What the running programs answer at `/metrics` is what their definitions, and so `docs/metrics.md`, say.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use std::net::SocketAddr;

use reqwest::StatusCode;
use serde_json::json;
use sluice_crds::metrics::{Chapter, operator, process, receiver, resource, worker};
use sluice_suite::{World, exposition::Exposition, flow::Flow, shop::payment, until, world::PATIENCE};

async fn metrics(address: SocketAddr) -> String {
    reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap()
}

/// Waits until a program answers as these chapters say: some values are only known after a while.
async fn answers(address: SocketAddr, chapters: &[Chapter]) {
    let chapters = [&[process::CHAPTER][..], chapters].concat();
    until("the program answers as defined", PATIENCE, || async {
        let complaints = Exposition::read(&metrics(address).await).complaints(&chapters);
        if complaints.is_empty() { Ok(()) } else { Err(format!("{complaints:?}")) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn programs_answer_what_the_page_says() {
    let world = World::begin("metrics").await.unwrap();
    let flow = Flow::open(&world, &[]).await.unwrap();
    flow.ledger.behave(&json!({"refuse": "customer-3"})).await.unwrap();
    for number in 0..5 {
        assert_eq!(flow.sender.send(&format!("evt-{number}"), &payment(number)).await.unwrap(), StatusCode::ACCEPTED);
    }
    assert_eq!(flow.sender.send("evt-0", &payment(0)).await.unwrap(), StatusCode::ACCEPTED, "a duplicate");
    assert_eq!(flow.sender.forge("evt-9", &payment(9)).await.unwrap(), StatusCode::UNAUTHORIZED);
    until("the worker is through", PATIENCE, || async {
        let text = metrics(flow.worker.status).await;
        let counted = |metric: &str, count: &str| {
            text.lines().any(|line| line.starts_with(metric) && line.ends_with(&format!(" {count}")))
        };
        let through = counted(worker::RECORDS_DELIVERED.name, "4") && counted(worker::RECORDS_DEAD_LETTERED.name, "1");
        if through { Ok(()) } else { Err(text) }
    })
    .await
    .unwrap();

    answers(flow.receiver.status, &[receiver::CHAPTER]).await;
    answers(flow.worker.status, &[worker::CHAPTER]).await;
    answers(world.operator.status, &[operator::CHAPTER, resource::CHAPTER]).await;
}
