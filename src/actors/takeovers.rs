//! How often clients may take over from each other (hostile A21): two clients with one identifier that both reconnect at
//! once when they are thrown out would otherwise keep the log of the whole cluster busy.
//!
//! Each device and client identifier has a bucket of [`BURST`] takeovers that fills up again by one in
//! [`REFILL`]. What goes beyond is refused, so the session that there is lives on. Each node counts for itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use smol_str::SmolStr;

use crate::domain::id::DeviceId;

/// Takeovers at once.
pub const BURST: u32 = 20;

/// Time until there is one more: two per second.
pub const REFILL: Duration = Duration::from_millis(500);

/// Clients that are remembered at a time: those that were admitted a moment ago, and those whose bucket is not full. At
/// the limit a takeover is refused, and a session that takes over from nobody is admitted without being remembered.
const CLIENTS_MAX: usize = 65_536;

type Client = (DeviceId, SmolStr);

/// The buckets.
#[derive(Debug, Default)]
pub struct Takeovers {
    buckets: Mutex<HashMap<Client, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    /// When it is full again.
    full_at: Instant,
    /// Sessions that were admitted and are not open yet: the next one will take over from them.
    opening: u32,
}

impl Bucket {
    fn is_idle(&self, now: Instant) -> bool {
        self.opening == 0 && self.full_at <= now
    }

    /// Takes one out.
    fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.max(now) + REFILL;
        let has_one = full_at.duration_since(now) <= REFILL * BURST;
        if has_one {
            self.full_at = full_at;
        }
        has_one
    }
}

/// A session that was admitted; to be dropped when it is open, or refused.
#[derive(Debug)]
pub struct Admitted {
    /// Whose bucket counts it.
    counted: Option<(Arc<Takeovers>, Client)>,
}

/// Too many sessions of this client took over from each other lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

impl Takeovers {
    /// Admits a session of a device with a client identifier that is not empty; `has_rival` if there is one already.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn admit(
        self: &Arc<Self>,
        device: &DeviceId,
        client_id: &str,
        has_rival: bool,
        now: Instant,
    ) -> Result<Admitted, TooMany> {
        let client = (device.clone(), SmolStr::new(client_id));
        let mut buckets = self.buckets.lock();
        if buckets.len() >= CLIENTS_MAX && !buckets.contains_key(&client) {
            buckets.retain(|_, bucket| !bucket.is_idle(now));
            if buckets.len() >= CLIENTS_MAX {
                return if has_rival { Err(TooMany) } else { Ok(Admitted { counted: None }) };
            }
        }
        let bucket = buckets.entry(client.clone()).or_insert(Bucket { full_at: now, opening: 0 });
        if (has_rival || bucket.opening > 0) && !bucket.take(now) {
            return Err(TooMany);
        }
        bucket.opening += 1;
        Ok(Admitted { counted: Some((Arc::clone(self), client)) })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let Some((takeovers, client)) = self.counted.take() else { return };
        let mut buckets = takeovers.buckets.lock();
        let Some(bucket) = buckets.get_mut(&client) else { return };
        bucket.opening = bucket.opening.saturating_sub(1);
        // One that was never used needs not be remembered; the others are swept when there are many.
        if bucket.is_idle(crate::clock::monotonic()) {
            buckets.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(takeovers: &Arc<Takeovers>, client_id: &str, has_rival: bool, now: Instant) -> bool {
        takeovers.admit(&DeviceId::new("device"), client_id, has_rival, now).is_ok()
    }

    #[test]
    fn a_war_of_two_is_slowed_down_and_others_are_not() {
        let (takeovers, now) = (Arc::new(Takeovers::default()), crate::clock::monotonic());
        let granted = (0..100).filter(|_| admitted(&takeovers, "war", true, now)).count();
        assert_eq!(granted, usize::try_from(BURST).expect("small"));
        assert!(!admitted(&takeovers, "war", true, now + REFILL / 2));
        assert!(admitted(&takeovers, "war", true, now + REFILL));
        assert!(!admitted(&takeovers, "war", true, now + REFILL));
        assert!(admitted(&takeovers, "peace", true, now));
        assert!((0..100).all(|_| admitted(&takeovers, "lonely", false, now)), "it takes over from nobody");
    }

    #[test]
    fn those_that_are_not_open_yet_are_rivals_too() {
        let (takeovers, now) = (Arc::new(Takeovers::default()), crate::clock::monotonic());
        let device = DeviceId::new("device");
        let opening: Vec<_> =
            (0..100).filter_map(|_| takeovers.admit(&device, "storm", false, now).ok()).collect();
        assert_eq!(opening.len(), usize::try_from(BURST).expect("small") + 1);
        drop(opening);
        assert!(admitted(&takeovers, "storm", false, now), "nobody is left to take over from");
    }

    #[test]
    fn what_was_never_contested_is_not_remembered() {
        let takeovers = Arc::new(Takeovers::default());
        assert!(admitted(&takeovers, "a", false, crate::clock::monotonic()));
        assert_eq!(takeovers.buckets.lock().len(), 0);
    }
}
