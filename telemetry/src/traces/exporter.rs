//! What sends spans: made anew where the certificates have changed by which the collector is reached.

use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{SpanData, SpanExporter as Exporter},
};
use tokio::runtime::Handle;

use super::{
    http::{Client, Silence},
    tls::{Pem, Unusable},
    variables::{Protocol, Transport},
};

/// Sends spans by the certificates that there are at each time.
#[derive(Debug)]
pub(super) struct Renewing {
    transport: Transport,
    resource: Resource,
    /// Connections of gRPC live in it.
    runtime: Handle,
    current: Mutex<Option<(Pem, Arc<SpanExporter>)>>,
    silence: Silence,
}

impl Renewing {
    /// For the spans of this resource. To be called where tokio runs.
    pub(super) fn new(transport: Transport, resource: Resource) -> Self {
        let (current, silence) = (Mutex::default(), Silence::default());
        Self { transport, resource, runtime: Handle::current(), current, silence }
    }

    /// The exporter for what the files hold now.
    pub(super) fn current(&self) -> Result<Arc<SpanExporter>, Unusable> {
        let pem = self.transport.files.read()?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, exporter)) = &*current
            && *known == pem
        {
            return Ok(Arc::clone(exporter));
        }
        let mut exporter = self.make(&pem)?;
        exporter.set_resource(&self.resource);
        let exporter = Arc::new(exporter);
        *current = Some((pem, Arc::clone(&exporter)));
        Ok(exporter)
    }

    /// Whether other files could help where there is no exporter.
    pub(super) fn has_files(&self) -> bool {
        self.transport.files.are_named()
    }

    /// Address, headers and compression are read from the environment by the SDK.
    fn make(&self, pem: &Pem) -> Result<SpanExporter, Unusable> {
        let made = match self.transport.protocol {
            Protocol::Http => {
                let client = Client::new(self.transport.timeout, pem, self.silence.clone())?;
                SpanExporter::builder().with_http().with_http_client(client).build()
            }
            Protocol::Grpc => {
                let _inside = self.runtime.enter();
                let builder = SpanExporter::builder().with_tonic();
                if self.transport.is_encrypted {
                    builder.with_tls_config(pem.for_grpc()?).build()
                } else {
                    builder.build()
                }
            }
        };
        made.map_err(|error| pem.unusable(&error))
    }
}

impl Exporter for Renewing {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exporter = self.current().map_err(|unusable| OTelSdkError::InternalFailure(unusable.to_string()))?;
        let result = exporter.export(batch).await;
        match (result, self.silence.take()) {
            (Err(OTelSdkError::InternalFailure(failure)), Some(reason)) => {
                Err(OTelSdkError::InternalFailure(format!("{failure}: {reason}")))
            }
            (result, _) => result,
        }
    }
}
