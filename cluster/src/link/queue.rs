//! What waits on the way to one node: pure, without lock, clock or connection.
//!
//! Chunks stay here until the node has accepted them. What was written to a connection that broke is written again to
//! the next one, from where the node says that it has got to.

use std::collections::VecDeque;

use bytes::Bytes;

/// Bytes on the wire without acknowledgement; the rest waits. A single larger chunk may be on the wire alone.
pub(crate) const CREDIT_BYTES: usize = 8 * 1024 * 1024;
/// Chunks on the wire without acknowledgement.
pub(crate) const CREDIT_CHUNKS: usize = 256;
/// Chunks are joined into one message until it would be longer than this. A longer chunk is a message of its own.
pub(crate) const MESSAGE_BYTES: usize = 256 * 1024;

/// The chunks to one node, in order. Sequences grow by one for the life of the process.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Not accepted yet. The first has the sequence after `settled`.
    chunks: VecDeque<Bytes>,
    bytes: usize,
    /// Everything up to here was accepted, or will never be.
    settled: u64,
    /// The last sequence before the current pair of epochs.
    base: u64,
    /// How many of `chunks` were written to the current connection.
    on_wire: usize,
    bytes_on_wire: usize,
    /// The last chunk that was ever written to a connection.
    furthest: u64,
}

/// Chunks that belong into one message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Of the first chunk.
    pub(crate) first_sequence: u64,
    /// In order, without gaps.
    pub(crate) chunks: Vec<Bytes>,
    /// Of all chunks.
    pub(crate) bytes: usize,
    /// How many were written to an earlier connection already.
    pub(crate) resent: u64,
}

/// The receiver claims something that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    /// It accepted what it was never sent.
    #[error("the node accepted chunk {accepted} although only {sent} was sent")]
    Ahead {
        /// What it claims.
        accepted: u64,
        /// The last chunk that it can know.
        sent: u64,
    },
    /// It forgot what it had accepted.
    #[error("the node accepted chunk {settled} before and now claims {accepted}")]
    Forgotten {
        /// What it claims.
        accepted: u64,
        /// What it acknowledged before.
        settled: u64,
    },
}

impl Queue {
    /// Appends a chunk; returns its sequence.
    pub(crate) fn push(&mut self, chunk: Bytes) -> u64 {
        self.bytes += chunk.len();
        self.chunks.push_back(chunk);
        self.last()
    }

    /// Bytes that are not accepted yet.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Chunks that are not accepted yet.
    pub(crate) fn len(&self) -> usize {
        self.chunks.len()
    }

    /// The sequence that was given last.
    fn last(&self) -> u64 {
        self.settled + self.chunks.len() as u64
    }

    /// The pair of epochs is over: nothing that waits will be sent. Returns it, so that it is freed elsewhere.
    pub(crate) fn end(&mut self) -> VecDeque<Bytes> {
        self.settled = self.last();
        self.base = self.settled;
        self.furthest = self.settled;
        self.bytes = 0;
        self.broken();
        std::mem::take(&mut self.chunks)
    }

    /// The connection is gone: nothing is on the wire.
    pub(crate) fn broken(&mut self) {
        self.on_wire = 0;
        self.bytes_on_wire = 0;
    }

    /// The sequence with which the current pair of epochs begins; the receiver needs it when it knows nothing yet.
    pub(crate) fn first_sequence(&self) -> u64 {
        self.base + 1
    }

    /// A new connection is open and the receiver has accepted everything up to `accepted`. What follows is sent again.
    /// Returns whether that acknowledges anything.
    pub(crate) fn resume(&mut self, accepted: u64) -> Result<bool, Violation> {
        if accepted < self.settled {
            return Err(Violation::Forgotten { accepted, settled: self.settled });
        }
        if accepted > self.furthest.max(self.settled) {
            return Err(Violation::Ahead { accepted, sent: self.furthest.max(self.settled) });
        }
        self.broken();
        let settles = accepted > self.settled;
        self.settle(accepted);
        Ok(settles)
    }

    /// The receiver has accepted everything up to `accepted`, of what was written to the current connection. Returns
    /// whether that is news.
    pub(crate) fn acknowledge(&mut self, accepted: u64) -> Result<bool, Violation> {
        let sent = self.settled + self.on_wire as u64;
        if accepted > sent {
            return Err(Violation::Ahead { accepted, sent });
        }
        let settles = accepted > self.settled;
        self.settle(accepted);
        Ok(settles)
    }

    fn settle(&mut self, accepted: u64) {
        while self.settled < accepted {
            let Some(chunk) = self.chunks.pop_front() else { return };
            self.settled += 1;
            self.bytes -= chunk.len();
            if self.on_wire > 0 {
                self.on_wire -= 1;
                self.bytes_on_wire -= chunk.len();
            }
        }
    }

