//! The one thread that writes to the log database.
//!
//! Requests are carried out in the order they were sent. Whatever waits is written as one group with one sync; the
//! confirmations follow the sync. After the first failed write every request is answered with an error, because the
//! engine refuses all writes until it is opened anew.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::database::{Database, DatabaseError, Group};
use super::mark::Mark;
use super::rebuild;
use super::tail::Tail;
use crate::options::SyncObserver;
use crate::raft::{LogId, TypeConfig, Vote};

/// Requests written as one group at most.
const GROUP_REQUESTS_MAX: usize = 64;

type Flushed = openraft::storage::LogFlushed<TypeConfig>;
type Done = oneshot::Sender<Result<(), String>>;

/// A write to carry out.
enum Request {
    /// Encoded entries in order, and whom to tell once they are on disk.
    Append {
        entries: Vec<(u64, Vec<u8>)>,
        flushed: Flushed,
    },
    Vote {
        vote: Vote,
        done: Done,
    },
    Committed(LogId),
    /// Removes the entries of `start..end` from the end of the log.
    Truncate {
        start: u64,
        end: u64,
        done: Done,
    },
    /// Removes the entries of `start..end` from the beginning of the log, which then begins behind `upto`.
    Purge {
        start: u64,
        end: u64,
        upto: LogId,
        done: Done,
    },
    Stop {
        committed: Option<LogId>,
    },
}

/// Handle to the writer thread.
pub(super) struct Writer {
    requests: Sender<Request>,
    thread: JoinHandle<()>,
    #[cfg(test)]
    database: Database,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn spawn(
        path: &Path,
        database: Database,
        mark: Mark,
        tail: Arc<Mutex<Tail>>,
        failure: Arc<watch::Sender<Option<String>>>,
        syncs: SyncObserver,
    ) -> io::Result<Writer> {
        let (requests, receiver) = channel();
        #[cfg(test)]
        let for_tests = database.clone();
        let path = path.to_owned();
        let mut worker = Worker { path, database, mark, tail, failure, syncs, committed: None, failed: None };
        let thread =
            std::thread::Builder::new().name("raft-log".to_owned()).spawn(move || worker.run(&receiver))?;
        Ok(Writer {
            requests,
            thread,
            #[cfg(test)]
            database: for_tests,
        })
    }

    pub(super) fn append(&self, entries: Vec<(u64, Vec<u8>)>, flushed: Flushed) {
        self.send(Request::Append { entries, flushed });
    }

    pub(super) fn vote(&self, vote: Vote) -> oneshot::Receiver<Result<(), String>> {
        let (done, receiver) = oneshot::channel();
        self.send(Request::Vote { vote, done });
        receiver
    }

    pub(super) fn committed(&self, committed: LogId) {
        self.send(Request::Committed(committed));
    }

    pub(super) fn truncate(&self, start: u64, end: u64) -> oneshot::Receiver<Result<(), String>> {
        let (done, receiver) = oneshot::channel();
        self.send(Request::Truncate { start, end, done });
        receiver
    }

    pub(super) fn purge(&self, start: u64, end: u64, upto: LogId) -> oneshot::Receiver<Result<(), String>> {
        let (done, receiver) = oneshot::channel();
        self.send(Request::Purge { start, end, upto, done });
        receiver
    }

    /// Carries out what is queued and ends the thread.
    pub(super) fn stop(self, committed: Option<LogId>) {
        self.send(Request::Stop { committed });
        if self.thread.join().is_err() {
            tracing::error!("the log writer thread panicked");
        }
    }

    #[cfg(test)]
    pub(super) fn fail_next_write(&self) {
        self.database.fail_next_write();
    }

    /// A request to a thread that is gone is dropped; whoever waits for it sees the closed channel.
    fn send(&self, request: Request) {
        if self.requests.send(request).is_err() {
            tracing::error!("the log writer thread is gone");
        }
    }
}

struct Worker {
    /// Directory of the log.
    path: PathBuf,
    database: Database,
    mark: Mark,
    tail: Arc<Mutex<Tail>>,
    failure: Arc<watch::Sender<Option<String>>>,
    syncs: SyncObserver,
    /// Newest commit position, written together with the next group.
    committed: Option<LogId>,
    failed: Option<String>,
}

