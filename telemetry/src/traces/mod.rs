//! Traces by OpenTelemetry, sent to a collector as its own environment variables say. Where they name none, no span is made, and
//! nothing is allocated or locked for one.
//!
//! - `variables`: what the environment says. Pure.
//! - `tls`: the certificates by which a collector and who sends to it know each other.
//! - `http`: how requests get there by HTTP.
//! - `exporter`: what sends spans, made anew for new certificates.
//! - `collector`: how spans get there, in the background.
//! - `context`: W3C Trace Context, in which a trace goes from program to program.
//! - `span`: a span and how it begins.
//! - `messaging`: the spans of records, by the conventions for messaging.

mod collector;
mod context;
mod exporter;
mod http;
pub mod messaging;
mod span;
mod tls;
mod variables;

use std::{collections::BTreeMap, env, sync::Arc, time::Duration};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::task;
use tracing::{error, info, warn};

use self::tls::Files;
pub use self::{
    context::{TRACE_HEADERS, TraceContext},
    span::{Beginning, Exemplar, Span},
};
use crate::Certificates;

/// Makes spans, where tracing is on. Clones are cheap.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Running>);

#[derive(Clone, Debug)]
struct Running {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    files: Arc<Files>,
}

/// The program whose spans these are.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Such as `receiver`. Its spans are those of the service `sluice-<name>`, unless the environment says otherwise.
    pub name: &'static str,
    /// Its own `CARGO_PKG_VERSION`.
    pub version: &'static str,
    /// Further attributes of the resource.
    pub attributes: &'a [(&'static str, String)],
}

/// Longer than a collector that answers needs for what waits.
const LAST_SPANS: Duration = Duration::from_secs(3);

impl Tracer {
    /// As the environment says. To be called where tokio runs. What it says wrongly is an error in the log, and no span is made:
    /// events do not wait for somebody to correct it.
    pub fn from_env(program: Program<'_>) -> Self {
        let transport = match variables::judge(|name| env::var(name).ok()) {
            Ok(None) => return Self::default(),
            Ok(Some(transport)) => transport,
            Err(complaints) => {
                for complaint in complaints {
                    error!("No traces: {complaint}");
                }
                return Self::default();
            }
        };
        let files = Arc::new(transport.files.clone());
        match collector::provider(transport, &program) {
            Ok(provider) => {
                info!("Traces are sent to a collector");
                Self(Some(Running { tracer: provider.tracer("sluice"), provider, files }))
            }
            Err(error) => {
                error!("No traces: {error}");
                Self::default()
            }
        }
    }

    /// Whether tracing is on.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// And the certificates by which the collector is reached.
    #[must_use]
    pub fn with_certificates(&self, known: Certificates) -> Certificates {
        let Some(Running { files, .. }) = &self.0 else { return known };
        let own = files.identity.iter().map(|(certificate, _)| certificate.path.clone());
        known.own(own).authorities(files.authorities.iter().map(|file| file.path.clone()))
    }

    /// Begins a span; `describe` is asked only where tracing is on.
    pub fn begin(&self, describe: impl FnOnce() -> Beginning) -> Span {
        self.0.as_ref().map_or_else(Span::default, |running| describe().begin(&running.tracer))
    }

    /// Sends what was not sent yet, for a few seconds at most. No span is made any more.
    pub async fn end(&self) {
        let Some(Running { provider, .. }) = self.0.clone() else { return };
        let ended = task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_SPANS)).await;
        if !matches!(ended, Ok(Ok(()))) {
            warn!("The last spans were not sent: the collector did not take them within {LAST_SPANS:?}");
        }
    }
}

/// What is wrong with variables that are meant for receivers and workers.
pub fn complaints(environment: &BTreeMap<String, String>) -> Vec<String> {
    let foreign = environment.keys().filter_map(|name| match name.strip_prefix("OTEL_") {
        None => Some(format!("{name} is no variable of OpenTelemetry: those begin with OTEL_")),
        Some(_) if variables::is_known(name) => None,
        Some(_) => {
            Some(format!("{name} changes nothing for receivers and workers; what does is in docs/observability.md"))
        }
    });
    let judged = variables::judge(|name| environment.get(name).cloned());
    foreign.chain(judged.err().into_iter().flatten().map(|complaint| complaint.to_string())).collect()
}

fn key_value(key: &'static str, value: impl Into<opentelemetry::Value>) -> KeyValue {
    KeyValue::new(key, value)
}

#[cfg(test)]
pub(crate) mod tests {
    use opentelemetry_sdk::trace::Sampler;

    use super::*;

    /// Makes spans that nobody is sent, all of them recorded or none.
    pub(crate) fn tracer(records: bool) -> Tracer {
        let sampler = if records { Sampler::AlwaysOn } else { Sampler::AlwaysOff };
        let provider = SdkTracerProvider::builder().with_sampler(sampler).build();
        Tracer(Some(Running { tracer: provider.tracer("test"), provider, files: Arc::default() }))
    }

    #[tokio::test]
    async fn without_a_collector_nothing_is_made() {
        let tracer = Tracer::default();
        let mut span = tracer.begin(|| unreachable!("nobody asks how a span begins"));
        span.set("key", "value");
        span.fail(|| unreachable!("nor with what it failed"));
        span.refuse(|| unreachable!("nor why it was refused"));
        assert!(!span.child(|| unreachable!("nor of its children")).is_recorded());
        assert_eq!(span.context(), None);
        tracer.end().await;
    }

    #[test]
    fn variables_for_data_planes_are_those_of_opentelemetry() {
        let environment = |variables: &[(&str, &str)]| {
            complaints(&variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert_eq!(environment(&[endpoint]), Vec::<String>::new());
        let expected = "RUST_LOG is no variable of OpenTelemetry: those begin with OTEL_";
        assert_eq!(environment(&[endpoint, ("RUST_LOG", "debug")]), [expected]);
        assert_eq!(environment(&[endpoint, ("OTEL_SERVICE_NAME", "hooks")]), Vec::<String>::new());
        let expected =
            "OTEL_LOG_LEVEL changes nothing for receivers and workers; what does is in docs/observability.md";
        assert_eq!(environment(&[("OTEL_LOG_LEVEL", "debug")]), [expected]);
    }
}
