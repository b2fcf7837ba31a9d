//! Stopping: no new connections, then the clients, then the API, then the storage; within a grace period.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout_at;

use super::Node;
use crate::actors::close::CloseReason;
use crate::actors::environment::Environment;
use crate::actors::lane::Control;
use crate::clock;
use crate::store::Store;

/// Exit code of a process that was told twice to stop.
const EXIT_INTERRUPTED: i32 = 130;

/// How often the number of open connections is looked at while they end.
const POLL: Duration = Duration::from_millis(20);

/// How long the end waits for other nodes to take what is on its way to them.
const SENT_MAX: Duration = Duration::from_secs(2);

/// SIGTERM and SIGINT. Registered before anything is bound, so that no signal is missed.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Registers for both signals.
    ///
    /// # Errors
    /// Those of the system.
    pub fn register() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of them.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// From now on one more signal ends the process at once.
    pub fn end_at_once(mut self) {
        actix_rt::spawn(async move {
            self.wait().await;
            tracing::warn!("told twice to stop: ending at once");
            std::process::exit(EXIT_INTERRUPTED);
        });
    }
}

impl Node {
    /// Stops the node. In a cluster it is drained first. Returns whether every client was disconnected within `grace`.
    pub async fn stop(mut self, grace: Duration) -> bool {
        let deadline = (clock::monotonic() + grace).into();
        self.environment.start_draining();
        self.doors.close_mqtt();
        let _ = timeout_at(deadline, self.drain.finish()).await;
        for lane in self.environment.lanes.iter() {
            lane.control(Control::CloseAll(CloseReason::ShuttingDown));
        }
        let clean = timeout_at(deadline, all_closed(&self.environment)).await.is_ok();
        // What they sent last, and their wills, must be with the other nodes before this one says that it has ended. One
        // that cannot be reached does not hold up the end.
        let _ = tokio::time::timeout(SENT_MAX, all_sent(&self.store)).await;
        tracing::info!(clean, "MQTT clients are disconnected");
        self.doors.close_others().await;
        let store = self.store;
        // The storage lives on its own runtime; a task that cannot be joined has already ended.
        let _ = self.service.spawn(async move { store.shutdown().await }).await;
        tracing::info!("storage is closed");
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
        // Joined elsewhere, so that a second signal ends a process with a stuck thread. One that panicked has ended too.
        let log = self.environment.connection_log.clone();
        let join = move || {
            log.flush();
            self.arbiters.into_iter().for_each(|arbiter| drop(arbiter.join()));
        };
        let _ = tokio::task::spawn_blocking(join).await;
        drop((self.entrance, self.service));
        clean
    }
}

async fn all_sent(store: &Store) {
    loop {
        // The lanes ship at the end of their turn.
        tokio::time::sleep(POLL).await;
        if store.links().statistics().iter().all(|link| link.load.backlog_bytes == 0) {
            return;
        }
    }
}

async fn all_closed(environment: &Environment) {
    let open = || environment.lanes.iter().map(|lane| lane.counters.connections_open.get()).sum::<u64>();
    while open() > 0 {
        tokio::time::sleep(POLL).await;
    }
}