/// The confirmations of one group.
#[derive(Default)]
struct Confirmations {
    flushed: Vec<Flushed>,
    done: Vec<Done>,
    last_index: Option<u64>,
}

impl Worker {
    fn run(&mut self, requests: &Receiver<Request>) {
        while let Ok(first) = requests.recv() {
            let mut waiting = vec![first];
            while waiting.len() < GROUP_REQUESTS_MAX
                && let Ok(next) = requests.try_recv()
            {
                waiting.push(next);
            }
            if !self.write(waiting) {
                return;
            }
        }
    }

    /// Writes the requests in order and returns whether to go on. Removals form groups of their own, because one
    /// group must not change a key twice.
    fn write(&mut self, requests: Vec<Request>) -> bool {
        let database = self.database.clone();
        let mut group = database.group();
        let mut confirm = Confirmations::default();
        let mut vote = None;
        for request in requests {
            match request {
                Request::Append { entries, flushed } => {
                    for (index, record) in entries {
                        confirm.last_index = Some(index);
                        group.put_entry(index, record);
                    }
                    confirm.flushed.push(flushed);
                }
                Request::Vote { vote: newer, done } => {
                    vote = Some(newer);
                    confirm.done.push(done);
                }
                Request::Committed(committed) => self.committed = Some(committed),
                Request::Truncate { start, end, done } => {
                    self.commit(group, vote.take(), std::mem::take(&mut confirm));
                    group = self.truncate(&database, start, end);
                    confirm.done.push(done);
                    self.commit(group, None, std::mem::take(&mut confirm));
                    group = database.group();
                }
                Request::Purge { start, end, upto, done } => {
                    self.commit(group, vote.take(), std::mem::take(&mut confirm));
                    group = database.group();
                    group.remove_entries(start, end);
                    group.put_purged(&upto);
                    confirm.done.push(done);
                    self.commit(group, None, std::mem::take(&mut confirm));
                    group = database.group();
                }
                Request::Stop { committed } => {
                    self.committed = committed.or(self.committed);
                    self.commit(group, vote, confirm);
                    return false;
                }
            }
        }
        if !confirm.is_empty() {
            self.commit(group, vote, confirm);
        }
        true
    }

    /// Takes back the mark before the entries go, so that a crash in between cannot leave it ahead of the log.
    fn truncate<'a>(&mut self, database: &'a Database, start: u64, end: u64) -> Group<'a> {
        self.mark.set(start);
        let mut group = database.group();
        group.remove_entries(start, end);
        group.require_sync();
        group
    }

    fn commit(&mut self, mut group: Group<'_>, vote: Option<Vote>, confirm: Confirmations) {
        if let Some(vote) = vote {
            group.put_vote(&vote);
        }
        if let Some(committed) = self.committed.take() {
            group.put_committed(&committed);
        }
        if self.failed.is_none() {
            let (is_durable, begun) = (group.is_durable(), Instant::now());
            match group.commit() {
                Ok(()) if is_durable => (self.syncs)(begun.elapsed()),
                Ok(()) => {}
                Err(error) => self.fail(&error),
            }
        }
        match &self.failed {
            None => {
                if let Some(index) = confirm.last_index {
                    self.mark.set(index + 1);
                    self.tail.lock().flushed(index);
                }
                confirm.succeed();
            }
            Some(reason) => confirm.fail(reason),
        }
    }

    fn fail(&mut self, error: &DatabaseError) {
        let reason = error.to_string();
        if error.leaves_journal_in_doubt() {
            rebuild::require(&self.path);
        }
        tracing::error!(%reason, "cannot write the log; no more writes until it is reopened");
        self.failed = Some(reason.clone());
        self.failure.send_replace(Some(reason));
    }
}

impl Confirmations {
    fn is_empty(&self) -> bool {
        self.flushed.is_empty() && self.done.is_empty()
    }

    fn succeed(self) {
        for flushed in self.flushed {
            flushed.log_io_completed(Ok(()));
        }
        for done in self.done {
            // Whoever asked may have stopped waiting.
            let _gone = done.send(Ok(()));
        }
    }

    fn fail(self, reason: &str) {
        for flushed in self.flushed {
            flushed.log_io_completed(Err(io::Error::other(reason.to_owned())));
        }
        for done in self.done {
            let _gone = done.send(Err(reason.to_owned()));
        }
    }
}
