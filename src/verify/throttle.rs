//! Slows password guessing down: a delay before the answer to a wrong password, never a lock-out,
//! because a lock-out lets anyone who knows a device's id silence the device (U-A10).
//!
//! Failures count per (login, address), which slows a guesser of one login, and per address, which
//! slows one who tries many logins. A client elsewhere is not affected, whatever happens to its login;
//! nor is a right password ever delayed: the delay stands before the refusal, and meanwhile the
//! connection waits. Pure state; the time is an argument.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ring::digest;

use super::pool::Standing;

/// How failures turn into delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThrottleSettings {
    /// Failures of one (login, address) that are free. Default 3: somebody types.
    pub free_failures: u32,
    /// Failures of one address over all its logins that are free. Default 50: a site with many
    /// devices behind one address may have some that are set up wrongly.
    pub free_address_failures: u32,
    /// Delay after the first failure that is not free; it doubles with each further one. Default 500 ms.
    pub delay_min: Duration,
    /// Longest delay. Default 30 s.
    pub delay_max: Duration,
    /// How long after the last failure everything is forgotten. Default 15 min.
    pub memory: Duration,
    /// Most entries in each of the two tables; one takes about 120 bytes. Default 100,000. At the limit
    /// the oldest entry is forgotten.
    pub entries_max: usize,
}

impl Default for ThrottleSettings {
    fn default() -> Self {
        Self {
            free_failures: 3,
            free_address_failures: 50,
            delay_min: Duration::from_millis(500),
            delay_max: Duration::from_secs(30),
            memory: Duration::from_secs(15 * 60),
            entries_max: 100_000,
        }
    }
}

/// The failures of late.
#[derive(Debug)]
pub struct Throttle {
    settings: ThrottleSettings,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    by_login: FailureTable<(LoginDigest, Origin)>,
    by_address: FailureTable<Origin>,
}

/// Logins can be 64 KiB of anything, so the table holds a digest.
type LoginDigest = [u8; LOGIN_DIGEST_BYTES];

/// Enough that nobody finds two logins with one digest.
const LOGIN_DIGEST_BYTES: usize = 16;

/// An IPv4 address, or the /64 network of an IPv6 address, which one customer owns as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Origin(IpAddr);

impl Throttle {
    /// Without any failures.
    pub fn new(settings: ThrottleSettings) -> Self {
        Self { settings, tables: Mutex::default() }
    }

    /// How far to trust a new attempt from this address.
    pub fn standing(&self, address: IpAddr, now: Instant) -> Standing {
        let tables = self.tables.lock();
        match tables.by_address.failures(&origin(address), self.settings.memory, now) {
            0 => Standing::Good,
            _ => Standing::Suspect,
        }
    }

    /// Notes a wrong password and returns how long to wait before refusing it.
    pub fn failed(&self, login: &str, address: IpAddr, now: Instant) -> Duration {
        let settings = &self.settings;
        let origin = origin(address);
        let mut tables = self.tables.lock();
        let login_failures = tables.by_login.add((login_digest(login), origin), settings, now);
        let address_failures = tables.by_address.add(origin, settings, now);
        drop(tables);
        let by_login = settings.delay(login_failures.saturating_sub(settings.free_failures));
        let by_address = settings.delay(address_failures.saturating_sub(settings.free_address_failures));
        by_login.max(by_address)
    }

    /// Notes a right password: the failures of this (login, address) are forgotten. Those of the
    /// address stay, or one valid account would give free guesses at all others.
    pub fn succeeded(&self, login: &str, address: IpAddr) {
        let mut tables = self.tables.lock();
        if !tables.by_login.is_empty() {
            tables.by_login.forget(&(login_digest(login), origin(address)));
        }
    }
}

impl ThrottleSettings {
    /// The delay for a number of failures that are not free.
    fn delay(&self, failures: u32) -> Duration {
        match failures {
            0 => Duration::ZERO,
            _ => self.delay_min.saturating_mul(1 << (failures - 1).min(20)).min(self.delay_max),
        }
    }
}

fn origin(address: IpAddr) -> Origin {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let network = u128::from(v6) & !u128::from(u64::MAX);
            Origin(IpAddr::V6(Ipv6Addr::from(network)))
        }
        v4 => Origin(v4),
    }
}

fn login_digest(login: &str) -> LoginDigest {
    let full = digest::digest(&digest::SHA256, login.as_bytes());
    let mut short = LoginDigest::default();
    short.copy_from_slice(&full.as_ref()[..LOGIN_DIGEST_BYTES]);
    short
}

