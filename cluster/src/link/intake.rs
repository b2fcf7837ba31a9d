//! How far the chunks of one node were accepted: pure.
//!
//! Survives connections, so that what is sent again is neither delivered twice nor out of order.

/// The two epochs that a link belongs to. When either ends, the link begins from nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Epochs {
    /// Of the node that sends; 0 if nothing is to be sent, only found out whether the other node can be reached: because
    /// one of the two has no epoch.
    pub(crate) sender: u64,
    /// Of the node that receives; 0 while it has none.
    pub(crate) receiver: u64,
}

/// What was accepted from one node.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    epochs: Epochs,
    accepted: u64,
}

/// What to do with a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Deliver it, then say so by [`Intake::accepted`].
    Next,
    /// It was delivered before.
    Duplicate,
}

/// The sender breaks the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IntakeError {
    /// A chunk was left out.
    #[error("chunk {sequence} does not follow chunk {accepted}")]
    Gap {
        /// Of the chunk that came.
        sequence: u64,
        /// The last one accepted.
        accepted: u64,
    },
    /// The link begins behind what was accepted in the same epochs.
    #[error("the link begins with chunk {first} although only {accepted} was accepted")]
    BeginsLate {
        /// With which the link is said to begin.
        first: u64,
        /// The last one accepted.
        accepted: u64,
    },
    /// Sequences begin with 1.
    #[error("the opening names no first sequence")]
    NoSequence,
}

impl Intake {
    /// A connection for `epochs` is open; the caller has found both to be current. `first` is the sequence with which
    /// the link began in these epochs. Returns the last chunk that was accepted.
    pub(crate) fn open(&mut self, epochs: Epochs, first: u64) -> Result<u64, IntakeError> {
        let before = first.checked_sub(1).ok_or(IntakeError::NoSequence)?;
        if self.epochs != epochs {
            *self = Intake { epochs, accepted: before };
        }
        if before > self.accepted {
            return Err(IntakeError::BeginsLate { first, accepted: self.accepted });
        }
        Ok(self.accepted)
    }

    /// What to do with the chunk that came next on the connection.
    pub(crate) fn admit(&self, sequence: u64) -> Result<Admission, IntakeError> {
        if sequence <= self.accepted {
            Ok(Admission::Duplicate)
        } else if sequence == self.accepted + 1 {
            Ok(Admission::Next)
        } else {
            Err(IntakeError::Gap { sequence, accepted: self.accepted })
        }
    }

    /// The chunk that was admitted last is delivered. Returns its sequence.
    pub(crate) fn accepted(&mut self) -> u64 {
        self.accepted += 1;
        self.accepted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCHS: Epochs = Epochs { sender: 5, receiver: 6 };

    #[test]
    fn a_second_connection_goes_on_where_the_first_ended() {
        let mut intake = Intake::default();
        assert_eq!(intake.open(EPOCHS, 10), Ok(9));
        assert_eq!(intake.admit(10), Ok(Admission::Next));
        assert_eq!(intake.accepted(), 10);
        assert_eq!(intake.open(EPOCHS, 10), Ok(10));
        assert_eq!(intake.admit(10), Ok(Admission::Duplicate));
        assert_eq!(intake.admit(12), Err(IntakeError::Gap { sequence: 12, accepted: 10 }));
        assert_eq!(intake.open(EPOCHS, 12), Err(IntakeError::BeginsLate { first: 12, accepted: 10 }));
        assert_eq!(intake.open(EPOCHS, 0), Err(IntakeError::NoSequence));
    }

    #[test]
    fn a_new_epoch_of_either_node_begins_from_nothing() {
        let mut intake = Intake::default();
        assert_eq!(intake.open(EPOCHS, 1), Ok(0));
        intake.accepted();
        assert_eq!(intake.open(Epochs { sender: 9, ..EPOCHS }, 30), Ok(29));
        assert_eq!(intake.open(Epochs { sender: 9, receiver: 12 }, 40), Ok(39));
    }
}
