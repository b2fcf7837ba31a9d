//! The batches of this process that are not applied yet: pure bookkeeping.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::options::WINDOW_ENTRIES;

/// A command that waits longer than this is answered.
pub(crate) const COMMAND_MAX: Duration = Duration::from_secs(10);
/// A command that is committed, but not applied here because this node lags, is answered after this long.
pub(crate) const COMMITTED_MAX: Duration = Duration::from_secs(30);

/// The batches on their way, in order.
#[derive(Default)]
pub(crate) struct Window {
    batches: VecDeque<Outstanding>,
    settled: u64,
}

struct Outstanding {
    first_sequence: u64,
    commands: Vec<Bytes>,
    since: Instant,
    /// Whether it is on its way on the present lane.
    is_sent: bool,
    /// Whether it was on its way on an earlier lane, and may be in the log by that.
    was_sent: bool,
    is_committed: bool,
}

/// A batch as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sending {
    /// The batch follows the command of this sequence.
    pub(crate) after_sequence: u64,
    pub(crate) first_sequence: u64,
    pub(crate) commands: Vec<Bytes>,
}

/// A batch that is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GivenUp {
    /// Sequences of its commands, from the first to behind the last.
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Whether it may take effect all the same.
    pub(crate) may_be_in_log: bool,
}

impl Outstanding {
    fn end(&self) -> u64 {
        self.first_sequence + self.commands.len() as u64
    }

    fn given_up(&self) -> GivenUp {
        GivenUp { start: self.first_sequence, end: self.end(), may_be_in_log: self.was_sent || self.is_sent }
    }
}

impl Window {
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.batches.len() >= WINDOW_ENTRIES
    }

    /// Adds a batch, whose sequences follow all before.
    pub(crate) fn push(&mut self, first_sequence: u64, commands: Vec<Bytes>, since: Instant) {
        self.batches.push_back(Outstanding {
            first_sequence,
            commands,
            since,
            is_sent: false,
            was_sent: false,
            is_committed: false,
        });
    }

    /// The commands up to `settled` are applied; those up to `abandoned` were answered and are not sent again.
    pub(crate) fn forget(&mut self, settled: u64, abandoned: u64) {
        self.settled = self.settled.max(settled);
        let done = settled.max(abandoned);
        self.batches.retain(|batch| batch.end() > done + 1);
    }

    /// Everything is to be sent again.
    pub(crate) fn rewind(&mut self) {
        for batch in &mut self.batches {
            batch.was_sent |= batch.is_sent;
            (batch.is_sent, batch.is_committed) = (false, false);
        }
    }

    /// The leader has refused the first batch that is not committed, and with it all that follow. Gives them up.
    pub(crate) fn refused(&mut self) -> Vec<GivenUp> {
        let refused = self.batches.iter_mut().filter(|batch| !batch.is_committed);
        let given_up = refused.map(|batch| {
            batch.is_sent = false;
            batch.given_up()
        });
        let given_up = given_up.collect();
        self.batches.retain(|batch| batch.is_committed);
        given_up
    }

    /// The next batch to send, which counts as sent from now on.
    pub(crate) fn next(&mut self) -> Option<Sending> {
        let place = self.batches.iter().position(|batch| !batch.is_sent)?;
        let after_sequence = match place.checked_sub(1) {
            Some(before) => self.batches[before].end() - 1,
            None => self.settled.min(self.batches[place].first_sequence - 1),
        };
        let batch = &mut self.batches[place];
        batch.is_sent = true;
        Some(Sending {
            after_sequence,
            first_sequence: batch.first_sequence,
            commands: batch.commands.clone(),
        })
    }

    /// The batch is committed, and will be applied here in a moment.
    pub(crate) fn committed(&mut self, first_sequence: u64) {
        let sent = |batch: &&mut Outstanding| batch.first_sequence == first_sequence && batch.is_sent;
        if let Some(batch) = self.batches.iter_mut().find(sent) {
            batch.is_committed = true;
        }
    }

    /// Gives up what has waited too long. What follows no longer waits for it.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<GivenUp> {
        let is_late = |batch: &Outstanding| {
            let allowed = if batch.is_committed { COMMITTED_MAX } else { COMMAND_MAX };
            now.duration_since(batch.since) > allowed
        };
        let late = self.batches.iter().filter(|batch| is_late(batch)).map(Outstanding::given_up).collect();
        self.batches.retain(|batch| !is_late(batch));
        late
    }

    /// Gives up everything.
    pub(crate) fn give_up(&mut self) -> Vec<GivenUp> {
        self.batches.drain(..).map(|batch| batch.given_up()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(sizes: &[u64]) -> Window {
        let mut window = Window::default();
        let mut first = 1;
        for size in sizes {
            let commands = (0..*size).map(|_| Bytes::from_static(b"x")).collect();
            window.push(first, commands, Instant::now());
            first += size;
        }
        window
    }

    fn sent(window: &mut Window) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| window.next())
            .map(|batch| (batch.after_sequence, batch.first_sequence))
            .collect()
    }

    #[test]
    fn the_unsettled_part_is_sent_again_in_order() {
        let mut window = window(&[2, 3, 1]);
        assert_eq!(sent(&mut window), [(0, 1), (2, 3), (5, 6)]);
        assert!(sent(&mut window).is_empty());
        window.forget(2, 0);
        window.rewind();
        assert_eq!(sent(&mut window), [(2, 3), (5, 6)]);
        window.forget(4, 0);
        window.rewind();
        assert_eq!(sent(&mut window), [(2, 3), (5, 6)], "one applied by half is sent as it was");
        window.forget(6, 0);
        assert!(window.is_empty());
    }

    #[test]
    fn what_was_given_up_is_not_waited_for() {
        let mut window = window(&[2, 3, 1]);
        let _first = window.next();
        window.forget(0, 2);
        assert_eq!(sent(&mut window), [(0, 3), (5, 6)]);
        let now = Instant::now();
        window.committed(6);
        let late = window.expire(now + COMMAND_MAX + Duration::from_secs(1));
        assert_eq!(late, [GivenUp { start: 3, end: 6, may_be_in_log: true }]);
        window.rewind();
        assert_eq!(sent(&mut window), [(0, 6)]);
        assert_eq!(window.give_up(), [GivenUp { start: 6, end: 7, may_be_in_log: true }]);
    }

    #[test]
    fn a_batch_that_was_never_sent_is_known_not_to_be_in_the_log() {
        let mut window = window(&[1]);
        let late = window.expire(Instant::now() + COMMAND_MAX + Duration::from_secs(1));
        assert_eq!(late, [GivenUp { start: 1, end: 2, may_be_in_log: false }]);
    }

    #[test]
    fn what_the_leader_refuses_is_not_in_the_log_unless_by_another_lane() {
        let mut window = window(&[1, 1]);
        let _first = window.next();
        window.rewind();
        assert_eq!(sent(&mut window).len(), 2);
        let refused = window.refused();
        assert_eq!(refused[0], GivenUp { start: 1, end: 2, may_be_in_log: true });
        assert_eq!(refused[1], GivenUp { start: 2, end: 3, may_be_in_log: false });
        assert!(window.is_empty());
    }
}