    /// Whether [`Self::take`] would return something.
    pub(crate) fn is_ready(&self) -> bool {
        self.chunks
            .get(self.on_wire)
            .is_some_and(|chunk| self.has_credit(self.on_wire, self.bytes_on_wire, chunk))
    }

    fn has_credit(&self, on_wire: usize, bytes_on_wire: usize, chunk: &Bytes) -> bool {
        on_wire == 0 || on_wire < CREDIT_CHUNKS && bytes_on_wire + chunk.len() <= CREDIT_BYTES
    }

    /// Takes the next chunks for the current connection, as many as one message and the credit allow.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        let first = self.on_wire;
        let mut chunks = Vec::new();
        let mut bytes = 0;
        for chunk in self.chunks.range(first..) {
            let fits = chunks.is_empty() || bytes + chunk.len() <= MESSAGE_BYTES;
            if !fits || !self.has_credit(first + chunks.len(), self.bytes_on_wire + bytes, chunk) {
                break;
            }
            bytes += chunk.len();
            chunks.push(chunk.clone());
        }
        if chunks.is_empty() {
            return None;
        }
        self.on_wire += chunks.len();
        self.bytes_on_wire += bytes;
        let first_sequence = self.settled + first as u64 + 1;
        let count = chunks.len() as u64;
        let resent = (self.furthest + 1).saturating_sub(first_sequence).min(count);
        self.furthest = self.furthest.max(first_sequence + count - 1);
        Some(Batch { first_sequence, chunks, bytes, resent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(bytes: usize) -> Bytes {
        Bytes::from(vec![7; bytes])
    }

    fn filled(count: usize, bytes: usize) -> Queue {
        let mut queue = Queue::default();
        for _ in 0..count {
            queue.push(chunk(bytes));
        }
        queue
    }

    #[test]
    fn small_chunks_are_joined_and_large_ones_travel_alone() {
        let mut queue = filled(3, MESSAGE_BYTES / 2);
        queue.push(chunk(MESSAGE_BYTES * 3));
        let lengths: Vec<usize> =
            std::iter::from_fn(|| queue.take()).map(|batch| batch.chunks.len()).collect();
        assert_eq!(lengths, [2, 1, 1]);
    }

    #[test]
    fn the_wire_holds_no_more_than_the_credit() {
        let mut queue = filled(100, 256 * 1024);
        let on_wire: usize = std::iter::from_fn(|| queue.take()).map(|batch| batch.bytes).sum();
        assert_eq!(on_wire, CREDIT_BYTES);
        assert!(!queue.is_ready());
        assert_eq!(queue.acknowledge(2), Ok(true));
        assert_eq!(queue.take().map(|batch| (batch.first_sequence, batch.chunks.len())), Some((33, 1)));

        let mut queue = filled(2 * CREDIT_CHUNKS, 1);
        let on_wire: usize = std::iter::from_fn(|| queue.take()).map(|batch| batch.chunks.len()).sum();
        assert_eq!(on_wire, CREDIT_CHUNKS);

        let mut queue = filled(2, CREDIT_BYTES + 1);
        assert_eq!(queue.take().map(|batch| batch.chunks.len()), Some(1), "alone it may exceed the credit");
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn a_new_connection_goes_on_after_what_was_accepted() {
        let mut queue = filled(5, 10);
        assert_eq!(queue.take().map(|batch| batch.chunks.len()), Some(5));
        queue.push(chunk(10));
        queue.broken();
        assert_eq!(queue.resume(3), Ok(true));
        let batch = queue.take().expect("three are left");
        assert_eq!((batch.first_sequence, batch.chunks.len(), batch.resent), (4, 3, 2));
        assert_eq!(queue.bytes(), 30);
    }

    #[test]
    fn impossible_claims_are_refused() {
        let mut queue = filled(5, 10);
        assert_eq!(queue.resume(1), Err(Violation::Ahead { accepted: 1, sent: 0 }));
        assert_eq!(queue.resume(0), Ok(false));
        queue.take();
        queue.push(chunk(10));
        assert_eq!(queue.acknowledge(6), Err(Violation::Ahead { accepted: 6, sent: 5 }));
        assert_eq!(queue.acknowledge(5), Ok(true));
        assert_eq!(queue.acknowledge(4), Ok(false), "late, but true");
        assert_eq!(queue.resume(4), Err(Violation::Forgotten { accepted: 4, settled: 5 }));
    }

    #[test]
    fn sequences_go_on_after_an_end() {
        let mut queue = filled(3, 10);
        queue.take();
        assert_eq!(queue.end().len(), 3);
        assert_eq!((queue.bytes(), queue.len(), queue.first_sequence()), (0, 0, 4));
        assert_eq!(queue.push(chunk(1)), 4);
        assert_eq!(queue.resume(3), Ok(false));
        assert_eq!(queue.take().map(|batch| (batch.first_sequence, batch.resent)), Some((4, 0)));
    }
}
