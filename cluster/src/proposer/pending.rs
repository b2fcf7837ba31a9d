//! The callers whose commands are on their way through the log.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error::{CommandOutcome, ProposeError, UnavailableReason};

type OnDone<T> = Box<dyn FnOnce(Result<T, ProposeError>) + Send>;

/// A caller that waits for its answer. Dropping it answers "outcome unknown", so nobody waits for ever.
pub(crate) struct Waiter<T> {
    on_done: Option<OnDone<T>>,
}

impl<T> Waiter<T> {
    pub(crate) fn new(on_done: impl FnOnce(Result<T, ProposeError>) + Send + 'static) -> Waiter<T> {
        Waiter { on_done: Some(Box::new(on_done)) }
    }

    /// Calls the caller back.
    pub(crate) fn answer(mut self, result: Result<T, ProposeError>) {
        if let Some(on_done) = self.on_done.take() {
            on_done(result);
        }
    }
}

impl<T> Drop for Waiter<T> {
    fn drop(&mut self) {
        if let Some(on_done) = self.on_done.take() {
            on_done(Err(ProposeError::Unavailable {
                reason: UnavailableReason::Stopped,
                outcome: CommandOutcome::Unknown,
            }));
        }
    }
}

/// The waiting callers by sequence of their command, and how far the commands are. Bounded by the window and the size of a
/// batch.
pub(crate) struct Pending<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

struct State<T> {
    /// Ascending by sequence.
    waiters: VecDeque<(u64, Waiter<T>)>,
    /// Of the last command registered.
    registered: u64,
    progress: Progress,
}

/// What happened to the commands of this process, as far as this node has applied the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// Up to here all are applied, or never will be.
    pub(crate) settled: u64,
    /// Up to here all were answered without being applied, and are not to be sent again.
    pub(crate) abandoned: u64,
    /// Some arrived in the log without those before them and must be sent again.
    pub(crate) gap: bool,
}

impl<T> Default for Pending<T> {
    fn default() -> Pending<T> {
        let state = State { waiters: VecDeque::new(), registered: 0, progress: Progress::default() };
        Pending { state: Mutex::new(state), changed: Notify::new() }
    }
}

impl<T> Pending<T> {
    /// Adds the waiters of a batch, whose sequences are greater than all before.
    pub(crate) fn register(&self, first_sequence: u64, waiters: Vec<Waiter<T>>) {
        let mut state = self.state.lock();
        state.waiters.extend((first_sequence..).zip(waiters));
        state.registered = state.waiters.back().map_or(state.registered, |(sequence, _)| *sequence);
    }

    /// The commands from `first_sequence` on were applied. Those that nobody waits for any more are passed over.
    pub(crate) fn complete(&self, first_sequence: u64, responses: Vec<T>) {
        let end = first_sequence + responses.len() as u64;
        let waiters = self.take(first_sequence, end);
        let mut waiters = waiters.into_iter().peekable();
        for (sequence, response) in (first_sequence..).zip(responses) {
            if let Some((_, waiter)) = waiters.next_if(|(waiting, _)| *waiting == sequence) {
                waiter.answer(Ok(response));
            }
        }
        self.settle(end - 1);
    }

    /// The commands up to `sequence` were applied without their responses being known: by a snapshot, or before. Whoever
    /// still waits can learn no more.
    pub(crate) fn applied_unseen(&self, sequence: u64, error: &ProposeError) {
        self.fail(0, sequence + 1, error);
        self.settle(sequence);
    }

    /// Commands arrived in the log without those before them.
    pub(crate) fn gap(&self) {
        self.state.lock().progress.gap = true;
        self.changed.notify_one();
    }

    /// Answers the commands of `start..end` with an error.
    pub(crate) fn fail(&self, start: u64, end: u64, error: &ProposeError) {
        for (_, waiter) in self.take(start, end) {
            waiter.answer(Err(error.clone()));
        }
    }

