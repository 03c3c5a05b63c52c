//! Traces as a real Collector of OpenTelemetry is sent them: what they say of an event on its way from its sender to an API.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod exemplars;
mod guarded;
mod path;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use reqwest::StatusCode;
use sluice_suite::{
    World,
    collector::{Collector, Seen},
    planes::Plane,
    shop::payment,
    until,
    world::PATIENCE,
};

use self::path::{Path, by_grpc, by_http};

const LOST: &str = "Spans are lost until the collector takes them";
/// The thread that sends spans from a queue, as the kernel knows it.
const SENDER_OF_SPANS: &str = "OpenTelemetry.T";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// What a sender that traces says.
fn sent_by(span: &str, flags: &str) -> String {
    format!("00-{TRACE}-{span}-{flags}")
}

async fn said(plane: &Plane, text: &str) {
    until("the program says so", PATIENCE, || async {
        let log = plane.log();
        if log.contains(text) { Ok(()) } else { Err(log) }
    })
    .await
    .unwrap();
}

/// Whether each of the programs has a queue for spans, and a thread that sends them.
fn queues(path: &Path) -> [bool; 3] {
    [&path.receiver, &path.between, &path.worker].map(|plane| plane.threads().unwrap().contains(SENDER_OF_SPANS))
}

/// Sends events until the Collector has spans of receiver and worker.
async fn services_until(path: &Path, collector: &Collector) {
    let number = AtomicUsize::new(1000);
    until("spans come again", PATIENCE, || async {
        let next = number.fetch_add(1, Ordering::Relaxed);
        path.sender.send(&format!("evt-{next}"), &payment(next)).await.map_err(|error| error.to_string())?;
        let services: BTreeSet<_> = collector.spans().into_iter().map(|span| span.service).collect();
        if services.len() == 2 { Ok(()) } else { Err(format!("spans of {services:?}")) }
    })
    .await
    .unwrap();
}

/// The spans of an event's way, in order.
fn attributes_follow_the_conventions(seen: &[Seen], path: &Path, namespace: &str) {
    let attribute = |place: usize, name: &str| seen[place].attributes.get(name).cloned().unwrap_or_default();
    let group = format!("{namespace}.to-api");
    for (place, name, value) in [
        (0, "http.request.method", "POST"),
        (0, "http.route", "/payments"),
        (0, "http.response.status_code", "202"),
        (0, "sluice.webhook", &format!("{namespace}/payments")),
        (1, "messaging.system", "kafka"),
        (1, "messaging.operation.type", "send"),
        (1, "messaging.destination.name", &path.payments),
        (1, "messaging.kafka.offset", "0"),
        (1, "messaging.destination.partition.id", &attribute(2, "messaging.destination.partition.id")),
        (4, "messaging.operation.type", "process"),
        (4, "messaging.consumer.group.name", &group),
        (4, "sluice.integration", &format!("{namespace}/to-api")),
        (5, "http.response.status_code", "503"),
        (5, "error.type", "503"),
        (6, "url.path", "/entries"),
        (6, "server.address", "127.0.0.1"),
        (6, "http.response.status_code", "200"),
        (6, "error.type", ""),
    ] {
        assert_eq!(attribute(place, name), value, "{name} of {:?}", seen[place]);
    }
}

#[tokio::test]
async fn one_trace_leads_from_the_request_through_two_topics_to_each_attempt() {
    let (world, collector) = (World::begin("traces").await.unwrap(), Collector::start().await.unwrap());
    let path = Path::open(&world, &by_grpc(&collector), &by_http(&collector)).await.unwrap();
    path.api.answer([StatusCode::SERVICE_UNAVAILABLE]);
    assert_eq!(path.sender.send("evt-1", &payment(1)).await.unwrap(), StatusCode::ACCEPTED);

    let seen = path.spans_until(&collector, 7).await.unwrap();
    let expected = [
        ("sluice-receiver", "server", "POST /payments".to_owned(), false),
        ("sluice-receiver", "producer", format!("send {}", path.payments), false),
        ("sluice-worker", "consumer", format!("process {}", path.payments), false),
        ("sluice-worker", "producer", format!("send {}", path.copies), false),
        ("sluice-worker", "consumer", format!("process {}", path.copies), false),
        ("sluice-worker", "client", "POST /entries".to_owned(), true),
        ("sluice-worker", "client", "POST /entries".to_owned(), false),
    ];
    let told: Vec<_> =
        seen.iter().map(|span| (span.service.as_str(), span.kind, span.name.clone(), span.failed)).collect();
    assert_eq!(told, expected);
    assert_eq!(seen.iter().map(|span| &span.trace).collect::<BTreeSet<_>>().len(), 1, "{seen:?}");
    let parents: Vec<_> = seen.iter().map(|span| span.parent.as_str()).collect();
    let ids: Vec<_> = seen.iter().map(|span| span.id.as_str()).collect();
    assert_eq!(parents, ["", ids[0], ids[1], ids[2], ids[3], ids[4], ids[4]]);

    attributes_follow_the_conventions(&seen, &path, &world.namespace);
    let parent = |place: usize| format!("00-{}-{}-01", seen[0].trace, ids[place]);
    let carried: Vec<_> =
        path.api.caught().iter().map(|caught| caught.header("traceparent").unwrap().to_owned()).collect();
    assert_eq!(carried, [parent(5), parent(6)]);
    let told = format!("{seen:?}");
    assert!(!told.contains("customer-1") && !told.contains("key=secret"), "{told}");
    assert_eq!(queues(&path), [true; 3]);
    exemplars::are_of(&path, &seen).await;
    exemplars::are_kept(&path, &seen[0].trace).await;
}

