//! Spans of what a node does for others: calls of its API, CONNECT, SUBSCRIBE, and the commits that they wait for. They go
//! to an OpenTelemetry collector if the program was built with the feature `otlp` and told where one is
//! (`OTEL_EXPORTER_OTLP_ENDPOINT` and the other variables of that standard); otherwise to nobody, and cost nothing. They
//! never appear in the log. No message is traced: there are too many.

use tracing::{Span, field};

/// The target of all spans, by which they are told from what is logged.
pub const TARGET: &str = "rookery::spans";

/// A call of the API by an admitted caller. The trace goes on that its headers name; `header` finds one by its name.
pub fn call<'a>(path: &str, header: &impl Fn(&str) -> Option<&'a str>) -> Span {
    let name = path.trim_start_matches('/');
    let (service, method) = name.rsplit_once('/').unwrap_or((name, ""));
    let span = tracing::info_span!(
        target: TARGET,
        "call",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = field::Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = field::Empty,
    );
    #[cfg(feature = "otlp")]
    super::otlp::continue_trace(&span, header);
    #[cfg(not(feature = "otlp"))]
    let _ = header;
    span
}

/// How a call ended: the status code of gRPC.
pub fn answered(span: &Span, code: i64) {
    span.record("rpc.grpc.status_code", code);
    if code != 0 {
        span.record("otel.status_code", "ERROR");
    }
}

/// From CONNECT to CONNACK.
pub fn connect() -> Span {
    tracing::info_span!(
        target: TARGET,
        "CONNECT",
        otel.kind = "server",
        otel.status_code = field::Empty,
        mqtt.return_code = field::Empty,
    )
}

/// The return code of CONNACK.
pub fn connected(span: &Span, return_code: u8) {
    span.record("mqtt.return_code", return_code);
    if return_code != 0 {
        span.record("otel.status_code", "ERROR");
    }
}

/// From SUBSCRIBE to SUBACK.
pub fn subscribe(filters: usize) -> Span {
    tracing::info_span!(target: TARGET, "SUBSCRIBE", otel.kind = "server", mqtt.filters = filters)
}

/// From the proposal of a command until it is applied on this node.
pub fn commit() -> Span {
    tracing::info_span!(target: TARGET, "commit")
}
