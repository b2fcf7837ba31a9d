//! What every payload begins with, so that loss, duplicates, order and latency can be told from the message alone.

/// Smallest payload that can carry a stamp, in bytes.
pub const STAMP_BYTES: usize = 24;

/// Marks a payload as ours ("RkLd").
const MAGIC: u32 = 0x526b_4c64;

/// Publisher, sequence number and time of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Index of the publisher within the run.
    pub publisher: u32,
    /// Counts from 0 for each publisher.
    pub sequence: u64,
    /// When the message was written, or in a paced run *was to be* written ([`crate::clock::now_ns`]). A driver
    /// that falls behind thereby shows up as latency and is not silently left out.
    pub due_ns: u64,
}

impl Stamp {
    /// Writes the stamp over the first [`STAMP_BYTES`] of `payload`.
    #[inline]
    pub fn write(&self, payload: &mut [u8]) {
        payload[..4].copy_from_slice(&MAGIC.to_le_bytes());
        payload[4..8].copy_from_slice(&self.publisher.to_le_bytes());
        payload[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        payload[16..24].copy_from_slice(&self.due_ns.to_le_bytes());
    }

    /// Reads the stamp of a payload; `None` when it is not one of ours.
    #[inline]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let bytes = payload.first_chunk::<STAMP_BYTES>()?;
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        (word(0) == MAGIC).then(|| Self { publisher: word(4), sequence: long(8), due_ns: long(16) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_survives_the_way_and_foreign_payloads_are_told_apart() {
        let stamp = Stamp { publisher: 9, sequence: u64::MAX - 3, due_ns: 1 << 40 };
        let mut payload = [7u8; 40];
        stamp.write(&mut payload);
        assert_eq!(Stamp::read(&payload), Some(stamp));
        assert_eq!(Stamp::read(&payload[..STAMP_BYTES - 1]), None);
        assert_eq!(Stamp::read(&[7u8; 40]), None);
    }
}
