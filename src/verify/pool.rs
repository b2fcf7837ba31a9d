//! The threads that compute password hashes, and nothing else.
//!
//! Two bounded queues feed them: jobs of suspects (see [`super::throttle`]) run only while no other
//! job waits, so that guessing costs honest clients nothing but one running hash. At the limit of a
//! queue a job is refused as [`PoolError::Busy`]. A job whose requester has gone is skipped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use thiserror::Error;
use tokio::sync::oneshot;

/// Who asks: decides which queue a job waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is known against the requester.
    Good,
    /// The requester's address has failed before.
    Suspect,
}

/// Bounds of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// Threads, at least 1. Default: one per two cores.
    pub threads: usize,
    /// Most waiting jobs in each of the two queues. Default 10,000.
    pub queue_max: usize,
}

impl Default for PoolSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads: (cores / 2).max(1), queue_max: 10_000 }
    }
}

/// Why a job was not computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PoolError {
    /// The queue is full; the client may try again.
    #[error("password verification is busy: {queue_max} requests are waiting")]
    Busy {
        /// The limit that was reached.
        queue_max: usize,
    },
    /// The pool is shutting down, or the job panicked.
    #[error("password verification is not available")]
    Closing,
}

type Work = Box<dyn FnOnce() + Send>;

/// A fixed number of threads. Dropping the pool discards waiting jobs and waits for the running ones.
pub struct HashPool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    queues: Mutex<Queues>,
    wake: Condvar,
    queue_max: usize,
}

#[derive(Default)]
struct Queues {
    good: VecDeque<Work>,
    suspect: VecDeque<Work>,
    closing: bool,
}

impl HashPool {
    /// Starts the threads. Fails where the system permits no more threads.
    pub fn start(settings: PoolSettings) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queues: Mutex::default(),
            wake: Condvar::new(),
            queue_max: settings.queue_max,
        });
        let mut pool = Self { shared, threads: Vec::new() };
        for number in 0..settings.threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            let name = format!("password-{number}");
            pool.threads.push(std::thread::Builder::new().name(name).spawn(move || shared.work())?);
        }
        Ok(pool)
    }

    /// Jobs that wait now.
    pub fn waiting(&self) -> usize {
        let queues = self.shared.queues.lock();
        queues.good.len() + queues.suspect.len()
    }

    /// Computes `job` on one of the threads. Dropping the returned future before the job has begun
    /// takes it out of the work.
    pub async fn run<T: Send + 'static>(
        &self,
        standing: Standing,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PoolError> {
        let (answer, result) = oneshot::channel();
        let work = Box::new(move || {
            if !answer.is_closed() {
                // The requester may go away while the job runs; nobody wants the result then.
                let _ = answer.send(job());
            }
        });
        self.shared.enqueue(standing, work)?;
        result.await.map_err(|_| PoolError::Closing)
    }
}

impl Shared {
    fn enqueue(&self, standing: Standing, work: Work) -> Result<(), PoolError> {
        let mut queues = self.queues.lock();
        if queues.closing {
            return Err(PoolError::Closing);
        }
        let queue = match standing {
            Standing::Good => &mut queues.good,
            Standing::Suspect => &mut queues.suspect,
        };
        if queue.len() >= self.queue_max {
            return Err(PoolError::Busy { queue_max: self.queue_max });
        }
        queue.push_back(work);
        drop(queues);
        self.wake.notify_one();
        Ok(())
    }

    /// The loop of one thread.
    fn work(&self) {
        let mut queues = self.queues.lock();
        while !queues.closing {
            match queues.good.pop_front().or_else(|| queues.suspect.pop_front()) {
                Some(work) => parking_lot::MutexGuard::unlocked(&mut queues, || {
                    // A panic must not end the thread; the requester learns of it by its lost answer.
                    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err() {
                        tracing::error!("a password job panicked");
                    }
                }),
                None => self.wake.wait(&mut queues),
            }
        }
    }
}

impl Drop for HashPool {
    fn drop(&mut self) {
        {
            let mut queues = self.shared.queues.lock();
            queues.closing = true;
            queues.good.clear();
            queues.suspect.clear();
        }
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // Threads survive panics of their jobs, so there is nothing to learn from the result.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for HashPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashPool").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}
