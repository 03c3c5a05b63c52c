//! How spans get to a collector: in batches, from a thread of their own. What finds no place in its queue is dropped, so that a
//! collector that is slow or gone holds up nobody.

use std::{
    env,
    fmt::Display,
    sync::atomic::{AtomicBool, Ordering},
};

use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    resource::{EnvResourceDetector, TelemetryResourceDetector},
    trace::{SdkTracerProvider, SpanData, SpanExporter as Exporter},
};
use tracing::{info, warn};

use super::{Program, exporter::Renewing, key_value, tls::Unusable, variables::Transport};

/// Makes spans and sends them. Address, headers, sampler and sizes are read from the environment by the SDK. Errors: why none can ever be
/// sent; files that are of no use are none, because they may be replaced.
pub(super) fn provider(transport: Transport, program: &Program<'_>) -> Result<SdkTracerProvider, Unusable> {
    let resource = resource(program);
    let exporter = Renewing::new(transport, resource.clone());
    let is_in_trouble = match exporter.current() {
        Ok(_) => false,
        Err(unusable) if exporter.has_files() => {
            lost(&unusable);
            true
        }
        Err(unusable) => return Err(unusable),
    };
    let exporter = Telling { exporter, is_in_trouble: AtomicBool::new(is_in_trouble) };
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// What the environment says is stronger than what the program says of itself.
fn resource(program: &Program<'_>) -> Resource {
    let Program { name, version, attributes } = program;
    let own = [key_value("service.name", format!("sluice-{name}")), key_value("service.version", *version)];
    let attributes = attributes.iter().map(|&(key, ref value)| key_value(key, value.clone()));
    // Kubernetes gives it to every container: the pod's name.
    let pod = env::var("HOSTNAME").ok().map(|name| key_value("service.instance.id", name));
    let builder = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(own.into_iter().chain(attributes).chain(pod))
        .with_detector(Box::new(EnvResourceDetector::new()));
    match env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty()) {
        Some(name) => builder.with_service_name(name).build(),
        None => builder.build(),
    }
}

/// Says once that the collector is in trouble, and once that it is not any more.
#[derive(Debug)]
struct Telling<E> {
    exporter: E,
    is_in_trouble: AtomicBool,
}

impl<E: Exporter> Exporter for Telling<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        match (&result, self.is_in_trouble.swap(result.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => lost(error),
            (Ok(()), true) => info!("The collector takes spans again"),
            _ => {}
        }
        result
    }
}

fn lost(reason: &dyn Display) {
    warn!("Spans are lost until the collector takes them: {reason}");
}
