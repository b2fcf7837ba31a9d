//! The operations listener: `/metrics`, `/livez`, `/readyz` over plain HTTP, for machines inside of the house.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::observe::health::Checks;
use crate::observe::metrics::Metrics;

/// How long answers may take that are under way when the listener stops. A client that never finishes its request
/// must not keep the node from stopping.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// What the listener shows.
pub struct Operations {
    /// The metrics.
    pub metrics: Metrics,
    /// `/livez`: whether the process should be restarted.
    pub alive: Checks,
    /// `/readyz`: whether it should get traffic.
    pub ready: Checks,
}

/// Serves until `stop` completes, and then at most one second more.
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
    let (stopping, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
        stop.await;
        drop(stopping);
    });
    let grace_is_over = async move {
        // Only ever dropped, so the error is the signal.
        let _ = stopped.await;
        tokio::time::sleep(SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        result = serving.into_future() => result,
        () = grace_is_over => Ok(()),
    }
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
