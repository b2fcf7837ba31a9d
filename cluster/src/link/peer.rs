//! One other node, as the links see it: what goes to it, how far it has come, what is known about the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::intake::{Epochs, Intake};
use super::queue::{Batch, Queue, Violation};
use super::{BACKLOG_LIMIT, LinkLoad, LinkStatistics};

/// Another node. Everything is for all threads; locks are held for moments and never across a callback.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its Raft identifier.
    pub(crate) node_id: u64,
    state: Mutex<State>,
    /// The epochs that the link is for; `None` while the node is no member. As in `state`, which changes first.
    target: watch::Sender<Option<Epochs>>,
    /// What was accepted from it. Locked by the one connection that may deliver.
    pub(crate) intake: tokio::sync::Mutex<Intake>,
    /// The number of the newest connection that came from it; older ones end.
    pub(crate) newest_stream: watch::Sender<u64>,
    backlog_bytes: AtomicUsize,
    is_connected: AtomicBool,
    /// When the node answered last, or became known, on the clock of [`crate::lease::now_ns`].
    heard_ns: AtomicU64,
    /// Whether it ever answered this process.
    was_heard: AtomicBool,
    /// For metrics.
    pub(crate) counters: Counters,
}

/// What has happened since the process started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) chunks_sent: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) chunks_resent: AtomicU64,
    pub(crate) chunks_received: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) connections: AtomicU64,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    target: Option<Epochs>,
    /// Number of the current attempt to connect; what belongs to an older one is ignored.
    attempt: u64,
    /// Whether the receiver of this attempt has said where to go on.
    is_open: bool,
    /// Wakes the requests of this attempt.
    wake: Arc<Notify>,
    /// Whether they sleep and want to be woken.
    is_parked: bool,
    /// Whether the backlog was above its limit, and nobody was told since that it fell.
    was_over_limit: bool,
}

/// An attempt to connect.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// Its number.
    pub(crate) number: u64,
    /// Wakes its requests.
    pub(crate) wake: Arc<Notify>,
    /// With which chunk the link began in these epochs.
    pub(crate) first_sequence: u64,
}

/// What the requests of an attempt do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Send these.
    Send(Batch),
    /// Sleep until woken.
    Sleep,
    /// End: another attempt follows, or none.
    End,
}

/// What an answer of the receiver has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answered {
    /// The link is open from now on.
    pub(crate) opened: bool,
    /// Chunks up to this one were accepted since the answer before.
    pub(crate) acknowledged: Option<u64>,
    /// The backlog fell below its limit.
    pub(crate) relieved: bool,
}

/// What ended with a pair of epochs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Whether anything could have been sent in them.
    pub(crate) could_send: bool,
    /// Whether there was a connection, or a backlog above the limit.
    pub(crate) changed_load: bool,
}

impl Peer {
    /// A node that no link is for.
    pub(crate) fn new(node_id: u64) -> Peer {
        let state = State {
            queue: Queue::default(),
            target: None,
            attempt: 0,
            is_open: false,
            wake: Arc::default(),
            is_parked: false,
            was_over_limit: false,
        };
        Peer {
            node_id,
            state: Mutex::new(state),
            target: watch::channel(None).0,
            intake: tokio::sync::Mutex::default(),
            newest_stream: watch::channel(0).0,
            backlog_bytes: AtomicUsize::new(0),
            is_connected: AtomicBool::new(false),
            heard_ns: AtomicU64::new(0),
            was_heard: AtomicBool::new(false),
            counters: Counters::default(),
        }
    }

    /// The epochs that the link is for, now and whenever they change.
    pub(crate) fn targets(&self) -> watch::Receiver<Option<Epochs>> {
        self.target.subscribe()
    }

    /// Ends what belongs to the current epochs if `target` names others. Nothing can be sent afterwards until
    /// [`Self::begin`].
    pub(crate) fn end_unless(&self, target: Option<Epochs>) -> Option<Ended> {
        let mut state = self.state.lock();
        let before = state.target.filter(|_| state.target != target)?;
        let unsent = state.queue.end();
        let was_over_limit = std::mem::take(&mut state.was_over_limit);
        state.target = None;
        let was_connected = self.next_attempt(&mut state);
        self.backlog_bytes.store(0, Ordering::Relaxed);
        drop(state);
        drop(unsent);
        Some(Ended { could_send: before.sender != 0, changed_load: was_over_limit || was_connected })
    }

    /// Begins a link for `target`, from nothing.
    pub(crate) fn begin(&self, target: Option<Epochs>, now_ns: u64) {
        self.target.send_if_modified(|known| {
            let (before, after) = (known.map(|known| known.receiver), target.map(|target| target.receiver));
            if before.is_none() || before != after && after != Some(0) {
                self.heard_ns.fetch_max(now_ns, Ordering::Relaxed);
            }
            self.state.lock().target = target;
            let is_new = *known != target;
            *known = target;
            is_new
        });
    }

