//! A Collector that lets in only whom it knows, by TLS: what it wants to see is sent to it, and where it is not, the log says what is wrong.

use reqwest::StatusCode;
use sluice_crds::metrics::process::CERTIFICATE_EXPIRY;
use sluice_suite::{
    World,
    collector::{Collector, mistake_authority},
    shop::payment,
};
use tempfile::TempDir;

use crate::{
    LOST,
    path::{Named, Path, by_grpc, by_http, known},
    said, services_until,
};

/// An environment in which this variable has another value.
fn with(environment: &[Named], name: &'static str, value: &str) -> Vec<Named> {
    let others = environment.iter().filter(|(other, _)| *other != name).cloned();
    others.chain([(name, value.to_owned())]).collect()
}

fn let_in(collector: &Collector) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    collector.guard.as_ref().unwrap().let_in(folder.path()).unwrap();
    folder
}

#[tokio::test]
async fn certificates_a_token_and_compression_are_those_of_the_variables_by_both_protocols() {
    let world = World::begin("traces-guarded").await.unwrap();
    let collector = Collector::start_guarded().await.unwrap();
    let folder = let_in(&collector);
    let [by_http, by_grpc] = [by_http(&collector), by_grpc(&collector)].map(|way| [way, known(folder.path())].concat());
    let path = Path::open(&world, &by_http, &by_grpc).await.unwrap();
    assert_eq!(path.sender.send("evt-1", &payment(1)).await.unwrap(), StatusCode::ACCEPTED);
    let seen = path.spans_until(&collector, 6).await.unwrap();
    let services: Vec<_> = seen.iter().map(|span| span.service.as_str()).collect();
    let (receiver, worker) = ("sluice-receiver", "sluice-worker");
    assert_eq!(services, [receiver, receiver, worker, worker, worker, worker]);
    for plane in [&path.receiver, &path.worker] {
        let metrics = reqwest::get(format!("http://{}/metrics", plane.status)).await.unwrap().text().await.unwrap();
        for file in ["ca.crt", "tls.crt"] {
            let label = format!("file=\"{}\"", folder.path().join(file).display());
            let is_expected = |line: &str| line.starts_with(CERTIFICATE_EXPIRY.name) && line.contains(&label);
            assert!(metrics.lines().any(is_expected), "{metrics}");
        }
        let log = plane.log();
        assert!(!log.contains(LOST), "{log}");
    }
}

#[tokio::test]
async fn a_wrong_token_is_told_and_lets_no_span_in() {
    let world = World::begin("traces-token").await.unwrap();
    let collector = Collector::start_guarded().await.unwrap();
    let folder = let_in(&collector);
    let [by_http, by_grpc] = [by_http(&collector), by_grpc(&collector)].map(|way| {
        let all = [way, known(folder.path())].concat();
        with(&all, "OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20let-him-in")
    });
    let path = Path::open(&world, &by_http, &by_grpc).await.unwrap();
    assert_eq!(path.sender.send("evt-1", &payment(1)).await.unwrap(), StatusCode::ACCEPTED);
    path.caught_until(1).await.unwrap();
    said(&path.receiver, "HTTP export failed with status code: 401").await;
    said(&path.worker, "export failed with gRPC code: Unauthenticated").await;
    for plane in [&path.receiver, &path.worker] {
        said(plane, LOST).await;
        let log = plane.log();
        assert!(!log.contains("let-him-in"), "{log}");
    }
    assert!(collector.spans().is_empty());
}

#[tokio::test]
async fn certificates_that_are_wrong_or_missing_are_told_and_those_that_come_count() {
    let world = World::begin("traces-certificates").await.unwrap();
    let collector = Collector::start_guarded().await.unwrap();
    let (mistaken, empty) = (let_in(&collector), tempfile::tempdir().unwrap());
    mistake_authority(mistaken.path()).unwrap();
    let by_http = [by_http(&collector), known(mistaken.path())].concat();
    let by_grpc = [by_grpc(&collector), known(empty.path())].concat();
    let path = Path::open(&world, &by_http, &by_grpc).await.unwrap();
    let missing = empty.path().join("ca.crt");
    let missing = format!("OTEL_EXPORTER_OTLP_CERTIFICATE names {}, which cannot be read", missing.display());
    said(&path.worker, &format!("{LOST}: {missing}")).await;
    assert_eq!(path.sender.send("evt-0", &payment(0)).await.unwrap(), StatusCode::ACCEPTED);
    path.caught_until(1).await.unwrap();
    said(&path.receiver, "invalid peer certificate: UnknownIssuer").await;
    assert!(collector.spans().is_empty());

    for folder in [&mistaken, &empty] {
        collector.guard.as_ref().unwrap().let_in(folder.path()).unwrap();
    }
    services_until(&path, &collector).await;
    for plane in [&path.receiver, &path.worker] {
        said(plane, "The collector takes spans again").await;
        let log = plane.log();
        assert_eq!(log.matches(LOST).count(), 1, "{log}");
    }
}