/// Failure counts by key, bounded.
#[derive(Debug)]
struct FailureTable<K> {
    entries: HashMap<K, Failures>,
    /// Keys by age of their entry; an entry that was replaced leaves a stale pair behind.
    order: VecDeque<(K, u64)>,
    next: u64,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
    /// Which pair of the order speaks of this entry.
    number: u64,
}

impl<K> Default for FailureTable<K> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), next: 0 }
    }
}

impl<K: Copy + Eq + Hash> FailureTable<K> {
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn failures(&self, key: &K, memory: Duration, now: Instant) -> u32 {
        match self.entries.get(key) {
            Some(entry) if now.saturating_duration_since(entry.last) <= memory => entry.count,
            _ => 0,
        }
    }

    /// Adds a failure and returns the number of failures, this one included.
    fn add(&mut self, key: K, settings: &ThrottleSettings, now: Instant) -> u32 {
        let earlier = self.failures(&key, settings.memory, now);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.count = earlier.saturating_add(1);
            entry.last = now;
            return entry.count;
        }
        self.make_room(settings.entries_max.max(1));
        self.entries.insert(key, Failures { count: 1, last: now, number: self.next });
        self.order.push_back((key, self.next));
        self.next += 1;
        1
    }

    fn forget(&mut self, key: &K) {
        self.entries.remove(key);
    }

    /// Makes room for one entry, and keeps stale pairs from piling up.
    fn make_room(&mut self, entries_max: usize) {
        while self.entries.len() >= entries_max || self.order.len() >= entries_max.saturating_mul(2) {
            let Some((key, number)) = self.order.pop_front() else { return };
            if self.entries.get(&key).is_some_and(|entry| entry.number == number) {
                self.entries.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn throttle() -> Throttle {
        Throttle::new(ThrottleSettings { entries_max: 100, ..ThrottleSettings::default() })
    }

    #[test]
    fn a25_delays_grow_per_login_and_address_up_to_the_limit() {
        let (throttle, now) = (throttle(), Instant::now());
        let delays: Vec<u128> = (0..12).map(|_| throttle.failed("are1", ADDRESS, now).as_millis()).collect();
        assert_eq!(delays, [0, 0, 0, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(throttle.failed("are1", OTHER, now), Duration::ZERO, "other addresses are not slowed");
        assert_eq!(throttle.failed("are2", ADDRESS, now), Duration::ZERO);
    }

    #[test]
    fn a25_one_address_that_tries_many_logins_is_slowed() {
        let (throttle, now) = (throttle(), Instant::now());
        let delays = (0..60).map(|number| throttle.failed(&format!("are{number}"), ADDRESS, now));
        assert_eq!(delays.filter(|delay| !delay.is_zero()).count(), 10);
        assert_eq!(throttle.standing(ADDRESS, now), Standing::Suspect);
        assert_eq!(throttle.standing(OTHER, now), Standing::Good);
    }

    #[test]
    fn success_and_time_forgive() {
        let (throttle, now) = (throttle(), Instant::now());
        for _ in 0..5 {
            throttle.failed("are1", ADDRESS, now);
        }
        throttle.succeeded("are1", ADDRESS);
        assert_eq!(throttle.failed("are1", ADDRESS, now), Duration::ZERO);
        let later = now + Duration::from_secs(16 * 60);
        assert_eq!(throttle.standing(ADDRESS, later), Standing::Good);
        assert_eq!(throttle.failed("are1", ADDRESS, later), Duration::ZERO);
    }

    #[test]
    fn tables_are_bounded() {
        let (throttle, now) = (throttle(), Instant::now());
        for number in 0..1000_u32 {
            let login = format!("are{number}");
            throttle.failed(&login, IpAddr::from(number.to_be_bytes()), now);
            throttle.succeeded(&login, IpAddr::from(number.to_be_bytes()));
        }
        let tables = throttle.tables.lock();
        assert!(tables.by_login.order.len() <= 200 && tables.by_address.entries.len() <= 100);
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let (throttle, now) = (throttle(), Instant::now());
        for host in 0..4 {
            throttle.failed("are1", format!("2001:db8::{host}").parse().unwrap(), now);
        }
        assert!(throttle.failed("are1", "2001:db8::ffff".parse().unwrap(), now) > Duration::ZERO);
    }
}
