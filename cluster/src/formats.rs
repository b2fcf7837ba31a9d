//! Which formats a release can write, and which one a cluster writes: pure.
//!
//! One number stands for everything that nodes store and send each other: commands, snapshots, links. A cluster writes one
//! format at a time, and goes to a newer one when all members can write it, never back: so members of two neighbouring
//! releases work together, and until the last of them is new, each can still be exchanged for the old one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The format of clusters that have no number on record.
const FIRST: u32 = 1;

/// A release of the program, as far as other nodes care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its version, shown to operators.
    pub version: String,
    /// What it can write.
    pub formats: Formats,
}

impl Default for Release {
    fn default() -> Release {
        Release { version: String::new(), formats: Formats::new(FIRST, FIRST) }
    }
}

/// The formats that a release can write. It reads these and all older ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formats {
    oldest: u32,
    newest: u32,
}

impl Formats {
    /// From the oldest to the newest, both included. The first format is 1.
    ///
    /// # Panics
    /// If there is none between the two.
    #[must_use]
    pub const fn new(oldest: u32, newest: u32) -> Formats {
        assert!(
            FIRST <= oldest && oldest <= newest,
            "a release writes at least one format, and the first is 1"
        );
        Formats { oldest, newest }
    }

    /// What another node says of itself; `None` if it makes no sense. Releases that say nothing write the first format.
    pub(crate) fn told(oldest: u32, newest: u32) -> Option<Formats> {
        match (oldest, newest) {
            (0, 0) => Some(Formats::new(FIRST, FIRST)),
            _ => (FIRST <= oldest && oldest <= newest).then_some(Formats { oldest, newest }),
        }
    }

    /// The oldest format that the release writes.
    #[must_use]
    pub fn oldest(self) -> u32 {
        self.oldest
    }

    /// The newest format that the release writes and reads.
    #[must_use]
    pub fn newest(self) -> u32 {
        self.newest
    }

    /// Whether the release writes this one.
    #[must_use]
    pub fn contains(self, format: u32) -> bool {
        (self.oldest..=self.newest).contains(&format)
    }

    /// The same without those above `newest`; `None` if none is left, or if the release does not know that one itself.
    #[must_use]
    pub fn up_to(self, newest: u32) -> Option<Formats> {
        self.contains(newest).then_some(Formats { newest, ..self })
    }

    /// Checks that the release can take part in a cluster that has this format on record; 0 stands for none.
    pub(crate) fn check(self, recorded: u32) -> Result<(), OtherFormat> {
        if recorded == 0 || self.contains(recorded) {
            return Ok(());
        }
        Err(OtherFormat { cluster: recorded, release: self })
    }
}

/// A release cannot take part in a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cluster writes format {cluster}, this release writes {release}: upgrade by one release at a time, never back"
)]
pub(crate) struct OtherFormat {
    cluster: u32,
    release: Formats,
}

/// The format that this node writes at the moment; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct WrittenFormat(Arc<AtomicU32>);

impl WrittenFormat {
    /// As long as none is on record: the oldest, which everybody reads.
    pub(crate) fn new(formats: Formats) -> WrittenFormat {
        WrittenFormat(Arc::new(AtomicU32::new(formats.oldest)))
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// The cluster has this one on record; 0 stands for none.
    pub(crate) fn record(&self, recorded: u32) {
        self.0.fetch_max(recorded, Ordering::AcqRel);
    }
}

impl fmt::Display for Formats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.oldest == self.newest {
            true => write!(f, "{}", self.newest),
            false => write!(f, "{} to {}", self.oldest, self.newest),
        }
    }
}

/// The format to which the cluster can go now; `None` if it writes the newest already that all members can write. A member
/// of which nothing is known holds it back.
pub(crate) fn next(recorded: u32, members: &BTreeMap<u64, Option<Formats>>) -> Option<u32> {
    let newest = members.values().map(|known| known.map_or(0, Formats::newest)).min()?;
    let all_write = |format: &u32| members.values().flatten().all(|formats| formats.contains(*format));
    Some(newest).filter(|newest| *newest > recorded).filter(all_write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_goes_on_when_the_last_member_can() {
        let (old, both, new) = (Formats::new(1, 1), Formats::new(1, 2), Formats::new(2, 3));
        let next = |recorded, members: [Option<Formats>; 3]| next(recorded, &(1..).zip(members).collect());
        assert_eq!(next(0, [Some(old), Some(both), Some(both)]), Some(1), "none is on record yet");
        assert_eq!(next(1, [Some(old), Some(old), Some(old)]), None);
        assert_eq!(next(1, [Some(both), Some(both), Some(old)]), None, "one cannot write it");
        assert_eq!(next(1, [Some(both), Some(both), None]), None, "nothing is known of one");
        assert_eq!(next(1, [Some(both), Some(both), Some(both)]), Some(2));
        assert_eq!(next(2, [Some(both), Some(both), Some(both)]), None, "it has gone on already");
        assert_eq!(next(2, [Some(both), Some(new), Some(new)]), None);
        assert_eq!(next(2, [Some(new), Some(new), Some(new)]), Some(3));
        assert_eq!(next(1, [Some(old), Some(new), Some(new)]), None, "they have nothing in common");
    }

    #[test]
    fn an_operator_may_hold_a_format_that_the_release_writes() {
        let formats = Formats::new(2, 3);
        assert_eq!(formats.up_to(2), Some(Formats::new(2, 2)));
        assert_eq!(formats.up_to(3), Some(formats));
        assert_eq!((formats.up_to(1), formats.up_to(4)), (None, None));
        assert_eq!(
            (formats.to_string(), Formats::new(2, 2).to_string()),
            ("2 to 3".to_owned(), "2".to_owned())
        );
    }

    #[test]
    fn a_release_that_cannot_write_the_format_of_the_cluster_says_so() {
        let formats = Formats::new(2, 3);
        assert_eq!((formats.check(0), formats.check(2), formats.check(3)), (Ok(()), Ok(()), Ok(())));
        let too_old = formats.check(4).map_err(|error| error.to_string());
        let rule = "the cluster writes format 4, this release writes 2 to 3: upgrade by one release at a time, never back";
        assert_eq!(too_old, Err(rule.to_owned()));
        assert!(formats.check(1).is_err());
    }

    #[test]
    fn what_other_nodes_tell_is_checked() {
        assert_eq!(Formats::told(0, 0), Some(Formats::new(1, 1)), "a release from before the number");
        assert_eq!(Formats::told(1, 2), Some(Formats::new(1, 2)));
        assert_eq!(Formats::told(2, 1), None);
        assert_eq!(Formats::told(0, 1), None);
    }
}
