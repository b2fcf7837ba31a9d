//! The bounded queue before the log.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::pending::Waiter;
use crate::disk::{BelowReserve, DiskGuard, Importance};
use crate::error::{CommandOutcome, ProposeError, UnavailableReason};
use crate::options::{BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, COMMAND_BYTES_LIMIT, NodeOptions};

/// Whether commands are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    Shut(UnavailableReason),
    /// The node ends: what is queued is still committed.
    Closing,
}

/// The commands that wait for a place in the log.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Notify,
    guard: Arc<DiskGuard>,
    commands_max: usize,
    bytes_max: usize,
    command_bytes_max: usize,
}

struct State<T> {
    waiting: VecDeque<Queued<T>>,
    bytes: usize,
    gate: Gate,
    /// Nobody can be reached who could commit.
    is_leaderless: bool,
    /// Sequence of the next command taken; the first is 1.
    next_sequence: u64,
}

struct Queued<T> {
    command: Bytes,
    waiter: Waiter<T>,
    since: Instant,
}

/// Commands for one log entry.
pub(crate) struct Taken<T> {
    pub(crate) first_sequence: u64,
    pub(crate) commands: Vec<Bytes>,
    pub(crate) waiters: Vec<Waiter<T>>,
    /// When the first of them was submitted.
    pub(crate) since: Instant,
}

impl<T> Queue<T> {
    /// An empty queue that is shut until the node serves.
    pub(crate) fn new(options: &NodeOptions, guard: Arc<DiskGuard>) -> Queue<T> {
        Queue {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                bytes: 0,
                gate: Gate::Shut(UnavailableReason::Starting),
                is_leaderless: false,
                next_sequence: 1,
            }),
            wake: Notify::new(),
            guard,
            commands_max: options.queue_commands_max,
            bytes_max: options.queue_bytes_max,
            command_bytes_max: options.command_bytes_max.min(COMMAND_BYTES_LIMIT),
        }
    }

    /// Queues a command or answers its waiter with the reason why not.
    pub(crate) fn submit(&self, command: Bytes, importance: Importance, waiter: Waiter<T>) {
        let refused = {
            let mut state = self.state.lock();
            match self.admit(&state, command.len(), importance) {
                Ok(()) => {
                    state.bytes += command.len();
                    state.waiting.push_back(Queued { command, waiter, since: Instant::now() });
                    None
                }
                Err(error) => Some((waiter, error)),
            }
        };
        match refused {
            None => self.wake.notify_one(),
            Some((waiter, error)) => waiter.answer(Err(error)),
        }
    }

    fn admit(&self, state: &State<T>, bytes: usize, importance: Importance) -> Result<(), ProposeError> {
        match state.gate {
            Gate::Open if state.is_leaderless => return Err(NO_LEADER),
            Gate::Open => {}
            Gate::Shut(reason) => {
                // While the storage waits for space, that is the reason, and how much there is helps more.
                if reason == UnavailableReason::DiskFull {
                    self.guard.refresh();
                    self.guard.check().map_err(storage_full)?;
                }
                return Err(ProposeError::Unavailable { reason, outcome: CommandOutcome::NotApplied });
            }
            Gate::Closing => return Err(ProposeError::Closing),
        }
        if bytes > self.command_bytes_max {
            return Err(ProposeError::CommandTooLarge { bytes, max: self.command_bytes_max });
        }
        if state.waiting.len() >= self.commands_max || state.bytes + bytes > self.bytes_max {
            return Err(ProposeError::Overloaded {
                queued_commands: state.waiting.len(),
                queued_bytes: state.bytes,
                commands_max: self.commands_max,
                bytes_max: self.bytes_max,
            });
        }
        self.guard.admit(bytes as u64, importance).map_err(storage_full)
    }

    /// Why a write failed just now: measures whether there is space.
    pub(crate) fn storage_failure(&self) -> UnavailableReason {
        self.guard.refresh();
        match self.guard.check() {
            Ok(()) => UnavailableReason::StorageFailed,
            Err(_) => UnavailableReason::DiskFull,
        }
    }

    /// Lets commands in, or not. Queued commands stay.
    pub(crate) fn set_gate(&self, gate: Gate) {
        self.state.lock().gate = gate;
        self.wake.notify_one();
    }

    /// Answers all queued commands with an error.
    pub(crate) fn fail_all(&self, error: &ProposeError) {
        let waiting = {
            let mut state = self.state.lock();
            state.bytes = 0;
            std::mem::take(&mut state.waiting)
        };
        for queued in waiting {
            queued.waiter.answer(Err(error.clone()));
        }
    }

    /// Whether nobody can be reached who could commit: then commands are refused at once and those that wait are answered.
    pub(crate) fn set_leaderless(&self, is_leaderless: bool) {
        let mut state = self.state.lock();
        let begins = is_leaderless && !state.is_leaderless;
        state.is_leaderless = is_leaderless;
        drop(state);
        if begins {
            self.fail_all(&NO_LEADER);
        }
    }

    /// Answers the commands that have waited since before `before`.
    pub(crate) fn expire(&self, before: Instant, error: &ProposeError) {
        let expired: Vec<_> = {
            let mut state = self.state.lock();
            let count = state.waiting.iter().take_while(|queued| queued.since < before).count();
            let expired: Vec<_> = state.waiting.drain(..count).collect();
            state.bytes -= expired.iter().map(|queued| queued.command.len()).sum::<usize>();
            expired
        };
        for queued in expired {
            queued.waiter.answer(Err(error.clone()));
        }
    }

    /// Whether nothing waits and nothing more will.
    pub(crate) fn is_drained(&self) -> bool {
        let state = self.state.lock();
        state.gate == Gate::Closing && state.waiting.is_empty()
    }

    /// Whether no more commands are let in because the node ends.
    pub(crate) fn is_closing(&self) -> bool {
        self.state.lock().gate == Gate::Closing
    }

    /// Resolves when something may have changed since the last call. For one waiting task.
    pub(crate) async fn changed(&self) {
        self.wake.notified().await;
    }

    /// Takes what fits into one log entry; at least one command if any waits.
    pub(crate) fn take(&self) -> Option<Taken<T>> {
        let mut state = self.state.lock();
        let mut bytes = 0;
        let fitting = state.waiting.iter().take(BATCH_COMMANDS_MAX).take_while(|queued| {
            bytes += queued.command.len();
            bytes <= BATCH_BYTES_MAX
        });
        let count = fitting.count().max(1);
        let since = state.waiting.front()?.since;
        let taken = state.waiting.drain(..count).map(|queued| (queued.command, queued.waiter));
        let (commands, waiters): (Vec<_>, Vec<_>) = taken.unzip();
        state.bytes -= commands.iter().map(Bytes::len).sum::<usize>();
        let first_sequence = state.next_sequence;
        state.next_sequence += count as u64;
        Some(Taken { first_sequence, commands, waiters, since })
    }
}