    /// Appends a chunk, unless the node is not registered or this one is not.
    pub(crate) fn send(&self, chunk: Bytes) -> Option<u64> {
        let mut state = self.state.lock();
        state.target.filter(|target| target.sender != 0)?;
        let sequence = state.queue.push(chunk);
        state.was_over_limit |= state.queue.bytes() > BACKLOG_LIMIT;
        self.backlog_bytes.store(state.queue.bytes(), Ordering::Relaxed);
        state.wake_if_ready();
        Some(sequence)
    }

    /// What waits.
    pub(crate) fn load(&self) -> LinkLoad {
        LinkLoad {
            backlog_bytes: self.backlog_bytes.load(Ordering::Relaxed),
            is_connected: self.is_connected.load(Ordering::Relaxed),
        }
    }

    /// For metrics.
    pub(crate) fn statistics(&self) -> LinkStatistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        LinkStatistics {
            node_id: self.node_id,
            load: self.load(),
            backlog_chunks: self.state.lock().queue.len(),
            chunks_sent: read(&counters.chunks_sent),
            bytes_sent: read(&counters.bytes_sent),
            chunks_resent: read(&counters.chunks_resent),
            chunks_received: read(&counters.chunks_received),
            bytes_received: read(&counters.bytes_received),
            connections: read(&counters.connections),
        }
    }

    /// The node has answered something.
    pub(crate) fn heard(&self, now_ns: u64) {
        self.heard_ns.fetch_max(now_ns, Ordering::Relaxed);
        self.was_heard.store(true, Ordering::Relaxed);
    }

    /// Whether the node has not been heard of over a link for longer than `patience_ns`, though it should be.
    pub(crate) fn is_unreachable(&self, now_ns: u64, patience_ns: u64) -> bool {
        let silent_ns = now_ns.saturating_sub(self.heard_ns.load(Ordering::Relaxed));
        let is_connected = self.is_connected.load(Ordering::Relaxed);
        // Without an epoch of this node there is no patience: who registers must know that the two can talk.
        let is_unproven = !self.was_heard.load(Ordering::Relaxed);
        let is_overdue = |target: Epochs| silent_ns > patience_ns || target.sender == 0 && is_unproven;
        !is_connected && self.target.borrow().is_some_and(is_overdue)
    }

    /// A new attempt to connect for `target`; `None` if that is not what the link is for any more.
    pub(crate) fn attempt(&self, target: Epochs) -> Option<Attempt> {
        let mut state = self.state.lock();
        state.target.filter(|current| *current == target)?;
        self.next_attempt(&mut state);
        Some(Attempt {
            number: state.attempt,
            wake: Arc::clone(&state.wake),
            first_sequence: state.queue.first_sequence(),
        })
    }

    /// The attempt is over. Returns whether it was open.
    pub(crate) fn broken(&self, attempt: u64) -> bool {
        let mut state = self.state.lock();
        state.attempt == attempt && self.next_attempt(&mut state)
    }

    /// Ends the current attempt, whichever it is.
    pub(crate) fn cut(&self) {
        let _was_open = self.next_attempt(&mut self.state.lock());
    }

    /// Ends the attempt before; returns whether that one was open.
    fn next_attempt(&self, state: &mut State) -> bool {
        state.attempt += 1;
        state.queue.broken();
        // What sleeps for the attempt before finds that it is over.
        std::mem::take(&mut state.wake).notify_one();
        state.is_parked = false;
        self.is_connected.store(false, Ordering::Relaxed);
        std::mem::take(&mut state.is_open)
    }

    /// What the requests of the attempt do next.
    pub(crate) fn next(&self, attempt: u64) -> Next {
        let mut state = self.state.lock();
        if state.attempt != attempt {
            return Next::End;
        }
        let batch = if state.is_open { state.queue.take() } else { None };
        let Some(batch) = batch else {
            state.is_parked = true;
            return Next::Sleep;
        };
        drop(state);
        let counters = &self.counters;
        counters.chunks_sent.fetch_add(batch.chunks.len() as u64, Ordering::Relaxed);
        counters.chunks_resent.fetch_add(batch.resent, Ordering::Relaxed);
        counters.bytes_sent.fetch_add(batch.bytes as u64, Ordering::Relaxed);
        Next::Send(batch)
    }

    /// The receiver has accepted everything up to `accepted`. The first such answer of an attempt opens it. Answers to
    /// older attempts change nothing.
    pub(crate) fn answered(&self, attempt: u64, accepted: u64) -> Result<Answered, Violation> {
        let mut state = self.state.lock();
        if state.attempt != attempt {
            return Ok(Answered::default());
        }
        let opened = !state.is_open;
        let settles =
            if opened { state.queue.resume(accepted)? } else { state.queue.acknowledge(accepted)? };
        if opened {
            state.is_open = true;
            self.is_connected.store(true, Ordering::Relaxed);
            self.counters.connections.fetch_add(1, Ordering::Relaxed);
        }
        // Half of the limit, so that those who wait do not come back for a single chunk.
        let relieved = state.was_over_limit && state.queue.bytes() <= BACKLOG_LIMIT / 2;
        state.was_over_limit &= !relieved;
        self.backlog_bytes.store(state.queue.bytes(), Ordering::Relaxed);
        state.wake_if_ready();
        Ok(Answered { opened, acknowledged: settles.then_some(accepted), relieved })
    }
}

