//! What the parts of one connection share on its thread: the stream, who reads it, and what is half read.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use super::buffer::Transport;
use crate::actors::close::CloseReason;

/// The shared part of a connection: its actor, its read stream and its outbox hold it, all on one thread.
pub struct Link {
    /// The byte stream. Borrowed for the length of one read or write only.
    pub transport: RefCell<Box<dyn Transport>>,
    /// Wakes the connection's task; set by every poll of its read stream.
    waker: RefCell<Option<Waker>>,
    /// While set, nothing is read: a CONNECT or SUBSCRIBE is being decided, and order must be kept; or a PUBLISH waits for
    /// room on the way to another node.
    pub paused: Cell<bool>,
    /// While set, nothing is read either: too many publishes wait for the disk or other nodes. Reading goes on when no more than this
    /// many acknowledgements are owed.
    pub read_again_at: Cell<Option<usize>>,
    /// At most so many bytes are read at a time: what was received and cannot be handled yet is kept, and nobody has
    /// logged in yet.
    pub read_bytes_max: Cell<usize>,
    /// The epoch of this node in which a session was asked for; 0 before that.
    pub epoch: Cell<u64>,
    /// Whether the session is open and the client knows it, or is about to.
    pub is_live: Cell<bool>,
    /// Whether the log has ended the session already, so that nobody needs to tell it.
    pub is_ended: Cell<bool>,
    /// Set by [`Self::resume`] until the stream has seen it.
    resumed: Cell<bool>,
    /// Why the connection is to end, if the lane wants it so.
    close: RefCell<Option<CloseReason>>,
    /// Received bytes that are not a complete packet yet, or that wait while `paused` is set.
    pub tail: RefCell<Vec<u8>>,
    /// The outbox has bytes that the socket did not take.
    pub write_blocked: Cell<bool>,
}

impl Link {
    /// A link over `transport`.
    pub fn new(transport: Box<dyn Transport>) -> Self {
        Self {
            transport: RefCell::new(transport),
            waker: RefCell::new(None),
            paused: Cell::new(false),
            read_again_at: Cell::new(None),
            read_bytes_max: Cell::new(usize::MAX),
            epoch: Cell::new(0),
            is_live: Cell::new(false),
            is_ended: Cell::new(false),
            resumed: Cell::new(false),
            close: RefCell::new(None),
            tail: RefCell::new(Vec::new()),
            write_blocked: Cell::new(false),
        }
    }

    /// Remembers whom to wake.
    pub fn register(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// The waker of the connection's task, or one that does nothing before its first poll.
    pub fn waker(&self) -> Waker {
        self.waker.borrow().clone().unwrap_or_else(|| Waker::noop().clone())
    }

    /// Wakes the connection's task.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Asks the connection to end; the first reason counts. Returns whether this is it.
    pub fn request_close(&self, reason: CloseReason) -> bool {
        let mut close = self.close.borrow_mut();
        let first = close.is_none();
        close.get_or_insert(reason);
        drop(close);
        self.wake();
        first
    }

    /// Whether the socket is not read for reasons of this side.
    pub fn is_held_up(&self) -> bool {
        self.paused.get() || self.read_again_at.get().is_some()
    }

    /// Takes the reason to end, if there is one.
    pub fn take_close(&self) -> Option<CloseReason> {
        self.close.borrow_mut().take()
    }

    /// Goes on: first with what waits in `tail`, then with reading.
    pub fn resume(&self) {
        self.paused.set(false);
        self.go_on();
    }

    /// The node serves again: what waits in `tail` is handled, unless the connection is paused for another reason.
    pub fn go_on(&self) {
        self.resumed.set(true);
        self.wake();
    }

    /// Whether the connection was resumed since the last call.
    pub fn take_resumed(&self) -> bool {
        self.resumed.take()
    }
}
