//! A span and how it begins.

use std::borrow::Cow;

use opentelemetry::{
    Context, KeyValue, Value,
    trace::{Span as _, SpanKind, Status, Tracer as _},
};
use opentelemetry_sdk::trace::{SdkTracer, Span as Recorded};
use prometheus_client::encoding::EncodeLabelSet;

use super::{context::TraceContext, key_value};

/// A span that has begun, or none where tracing is off. It ends when it is dropped.
#[derive(Debug, Default)]
pub struct Span(Option<Box<Begun>>);

#[derive(Debug)]
struct Begun {
    span: Recorded,
    tracer: SdkTracer,
}

/// How a span begins.
#[derive(Clone, Debug)]
pub struct Beginning {
    kind: SpanKind,
    name: Cow<'static, str>,
    parent: Option<TraceContext>,
    attributes: Vec<KeyValue>,
}

/// What names a recorded span beside a metric: the labels of an exemplar, as Prometheus and Grafana expect them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Exemplar {
    trace_id: String,
    span_id: String,
}

/// The conventions' name of what went wrong.
const ERROR_TYPE: &str = "error.type";

impl Beginning {
    /// The answer to a request.
    pub fn server(name: impl Into<Cow<'static, str>>) -> Self {
        Self::new(SpanKind::Server, name)
    }

    /// A request to somebody else.
    pub fn client(name: impl Into<Cow<'static, str>>) -> Self {
        Self::new(SpanKind::Client, name)
    }

    pub(super) fn new(kind: SpanKind, name: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, name: name.into(), parent: None, attributes: Vec::new() }
    }

    /// With an attribute. Attributes that are there from the beginning are all that a sampler sees.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push(key_value(key, value));
        self
    }

    /// In the trace of its parent, where it has one; else it begins a trace.
    #[must_use]
    pub fn child_of(self, parent: Option<TraceContext>) -> Self {
        Self { parent, ..self }
    }

    pub(super) fn begin(self, tracer: &SdkTracer) -> Span {
        let Self { kind, name, parent, attributes } = self;
        let parent = parent.map_or_else(Context::new, |parent| parent.to_context());
        let builder = tracer.span_builder(name).with_kind(kind).with_attributes(attributes);
        let span = tracer.build_with_context(builder, &parent);
        Span(Some(Box::new(Begun { span, tracer: tracer.clone() })))
    }
}

impl Span {
    /// Begins a span below this one, where there is this one.
    #[must_use]
    pub fn child(&self, describe: impl FnOnce() -> Beginning) -> Self {
        let Some(begun) = &self.0 else { return Self::default() };
        describe().child_of(self.context()).begin(&begun.tracer)
    }

    /// Whether tracing is on.
    pub fn has_begun(&self) -> bool {
        self.0.is_some()
    }

    /// Whether anybody will see it.
    pub fn is_recorded(&self) -> bool {
        self.0.as_ref().is_some_and(|begun| begun.span.is_recording())
    }

    /// Where its children stand, also where it is not recorded; `None` where tracing is off.
    pub fn context(&self) -> Option<TraceContext> {
        self.0.as_ref().map(|begun| TraceContext(begun.span.span_context().clone()))
    }

    /// What names it beside a metric; `None` where nobody will see it.
    pub fn exemplar(&self) -> Option<Exemplar> {
        let context = self.0.as_ref()?.span.span_context();
        let ids = || Exemplar { trace_id: context.trace_id().to_string(), span_id: context.span_id().to_string() };
        context.is_sampled().then(ids)
    }

    /// Adds an attribute.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(begun) = &mut self.0 {
            begun.span.set_attribute(key_value(key, value));
        }
    }

    /// What it stands for has failed with an error of this type, which is one of few; asked for only where anybody will see it.
    pub fn fail(&mut self, error_type: impl FnOnce() -> String) {
        if let Some(span) = self.recorded() {
            span.set_status(Status::error(""));
            span.set_attribute(key_value(ERROR_TYPE, error_type()));
        }
    }

    /// It was refused for a reason of this type; the fault is the other side's.
    pub fn refuse(&mut self, error_type: impl FnOnce() -> String) {
        if let Some(span) = self.recorded() {
            span.set_attribute(key_value(ERROR_TYPE, error_type()));
        }
    }

    fn recorded(&mut self) -> Option<&mut Recorded> {
        let Begun { span, .. } = self.0.as_deref_mut()?;
        span.is_recording().then_some(span)
    }
}