impl State {
    fn wake_if_ready(&mut self) {
        if self.is_parked && self.is_open && self.queue.is_ready() {
            self.is_parked = false;
            self.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Epochs = Epochs { sender: 3, receiver: 4 };

    fn open(peer: &Peer, accepted: u64) -> u64 {
        let attempt = peer.attempt(TARGET).expect("the link is for these epochs").number;
        assert!(peer.answered(attempt, accepted).expect("a claim that can be").opened);
        attempt
    }

    fn sent(peer: &Peer, attempt: u64) -> Vec<u64> {
        match peer.next(attempt) {
            Next::Send(batch) => (batch.first_sequence..).take(batch.chunks.len()).collect(),
            Next::Sleep | Next::End => Vec::new(),
        }
    }

    #[test]
    fn nothing_is_queued_without_two_epochs() {
        let peer = Peer::new(2);
        assert_eq!(peer.send(Bytes::from_static(b"a")), None, "the node is not registered");
        peer.begin(Some(Epochs { sender: 0, receiver: 4 }), 1);
        assert_eq!(peer.send(Bytes::from_static(b"a")), None, "this node is not registered");
        let ended = peer.end_unless(Some(TARGET));
        assert_eq!(ended, Some(Ended { could_send: false, changed_load: false }));
        peer.begin(Some(TARGET), 1);
        assert_eq!(peer.send(Bytes::from_static(b"a")), Some(1));
        assert_eq!(peer.end_unless(Some(TARGET)), None, "nothing has changed");
        assert_eq!(peer.load().backlog_bytes, 1);
    }

    #[test]
    fn what_waited_for_an_epoch_ends_with_it() {
        let peer = Peer::new(2);
        peer.begin(Some(TARGET), 1);
        let attempt = open(&peer, 0);
        assert_eq!(peer.send(Bytes::from_static(b"a")), Some(1));
        let ended = peer.end_unless(Some(Epochs { receiver: 9, ..TARGET }));
        assert_eq!(ended, Some(Ended { could_send: true, changed_load: true }));
        assert_eq!(peer.send(Bytes::from_static(b"b")), None, "between the epochs");
        assert!(matches!(peer.next(attempt), Next::End));
        assert_eq!(peer.answered(attempt, 1), Ok(Answered::default()), "too late");
        assert!(peer.attempt(TARGET).is_none());
        peer.begin(Some(Epochs { receiver: 9, ..TARGET }), 1);
        assert_eq!(peer.send(Bytes::from_static(b"c")), Some(2), "sequences go on");
    }

    #[test]
    fn an_attempt_that_was_replaced_gets_nothing_more() {
        let peer = Peer::new(2);
        peer.begin(Some(TARGET), 1);
        for _ in 0..3 {
            peer.send(Bytes::from_static(b"a"));
        }
        let first = open(&peer, 0);
        assert_eq!(sent(&peer, first), [1, 2, 3]);
        let second = open(&peer, 1);
        assert!(matches!(peer.next(first), Next::End));
        assert!(!peer.broken(first), "it is not the current one");
        assert_eq!(sent(&peer, second), [2, 3]);
        assert_eq!(peer.statistics().chunks_resent, 2);
        assert!(peer.broken(second));
        assert!(!peer.load().is_connected);
    }

    #[test]
    fn relief_is_told_once_and_well_below_the_limit() {
        let peer = Peer::new(2);
        peer.begin(Some(TARGET), 1);
        let chunk = Bytes::from(vec![0; BACKLOG_LIMIT / 8]);
        for _ in 0..9 {
            peer.send(chunk.clone());
        }
        let attempt = open(&peer, 0);
        let mut relieved = Vec::new();
        for accepted in 1..=9 {
            sent(&peer, attempt);
            if peer.answered(attempt, accepted).expect("it was sent").relieved {
                relieved.push(accepted);
            }
        }
        assert_eq!(relieved, [5]);
    }

    #[test]
    fn a_node_that_is_given_up_stays_unreachable_until_it_is_heard_of() {
        let peer = Peer::new(2);
        peer.begin(Some(TARGET), 50);
        peer.end_unless(Some(Epochs::default()));
        peer.begin(Some(Epochs::default()), 100);
        assert!(peer.is_unreachable(100, 10));
        peer.heard(100);
        assert!(!peer.is_unreachable(100, 10));
    }

    #[test]
    fn a_node_is_unreachable_when_it_is_silent_and_not_connected() {
        let peer = Peer::new(2);
        assert!(!peer.is_unreachable(100, 10), "it is not registered");
        peer.begin(Some(TARGET), 50);
        assert!(!peer.is_unreachable(60, 10));
        assert!(peer.is_unreachable(61, 10));
        let attempt = open(&peer, 0);
        assert!(!peer.is_unreachable(1000, 10));
        peer.heard(1000);
        peer.broken(attempt);
        assert!(!peer.is_unreachable(1010, 10));
        assert!(peer.is_unreachable(1011, 10));
    }
}