    /// Answers everybody with an error; what they wait for is not sent again.
    pub(crate) fn fail_all(&self, error: &ProposeError) {
        let mut state = self.state.lock();
        state.progress.abandoned = state.registered;
        // Together: who is added later is neither answered here nor abandoned.
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        self.changed.notify_one();
        for (_, waiter) in waiters {
            waiter.answer(Err(error.clone()));
        }
    }

    /// How far the commands are. That there was a gap is told once.
    pub(crate) fn take_progress(&self) -> Progress {
        let progress = &mut self.state.lock().progress;
        let taken = *progress;
        progress.gap = false;
        taken
    }

    /// Resolves when the progress may have changed since the last call. For one waiting task.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn settle(&self, sequence: u64) {
        let mut state = self.state.lock();
        state.progress.settled = state.progress.settled.max(sequence);
        drop(state);
        self.changed.notify_one();
    }

    fn take(&self, start: u64, end: u64) -> Vec<(u64, Waiter<T>)> {
        let waiters = &mut self.state.lock().waiters;
        let from = waiters.partition_point(|(sequence, _)| *sequence < start);
        let to = waiters.partition_point(|(sequence, _)| *sequence < end);
        waiters.drain(from..to).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    type Seen = Arc<Mutex<Vec<(u64, Result<u64, ProposeError>)>>>;

    fn waiters(seen: &Seen, sequences: std::ops::Range<u64>) -> Vec<Waiter<u64>> {
        let waiter = |sequence| {
            let seen = Arc::clone(seen);
            Waiter::new(move |result| seen.lock().push((sequence, result)))
        };
        sequences.map(waiter).collect()
    }

    #[test]
    fn each_caller_gets_its_own_answer_in_order() {
        let (pending, seen) = (Pending::default(), Seen::default());
        pending.register(1, waiters(&seen, 1..4));
        pending.register(7, waiters(&seen, 7..9));
        pending.complete(1, vec![10, 20, 30]);
        pending.complete(4, vec![40, 50]);
        pending.complete(6, vec![60, 70, 80]);
        let answers: Vec<_> = seen.lock().drain(..).collect();
        assert_eq!(answers, [(1, Ok(10)), (2, Ok(20)), (3, Ok(30)), (7, Ok(70)), (8, Ok(80))]);
    }

    #[test]
    fn nobody_waits_for_ever() {
        let (pending, seen) = (Pending::default(), Seen::default());
        pending.register(1, waiters(&seen, 1..4));
        pending.fail(2, 3, &ProposeError::Closing);
        drop(pending);
        let answers: Vec<_> = seen.lock().drain(..).collect();
        assert_eq!(answers[0], (2, Err(ProposeError::Closing)));
        assert!(answers[1..].iter().all(|(_, result)| result.as_ref().unwrap_err().may_have_applied()));
        assert_eq!(answers.len(), 3);
    }

    #[test]
    fn progress_tells_what_need_not_be_sent_again() {
        let (pending, seen) = (Pending::default(), Seen::default());
        pending.register(1, waiters(&seen, 1..9));
        pending.complete(1, vec![10, 20]);
        pending.gap();
        assert_eq!(pending.take_progress(), Progress { settled: 2, abandoned: 0, gap: true });
        let unknown = ProposeError::Unavailable {
            reason: UnavailableReason::Stopped,
            outcome: CommandOutcome::Unknown,
        };
        pending.applied_unseen(5, &unknown);
        assert_eq!(pending.take_progress(), Progress { settled: 5, abandoned: 0, gap: false });
        pending.fail_all(&ProposeError::Closing);
        assert_eq!(pending.take_progress(), Progress { settled: 5, abandoned: 8, gap: false });
        let answers: Vec<_> = seen.lock().drain(..).map(|(_, result)| result).collect();
        assert_eq!(answers[2..5], [Err(unknown.clone()), Err(unknown.clone()), Err(unknown)]);
        assert_eq!(answers.len(), 8);
    }
}
