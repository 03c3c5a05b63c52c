//! The collector that the operator's configuration names: receivers and workers send it their spans.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde_json::json;
use sluice_suite::{Stage, collector::Collector, flow::Flow, operator::Launch, shop::payment, until, world::PATIENCE};

#[tokio::test]
async fn receivers_and_workers_send_spans_to_the_collector_of_the_operators_configuration() {
    let (stage, collector) = (Stage::begin("traced").await.unwrap(), Collector::start().await.unwrap());
    let launch = stage.launch_apart("traced").await.unwrap();
    let tracing = json!({"environment": {
        "OTEL_EXPORTER_OTLP_ENDPOINT": format!("http://{}", collector.grpc),
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
    }});
    let settings = format!("{}tracing: {tracing}\n", launch.settings);
    let _operator = stage.start(&Launch { settings, ..launch }).await.unwrap();
    let flow = Flow::open(&stage, &[]).await.unwrap();
    assert_eq!(flow.sender.send("evt-1", &payment(1)).await.unwrap(), StatusCode::ACCEPTED);
    until("both have sent spans", PATIENCE, || async {
        let services: BTreeSet<_> = collector.spans().into_iter().map(|span| span.service).collect();
        if services.len() == 2 { Ok(()) } else { Err(format!("spans of {services:?}; {}", flow.worker.log())) }
    })
    .await
    .unwrap();
}