/// The answer to a command that nobody can commit.
pub(crate) const NO_LEADER: ProposeError =
    ProposeError::Unavailable { reason: UnavailableReason::NoLeader, outcome: CommandOutcome::NotApplied };

fn storage_full(BelowReserve { free_bytes, reserve_bytes }: BelowReserve) -> ProposeError {
    ProposeError::StorageFull { free_bytes, reserve_bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{DiskProbe, DiskSpace, StatvfsProbe};

    type Seen = Arc<Mutex<Vec<ProposeError>>>;

    fn queue(change: impl FnOnce(&mut NodeOptions)) -> Queue<()> {
        let mut options = NodeOptions::new(".");
        change(&mut options);
        let guard = DiskGuard::new(Arc::new(StatvfsProbe), ".".as_ref(), Some(0)).unwrap();
        let queue = Queue::new(&options, Arc::new(guard));
        queue.set_gate(Gate::Open);
        queue
    }

    fn submit(queue: &Queue<()>, seen: &Seen, bytes: usize) {
        let seen = Arc::clone(seen);
        let waiter = Waiter::new(move |result: Result<(), _>| seen.lock().extend(result.err()));
        queue.submit(Bytes::from(vec![0; bytes]), Importance::Ordinary, waiter);
    }

    #[test]
    fn limits_are_by_count_and_by_bytes() {
        let seen = Seen::default();
        let queue = queue(|options| (options.queue_commands_max, options.queue_bytes_max) = (3, 100));
        submit(&queue, &seen, 60);
        submit(&queue, &seen, 41);
        assert!(matches!(seen.lock().pop(), Some(ProposeError::Overloaded { queued_bytes: 60, .. })));
        submit(&queue, &seen, 40);
        submit(&queue, &seen, 0);
        submit(&queue, &seen, 0);
        assert!(matches!(seen.lock().pop(), Some(ProposeError::Overloaded { queued_commands: 3, .. })));
        let taken = queue.take().unwrap();
        assert_eq!(taken.commands.len(), 3);
        submit(&queue, &seen, 100);
        assert!(seen.lock().is_empty(), "there is room again");
    }

    #[test]
    fn a_batch_is_bounded_and_sequences_have_no_gaps() {
        let seen = Seen::default();
        let queue = queue(|_| {});
        for _ in 0..BATCH_COMMANDS_MAX + 1 {
            submit(&queue, &seen, 1);
        }
        submit(&queue, &seen, BATCH_BYTES_MAX + 1);
        submit(&queue, &seen, BATCH_BYTES_MAX);
        submit(&queue, &seen, 1);
        let sizes: Vec<_> = std::iter::from_fn(|| queue.take())
            .map(|taken| (taken.first_sequence, taken.commands.len()))
            .collect();
        assert_eq!(sizes, [(1, 1000), (1001, 1), (1002, 1), (1003, 1), (1004, 1)]);
    }

    /// A disk with so many bytes free.
    struct Free(u64);

    impl DiskProbe for Free {
        fn measure(&self, _path: &std::path::Path) -> std::io::Result<DiskSpace> {
            Ok(DiskSpace { free_bytes: self.0, total_bytes: u64::MAX })
        }
    }

    #[test]
    fn essential_commands_may_use_half_of_the_reserve() {
        let accepts = |free_bytes, importance| {
            let seen = Seen::default();
            let guard = DiskGuard::new(Arc::new(Free(free_bytes)), ".".as_ref(), Some(1_000)).unwrap();
            let queue = Queue::new(&NodeOptions::new("."), Arc::new(guard));
            queue.set_gate(Gate::Open);
            let refused = Arc::clone(&seen);
            let waiter = Waiter::new(move |result: Result<(), _>| refused.lock().extend(result.err()));
            queue.submit(Bytes::from_static(b"x"), importance, waiter);
            let refused = seen.lock().pop();
            refused.map_or(Ok(()), Err)
        };
        let full = |free_bytes, reserve_bytes| Err(ProposeError::StorageFull { free_bytes, reserve_bytes });
        assert_eq!(accepts(1_000, Importance::Ordinary), Ok(()));
        assert_eq!(accepts(999, Importance::Ordinary), full(999, 1_000));
        assert_eq!(accepts(500, Importance::Essential), Ok(()));
        assert_eq!(accepts(499, Importance::Essential), full(499, 500));
    }

    #[test]
    fn a_shut_queue_says_why() {
        let seen = Seen::default();
        let queue = queue(|options| options.command_bytes_max = 10);
        submit(&queue, &seen, 11);
        queue.set_gate(Gate::Shut(UnavailableReason::StorageFailed));
        submit(&queue, &seen, 1);
        queue.set_gate(Gate::Closing);
        submit(&queue, &seen, 1);
        let refused = ProposeError::Unavailable {
            reason: UnavailableReason::StorageFailed,
            outcome: CommandOutcome::NotApplied,
        };
        let too_large = ProposeError::CommandTooLarge { bytes: 11, max: 10 };
        assert_eq!(*seen.lock(), [too_large, refused, ProposeError::Closing]);
        assert!(queue.is_drained());
    }

    #[test]
    fn without_a_leader_commands_are_refused_at_once() {
        let seen = Seen::default();
        let queue = queue(|_| {});
        submit(&queue, &seen, 1);
        queue.set_leaderless(true);
        submit(&queue, &seen, 1);
        assert_eq!(*seen.lock(), [NO_LEADER, NO_LEADER]);
        queue.set_leaderless(false);
        submit(&queue, &seen, 1);
        assert_eq!(queue.take().unwrap().first_sequence, 1, "what was refused has no sequence");
    }

    #[test]
    fn commands_do_not_wait_for_ever() {
        let seen = Seen::default();
        let queue = queue(|options| options.queue_bytes_max = 10);
        submit(&queue, &seen, 10);
        queue.expire(Instant::now() - std::time::Duration::from_secs(60), &NO_LEADER);
        assert!(seen.lock().is_empty());
        queue.expire(Instant::now() + std::time::Duration::from_secs(60), &NO_LEADER);
        assert_eq!(seen.lock().pop(), Some(NO_LEADER));
        submit(&queue, &seen, 10);
        assert!(seen.lock().is_empty(), "there is room again");
    }
}
