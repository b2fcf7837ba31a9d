//! The way of spans to an OpenTelemetry collector, over gRPC.

use std::env;
use std::sync::OnceLock;

use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tonic::codegen::http::HeaderMap;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::registry::LookupSpan;

use super::traces::TARGET;

/// Where the collector is, if there is one; the second is for traces only.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// The name of the service unless `OTEL_SERVICE_NAME` gives another.
const SERVICE: &str = "rookery";

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// A layer that exports the spans of [`TARGET`]; `None` if no collector is named. Must be called on a tokio runtime, which
/// carries the connection.
///
/// # Errors
/// If the variables of the environment make no sense.
pub fn layer<S>() -> Result<Option<impl Layer<S>>, ExporterBuildError>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    if ENDPOINTS.iter().all(|name| env::var_os(name).is_none()) {
        return Ok(None);
    }
    let exporter = SpanExporter::builder().with_tonic().build()?;
    let mut resource = Resource::builder();
    if env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name(SERVICE);
    }
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build());
    let provider = PROVIDER.get_or_init(|| provider.build());
    let is_span = filter_fn(|metadata| metadata.target() == TARGET).with_max_level_hint(LevelFilter::INFO);
    Ok(Some(tracing_opentelemetry::layer().with_tracer(provider.tracer(SERVICE)).with_filter(is_span)))
}

/// Exports what waits, 5 s at most, and then nothing more. Blocks; the runtime of [`layer`] must go on meanwhile.
pub fn shutdown() {
    if let Some(Err(error)) = PROVIDER.get().map(SdkTracerProvider::shutdown) {
        tracing::warn!(%error, "the last traces could not be exported");
    }
}

/// Makes the span a part of the trace that a caller names (W3C Trace Context).
pub(super) fn continue_trace(span: &Span, headers: &HeaderMap) {
    let parent = TraceContextPropagator::new().extract(&Headers(headers));
    // Without a layer there is nothing to continue.
    let _ = span.set_parent(parent);
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|key| key.as_str()).collect()
    }
}
