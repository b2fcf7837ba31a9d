//! The way of spans to an OpenTelemetry collector, over gRPC.

use std::sync::OnceLock;

use opentelemetry::Key;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use super::traces::TARGET;

/// The name of the service unless the environment gives another.
const SERVICE: &str = "rookery";

/// What the SDK calls a service without a name.
const NAMELESS: &str = "unknown_service";

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// A layer that exports the spans of [`TARGET`] to the collector that the environment names. Must be called on a tokio
/// runtime, which carries the connection.
///
/// # Errors
/// If the variables of the environment make no sense.
pub fn layer<S>() -> Result<impl Layer<S>, ExporterBuildError>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let exporter = SpanExporter::builder().with_tonic().build()?;
    let mut resource = Resource::builder().build();
    let name = resource.get(&Key::from_static_str("service.name"));
    if name.is_none_or(|name| name.as_str().starts_with(NAMELESS)) {
        resource = Resource::builder().with_service_name(SERVICE).build();
    }
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource);
    let provider = PROVIDER.get_or_init(|| provider.build());
    let is_span = filter_fn(|metadata| metadata.target() == TARGET).with_max_level_hint(LevelFilter::INFO);
    Ok(tracing_opentelemetry::layer().with_tracer(provider.tracer(SERVICE)).with_filter(is_span))
}

/// Exports what waits, 5 s at most, and then nothing more. Blocks; the runtime of [`layer`] must go on meanwhile.
pub fn shutdown() {
    if let Some(Err(error)) = PROVIDER.get().map(SdkTracerProvider::shutdown) {
        tracing::warn!(%error, "the last traces could not be exported");
    }
}

/// Makes the span a part of the trace that a caller's headers name (W3C Trace Context).
pub(super) fn continue_trace<'a>(span: &Span, header: &impl Fn(&str) -> Option<&'a str>) {
    let headers = Headers { traceparent: header("traceparent"), tracestate: header("tracestate") };
    // Without a layer there is nothing to continue.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&headers));
}

struct Headers<'a> {
    traceparent: Option<&'a str>,
    tracestate: Option<&'a str>,
}

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.traceparent,
            "tracestate" => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}
