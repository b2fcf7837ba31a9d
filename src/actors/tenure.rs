//! How the sessions of this node begin and end in the log.
//!
//! A session is opened by a command, and lasts until a command ends it: this node's own, when the connection has ended, or
//! one of another, which takes it over, revokes it or gives this node up. A connection may end while its session is still
//! being opened, and the end may find the log full or without a leader; neither leaves a session behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rookery_cluster::{Barrier, Lease, Standing};

use super::directory::Directory;
use super::takeovers::Takeovers;
use crate::clock;
use crate::domain::catalog::command::{CloseSession, OpenSession};
use crate::domain::session::SessionId;
use crate::store::{CatalogHandle, StoreError};

/// First wait before sessions that could not be closed are tried again; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(250);

/// Longest wait between two attempts.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// How many are tried again at a time.
const RETRY_SESSIONS_MAX: usize = 1000;

/// A session that a connection has asked for, shared by the connection and whoever is opening it.
#[derive(Debug)]
pub struct Tenure {
    /// The session.
    pub id: SessionId,
    /// The epoch of this node in which it was asked for.
    pub epoch: u64,
    stage: AtomicU8,
}

/// The session is being opened.
const ASKED: u8 = 0;
/// It is open, and its connection lives.
const OPEN: u8 = 1;
/// The connection has ended, or the session could not be opened.
const OVER: u8 = 2;

impl Tenure {
    /// Whether the connection has ended, or there is no session.
    pub fn is_over(&self) -> bool {
        self.stage.load(Ordering::Acquire) == OVER
    }

    /// A session that is being asked for.
    pub fn new(id: SessionId, epoch: u64) -> Arc<Self> {
        Arc::new(Self { id, epoch, stage: AtomicU8::new(ASKED) })
    }
}

/// Begins and ends the sessions of this node.
pub struct Tenures {
    catalog: CatalogHandle,
    lease: Lease,
    barrier: Barrier,
    directory: Arc<Directory>,
    /// How often clients may take over from each other.
    pub takeovers: Arc<Takeovers>,
    /// Sessions whose end is not in the log yet. One entry per session that was in the log.
    closing: Mutex<BTreeMap<SessionId, Closing>>,
}

#[derive(Debug, Clone, Copy)]
struct Closing {
    epoch: u64,
    /// The log did not take it; it is to be tried again.
    is_refused: bool,
}

impl Tenures {
    /// For the given node.
    pub fn new(
        catalog: CatalogHandle,
        lease: Lease,
        barrier: Barrier,
        directory: Arc<Directory>,
    ) -> Arc<Self> {
        let (takeovers, closing) = (Arc::default(), Mutex::default());
        Arc::new(Self { catalog, lease, barrier, directory, takeovers, closing })
    }

    /// Opens a session. `done` is called once, on any thread, perhaps before this returns: when the session is open here
    /// and the one that it replaces, if there is one, has ended wherever it was; or with the reason why there is none.
    /// It is not called at all if the connection has ended meanwhile.
    pub fn open(
        self: &Arc<Self>,
        tenure: &Arc<Tenure>,
        command: OpenSession,
        done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        let (this, tenure) = (Arc::clone(self), Arc::clone(tenure));
        let takes_over = command.principal.device().is_some() && !command.client_id.is_empty();
        self.catalog.open_session_async(command, move |result| match result {
            Ok(_) => {
                if tenure.stage.compare_exchange(ASKED, OPEN, Ordering::AcqRel, Ordering::Acquire).is_err() {
                    this.close(tenure.id, tenure.epoch);
                } else {
                    // Not only the entry of this session may have ended an older one: that one's successor may have
                    // ended meanwhile, before anybody knew that the oldest connection is closed.
                    let after = if takes_over { this.directory.last_end() } else { 0 };
                    this.barrier.wait(after, move || done(Ok(())));
                }
            }
            Err(error) => {
                tenure.stage.store(OVER, Ordering::Release);
                // Its end comes later in the log than it could itself.
                if error.may_have_applied() {
                    this.close(tenure.id, tenure.epoch);
                }
                done(Err(error));
            }
        });
    }

    /// The connection of a session has ended.
    pub fn leave(self: &Arc<Self>, tenure: &Tenure) {
        // What is still being opened is closed by whoever hears that it is open.
        if tenure.stage.swap(OVER, Ordering::AcqRel) == OPEN {
            self.close(tenure.id, tenure.epoch);
        }
    }

    /// Whether the end of the session is on its way to the log.
    pub fn is_closing(&self, id: SessionId) -> bool {
        self.closing.lock().contains_key(&id)
    }

    /// How many sessions have ended without the log's knowing.
    pub fn closing_count(&self) -> usize {
        self.closing.lock().len()
    }

    fn close(self: &Arc<Self>, id: SessionId, epoch: u64) {
        self.closing.lock().insert(id, Closing { epoch, is_refused: false });
        let this = Arc::clone(self);
        let command = CloseSession { id, epoch, at: clock::now() };
        self.catalog.close_session_async(command, move |result| {
            let mut closing = this.closing.lock();
            match result {
                Err(error) => {
                    tracing::debug!(%error, session = %id, "the end of a session is not in the log yet");
                    if let Some(entry) = closing.get_mut(&id) {
                        entry.is_refused = true;
                    }
                }
                Ok(()) => {
                    closing.remove(&id);
                }
            }
        });
    }

    /// Tries again to close what the log did not take, for as long as the node runs.
    pub async fn retry(self: Arc<Self>) {
        let (mut wait, mut before) = (RETRY_MIN, 0);
        loop {
            tokio::time::sleep(wait).await;
            let left = self.closing_count();
            let refused = self.take_refused();
            // Slower only while the log takes nothing.
            let is_stuck = !refused.is_empty() && left >= before;
            wait = if is_stuck { (wait * 2).min(RETRY_MAX) } else { RETRY_MIN };
            before = left;
            for (id, epoch) in refused {
                self.close(id, epoch);
            }
        }
    }

    /// The sessions to try again. Those of an earlier epoch have ended with it.
    fn take_refused(&self) -> Vec<(SessionId, u64)> {
        let mut closing = self.closing.lock();
        if let Standing::Serving { epoch: current } = &*self.lease.standing().borrow() {
            closing.retain(|_, entry| entry.epoch == *current);
        }
        let refused = closing.iter().filter(|(_, entry)| entry.is_refused);
        refused.map(|(id, entry)| (*id, entry.epoch)).take(RETRY_SESSIONS_MAX).collect()
    }
}