#[tokio::test]
async fn a_trace_of_the_sender_goes_on_and_one_that_it_does_not_record_is_not_exported() {
    let (world, collector) = (World::begin("traces-sampling").await.unwrap(), Collector::start().await.unwrap());
    let by_parent = [("OTEL_TRACES_SAMPLER", "parentbased_always_off".to_owned())];
    let (receiver, worker) =
        ([&by_http(&collector)[..], &by_parent].concat(), [&by_grpc(&collector)[..], &by_parent].concat());
    let path = Path::open(&world, &receiver, &worker).await.unwrap();

    let unsampled = path.sender_with(&[("traceparent", sent_by("00f067aa0ba902b7", "00"))]).unwrap();
    assert_eq!(unsampled.send("evt-1", &payment(1)).await.unwrap(), StatusCode::ACCEPTED);
    path.caught_until(1).await.unwrap();
    assert_eq!(path.sender.send("evt-2", &payment(2)).await.unwrap(), StatusCode::ACCEPTED);
    path.caught_until(2).await.unwrap();
    exemplars::are_none(&path).await;
    let headers = [("traceparent", sent_by("00f067aa0ba902b8", "01")), ("tracestate", "shop=7".to_owned())];
    let recording = path.sender_with(&headers).unwrap();
    assert_eq!(recording.send("evt-3", &payment(3)).await.unwrap(), StatusCode::ACCEPTED);

    let seen = path.spans_until(&collector, 6).await.unwrap();
    assert!(seen.iter().all(|span| span.trace == TRACE), "{seen:?}");
    assert_eq!(seen[0].parent, "00f067aa0ba902b8");
    exemplars::are_of(&path, &seen).await;
    let caught = path.caught_until(3).await.unwrap();
    let header = |place: usize, name: &str| caught[place].header(name).unwrap_or_default().to_owned();
    let unsampled = header(0, "traceparent");
    assert!(unsampled.starts_with(&format!("00-{TRACE}-")) && unsampled.ends_with("-00"), "{unsampled}");
    assert!(header(1, "traceparent").ends_with("-00"), "{}", header(1, "traceparent"));
    assert_eq!(header(2, "traceparent"), format!("00-{TRACE}-{}-01", seen[5].id));
    assert_eq!(header(2, "tracestate"), "shop=7");
}

#[tokio::test]
async fn a_collector_that_is_gone_holds_up_nobody() {
    let world = World::begin("traces-gone").await.unwrap();
    let mut collector = Collector::start().await.unwrap();
    let path = Path::open(&world, &by_grpc(&collector), &by_http(&collector)).await.unwrap();
    collector.stop();
    for number in 0..40 {
        let event = format!("evt-{number}");
        assert_eq!(path.sender.send(&event, &payment(number)).await.unwrap(), StatusCode::ACCEPTED);
    }
    path.caught_until(40).await.unwrap();
    for plane in [&path.receiver, &path.worker] {
        said(plane, LOST).await;
    }

    collector.resume().await.unwrap();
    services_until(&path, &collector).await;
    for plane in [&path.receiver, &path.worker] {
        said(plane, "The collector takes spans again").await;
        let log = plane.log();
        assert_eq!(log.matches(LOST).count(), 1, "{log}");
    }
}

#[tokio::test]
async fn a_variable_with_a_bad_value_is_told_and_events_go_on() {
    let (world, collector) = (World::begin("traces-bad").await.unwrap(), Collector::start().await.unwrap());
    let bad = [&by_grpc(&collector)[..], &[("OTEL_TRACES_SAMPLER", "sometimes".to_owned())]].concat();
    let path = Path::open(&world, &bad, &bad).await.unwrap();
    let traced = path.sender_with(&[("traceparent", sent_by("00f067aa0ba902b7", "01"))]).unwrap();
    assert_eq!(traced.send("evt-1", &payment(1)).await.unwrap(), StatusCode::ACCEPTED);
    let caught = path.caught_until(1).await.unwrap();
    assert_eq!(caught[0].header("traceparent"), Some(&*sent_by("00f067aa0ba902b7", "01")), "carried on as it came");
    for plane in [&path.receiver, &path.worker] {
        let log = plane.log();
        assert!(log.contains(r#"No traces: OTEL_TRACES_SAMPLER is \"sometimes\"; known: always_on"#), "{log}");
    }
    assert!(collector.spans().is_empty());
    exemplars::are_none(&path).await;
}

#[tokio::test]
async fn without_a_collector_nothing_is_parsed_added_or_queued() {
    let world = World::begin("traces-off").await.unwrap();
    let path = Path::open(&world, &[], &[]).await.unwrap();
    // Who parses it finds nothing that could go on.
    let headers = [("traceparent", "not-w3c".to_owned()), ("tracestate", "shop=7".to_owned())];
    let odd = path.sender_with(&headers).unwrap();
    assert_eq!(odd.send("evt-1", &payment(1)).await.unwrap(), StatusCode::ACCEPTED);
    path.caught_until(1).await.unwrap();
    assert_eq!(path.sender.send("evt-2", &payment(2)).await.unwrap(), StatusCode::ACCEPTED);
    let caught = path.caught_until(2).await.unwrap();
    let context = |place: usize| ["traceparent", "tracestate"].map(|name| caught[place].header(name));
    assert_eq!([context(0), context(1)], [[Some("not-w3c"), Some("shop=7")], [None, None]]);
    assert_eq!(queues(&path), [false; 3]);
    exemplars::are_none(&path).await;
}
