//! How long messages take from their publisher's socket to a subscriber's, measured on a few of them.
//!
//! A lane follows one message at a time: it notes when the PUBLISH was read, into which outbox the first copy went, and
//! when the last byte of it was written to the socket.

use std::time::{Duration, Instant};

use super::inbox::Target;
use super::state::LaneState;
use crate::clock;

/// Of so many PUBLISH packets of a lane one is followed, unless another one is being followed.
const ONE_OF: u32 = 64;

/// A message that is not written for so long counts as that late: its subscriber does not read.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(10);

/// What a lane follows at the moment.
#[derive(Debug, Default)]
pub struct Sampler {
    /// PUBLISH packets handled since one was to be followed last.
    handled: u32,
    /// When the message that is being delivered was read, until its first copy is in an outbox.
    read_at: Option<Instant>,
    followed: Option<Followed>,
}

#[derive(Debug)]
struct Followed {
    read_at: Instant,
    target: Target,
    /// Bytes to be written until the message is.
    pending_bytes: usize,
}

impl LaneState {
    /// A PUBLISH is about to be delivered; [`Self::end_sample`] must follow.
    #[inline]
    pub fn begin_sample(&mut self) {
        self.sampler.handled += 1;
        if self.sampler.handled >= ONE_OF {
            self.sampler.handled = 0;
            self.start_sample();
        }
    }

    #[cold]
    fn start_sample(&mut self) {
        let now = clock::monotonic();
        let age = |followed: &Followed| now.saturating_duration_since(followed.read_at);
        if let Some(late) = self.sampler.followed.take_if(|followed| age(followed) > GIVEN_UP_AFTER) {
            self.handle().delivery_times.record(age(&late));
        }
        if self.sampler.followed.is_none() {
            self.sampler.read_at = Some(now);
        }
    }

    /// It was delivered to all that are known.
    #[inline]
    pub fn end_sample(&mut self) {
        self.sampler.read_at = None;
    }

    /// A message that another lane follows is about to be delivered.
    pub(super) fn take_sample(&mut self, read_at: Instant) {
        if self.sampler.followed.is_none() {
            self.sampler.read_at = Some(read_at);
        }
    }

    /// The message that is being delivered leaves for another lane: that one follows it if this one does.
    #[inline]
    pub(super) fn hand_on_sample(&mut self) -> Option<Instant> {
        self.sampler.read_at.take()
    }

    /// A copy of the message that is being delivered stands at the end of an outbox.
    #[inline]
    pub(super) fn sample_delivered(&mut self, index: u32) {
        if self.sampler.read_at.is_some() {
            self.follow(index);
        }
    }

    #[cold]
    fn follow(&mut self, index: u32) {
        let Some(read_at) = self.sampler.read_at.take() else { return };
        let outbox = self.outbox_at(index);
        let (generation, pending_bytes) = (outbox.generation, outbox.output.pending_bytes());
        let target = Target { index, generation };
        self.sampler.followed = Some(Followed { read_at, target, pending_bytes });
    }

    /// So many bytes of an outbox were written.
    #[inline]
    pub(super) fn sample_written(&mut self, index: u32, written: usize) {
        if self.sampler.followed.is_some() {
            self.note_written_of(index, written);
        }
    }

    #[cold]
    fn note_written_of(&mut self, index: u32, written: usize) {
        let Some(followed) = self.sampler.followed.as_mut().filter(|it| it.target.index == index) else {
            return;
        };
        followed.pending_bytes = followed.pending_bytes.saturating_sub(written);
        if followed.pending_bytes == 0 {
            let took = followed.read_at.elapsed();
            self.sampler.followed = None;
            self.handle().delivery_times.record(took);
        }
    }

    /// A connection has ended; its outbox is dropped.
    pub(super) fn forget_sample(&mut self, target: Target) {
        self.sampler.followed.take_if(|followed| followed.target == target);
    }
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
