//! Takes events from all clients of this process.

use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{ClientNumber, Deed, Event, History, MessageNumber, SessionNumber, Time, What};

/// Events that are kept, about 400 MB. Publishers stop at nine tenths of it, so that the rest can end in order.
const EVENTS_MAX: usize = 6_000_000;

/// Collects the history. Times and numbers are given here.
pub struct Recorder {
    started: Instant,
    events: Mutex<Vec<Event>>,
    next_session: AtomicU32,
    next_message: AtomicU64,
}

impl Recorder {
    /// Empty; the clock starts now.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            events: Mutex::default(),
            next_session: AtomicU32::new(0),
            next_message: AtomicU64::new(1),
        }
    }

    /// Notes what happened and returns the time.
    pub fn note(&self, what: What) -> Time {
        let mut events = self.lock();
        assert!(events.len() < EVENTS_MAX, "the history is full");
        // Taken under the lock, so that the list is in order.
        let at = self.now();
        events.push(Event { at, what });
        at
    }

    /// Notes what happened on a session.
    pub fn session(&self, session: SessionNumber, deed: Deed) -> Time {
        self.note(What::Session(session, deed))
    }

    /// Begins a session.
    pub fn connecting(&self, client: ClientNumber, node: usize) -> SessionNumber {
        let session = self.next_session.fetch_add(1, Ordering::Relaxed);
        self.session(session, Deed::Connecting { client, node });
        session
    }

    /// Number of the next message.
    pub fn next_message(&self) -> MessageNumber {
        self.next_message.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether publishers may go on.
    pub fn has_room(&self) -> bool {
        self.lock().len() < EVENTS_MAX / 10 * 9
    }

    /// The time now.
    pub fn now(&self) -> Time {
        u64::try_from(self.started.elapsed().as_nanos()).expect("a run ends before 584 years")
    }

    /// How many events so far are such.
    pub fn count(&self, is_such: impl Fn(&Event) -> bool) -> usize {
        self.lock().iter().filter(|event| is_such(event)).count()
    }

    /// A copy of all so far.
    pub fn history(&self) -> History {
        History { events: self.lock().clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
