//! Remembers credentials that were verified, so that a fleet that reconnects does not cost a slow
//! hash per device.
//!
//! An entry is HMAC-SHA-256 under a random key of this process over login, stored hash and password:
//! nothing can be read back from it, and a changed or deleted password simply has no entry any more.
//! Wrong passwords are not remembered.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ring::hmac;

/// Bounds of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// Most entries; one takes about 150 bytes. Default 100,000. At the limit the entry that was not
    /// used for the longest goes (second-chance order). 0 turns the cache off.
    pub entries_max: usize,
    /// How long after its last use an entry is forgotten. Default 24 h.
    pub idle: Duration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { entries_max: 100_000, idle: Duration::from_secs(24 * 60 * 60) }
    }
}

type Tag = [u8; 32];

/// The verified credentials of this process.
pub struct VerifiedCache {
    settings: CacheSettings,
    key: hmac::Key,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    by_tag: HashMap<Tag, Entry>,
    /// Every tag of `by_tag`, once; candidates for eviction stand in front.
    order: VecDeque<Tag>,
}

struct Entry {
    last_use: Instant,
    /// Whether it was used since it last stood in front of the order.
    used: bool,
}

impl VerifiedCache {
    /// An empty cache with a fresh key.
    pub fn new(settings: CacheSettings) -> Self {
        let mut secret = zeroize::Zeroizing::new([0; 32]);
        rand::RngCore::fill_bytes(&mut rand::rng(), secret.as_mut());
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref());
        Self { settings, key, entries: Mutex::default() }
    }

    /// Whether this password was verified against this stored hash for this login. Costs well under a
    /// microsecond. The look-up is by a keyed digest, so its time tells nothing about the password.
    pub fn contains(&self, login: &str, stored: &str, password: &[u8], now: Instant) -> bool {
        let tag = self.tag(login, stored, password);
        let mut entries = self.entries.lock();
        let Some(entry) = entries.by_tag.get_mut(&tag) else {
            return false;
        };
        if now.saturating_duration_since(entry.last_use) > self.settings.idle {
            return false;
        }
        entry.last_use = now;
        entry.used = true;
        true
    }

    /// Remembers a successful verification.
    pub fn insert(&self, login: &str, stored: &str, password: &[u8], now: Instant) {
        if self.settings.entries_max == 0 {
            return;
        }
        let tag = self.tag(login, stored, password);
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.by_tag.get_mut(&tag) {
            entry.last_use = now;
            return;
        }
        while entries.by_tag.len() >= self.settings.entries_max {
            entries.evict_one();
        }
        entries.by_tag.insert(tag, Entry { last_use: now, used: false });
        entries.order.push_back(tag);
    }

    /// Entries held, the idle ones included.
    pub fn len(&self) -> usize {
        self.entries.lock().by_tag.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn tag(&self, login: &str, stored: &str, password: &[u8]) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        // Lengths first: no two triples may give the same bytes.
        context.update(&(login.len() as u64).to_be_bytes());
        context.update(&(stored.len() as u64).to_be_bytes());
        context.update(login.as_bytes());
        context.update(stored.as_bytes());
        context.update(password);
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }
}

impl Entries {
    /// Removes the first entry that was not used since its last turn. Ends: a turn takes the mark.
    fn evict_one(&mut self) {
        while let Some(tag) = self.order.pop_front() {
            match self.by_tag.get_mut(&tag) {
                Some(entry) if entry.used => {
                    entry.used = false;
                    self.order.push_back(tag);
                }
                _ => {
                    self.by_tag.remove(&tag);
                    return;
                }
            }
        }
    }
}

impl std::fmt::Debug for VerifiedCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifiedCache").field("entries", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries_max: usize) -> VerifiedCache {
        VerifiedCache::new(CacheSettings { entries_max, idle: Duration::from_secs(60) })
    }

    #[test]
    fn only_the_exact_triple_is_remembered() {
        let (cache, now) = (cache(10), Instant::now());
        cache.insert("are1", "$hash", b"secret", now);
        assert!(cache.contains("are1", "$hash", b"secret", now));
        assert!(!cache.contains("are2", "$hash", b"secret", now));
        assert!(!cache.contains("are1", "$hash2", b"secret", now), "a changed password is another entry");
        assert!(!cache.contains("are1", "$hash", b"Secret", now));
        assert!(!cache.contains("are1$", "hash", b"secret", now), "the fields cannot run together");
    }

    #[test]
    fn entries_end_when_idle_and_live_on_when_used() {
        let (cache, start) = (cache(10), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        cache.insert("are1", "$hash", b"secret", start);
        assert!(cache.contains("are1", "$hash", b"secret", after(59)));
        assert!(cache.contains("are1", "$hash", b"secret", after(118)));
        assert!(!cache.contains("are1", "$hash", b"secret", after(179)));
    }

    #[test]
    fn at_the_limit_an_unused_entry_goes_first() {
        let (cache, now) = (cache(2), Instant::now());
        cache.insert("a", "$", b"1", now);
        cache.insert("b", "$", b"1", now);
        assert!(cache.contains("a", "$", b"1", now));
        cache.insert("c", "$", b"1", now);
        assert_eq!(cache.len(), 2);
        assert!(cache.contains("a", "$", b"1", now) && cache.contains("c", "$", b"1", now));
        assert!(!cache.contains("b", "$", b"1", now));
    }
}
