//! The clock: the only room that reads the time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::domain::timestamp::Timestamp;

/// The time of day. A clock before 1970 counts as 1970.
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanoseconds(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
}

/// The time of day as the system's own type, for certificates.
pub fn system_time() -> SystemTime {
    SystemTime::now()
}

/// A point in time for measuring durations; not affected by changes of the time of day.
pub fn monotonic() -> Instant {
    Instant::now()
}
