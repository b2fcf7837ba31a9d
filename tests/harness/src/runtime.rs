//! One tokio runtime per test process, so that API channels and clients may be shared between tests.

use std::{future::Future, sync::OnceLock, time::Duration};

use tokio::runtime::{Builder, Runtime};

/// How long any single wait may take before the test fails. Generous: it bounds a hang, it is no assertion.
pub const WAIT: Duration = Duration::from_secs(30);

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be made")
    })
}

/// Runs a test's future to its end on the calling thread.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(Box::pin(future))
}

/// Waits at most [`WAIT`] for a future; `what` says in the panic what was missing.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(WAIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {} s in vain: {what}", WAIT.as_secs()),
    }
}
