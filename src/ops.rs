//! The operations listener: `/metrics`, `/livez`, `/readyz` over plain HTTP, for machines inside of the house.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::observe::health::Checks;
use crate::observe::metrics::Metrics;

/// What the listener shows.
pub struct Operations {
    /// The metrics.
    pub metrics: Metrics,
    /// `/livez`: whether the process should be restarted.
    pub alive: Checks,
    /// `/readyz`: whether it should get traffic.
    pub ready: Checks,
}

/// Serves until `stop` completes.
///
/// # Errors
/// Those of the listener.
pub async fn serve(
    listener: TcpListener,
    operations: Arc<Operations>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .with_state(operations);
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

async fn metrics(State(operations): State<Arc<Operations>>) -> impl IntoResponse {
    const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match operations.metrics.encode() {
        Ok(text) => (StatusCode::OK, [("content-type", CONTENT_TYPE)], text),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, [("content-type", "text/plain")], String::new()),
    }
}

async fn alive(State(operations): State<Arc<Operations>>) -> impl IntoResponse {
    answer(&operations.alive)
}

async fn ready(State(operations): State<Arc<Operations>>) -> impl IntoResponse {
    answer(&operations.ready)
}

fn answer(checks: &Checks) -> (StatusCode, String) {
    let (healthy, report) = checks.run();
    (if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, report)
}
