//! A runtime with threads of its own that may be let go anywhere.

use std::ops::Deref;

use tokio::runtime::{Builder, Runtime};

use super::StartError;

/// A multi-thread runtime of the node. tokio panics when a runtime is dropped where blocking is not allowed, and a
/// start that fails half-way drops its runtimes in exactly such a place; this one never blocks when it is dropped.
pub struct Threads(Option<Runtime>);

impl Threads {
    /// Starts a runtime of `count` threads, at least one, named `name`.
    pub fn start(name: &'static str, count: usize) -> Result<Self, StartError> {
        Builder::new_multi_thread()
            .worker_threads(count.max(1))
            .thread_name(name)
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
            .map_err(StartError::system(format!("runtime {name}")))
    }
}

impl Deref for Threads {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("the runtime is taken out by drop only")
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
