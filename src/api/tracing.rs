//! A span around every call that was admitted.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tower::{Layer, Service};
use tracing::Instrument as _;

use crate::observe::traces;

/// Wraps the services of the API.
#[derive(Debug, Clone, Copy)]
pub struct TraceLayer;

impl<S> Layer<S> for TraceLayer {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced { inner }
    }
}

/// A service whose calls have spans.
#[derive(Debug, Clone)]
pub struct Traced<S> {
    inner: S,
}

impl<S, RequestBody, ResponseBody> Service<Request<RequestBody>> for Traced<S>
where
    S: Service<Request<RequestBody>, Response = Response<ResponseBody>, Error = Infallible>,
    S::Future: Send + 'static,
    ResponseBody: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let headers = request.headers();
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let span = traces::call(request.uri().path(), &header);
        let answering = span.in_scope(|| self.inner.call(request)).instrument(span.clone());
        answering
            .inspect(move |answer| {
                if let Ok(response) = answer {
                    traces::answered(&span, status_code(response.headers()));
                }
            })
            .boxed()
    }
}

/// The status code of gRPC. It stands in the headers of an answer without a message, so an error is found there.
fn status_code(headers: &HeaderMap) -> i64 {
    let code = headers.get("grpc-status").and_then(|code| code.to_str().ok());
    code.and_then(|code| code.parse().ok()).unwrap_or(0)
}
