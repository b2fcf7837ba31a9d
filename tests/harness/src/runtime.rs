//! One tokio runtime per test process, so that API channels and clients may be shared between tests.

use std::{future::Future, sync::OnceLock, time::Duration};

use tokio::runtime::{Builder, Runtime};

/// How long any single wait may take before the test fails. Generous: it bounds a hang, it is no assertion.
pub const WAIT: Duration = Duration::from_secs(60);

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

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(100);

/// Looks at a condition until it is true; `false` after `patience`.
pub async fn holds_within(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let looking = async {
        while !condition() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(patience, looking).await.is_ok()
}

/// Waits for a condition; fails the test if it does not come true within [`WAIT`].
pub async fn until(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(WAIT, condition).await, "waited {} s in vain until {what}", WAIT.as_secs());
}
