//! Which of an entity's passwords is this? The one door for password checks.
//!
//! A caller first asks [`PasswordVerifier::check_cached`], which is cheap and synchronous, and only
//! then [`PasswordVerifier::verify`], which waits for a thread of the pool. A login without passwords
//! or without an entity costs one hash as well, so the time of a refusal does not tell whether the
//! login exists. (Entities with several passwords take longer to refuse; whoever can tell that through
//! the queue learns no password.)

use std::sync::Arc;
use std::time::Instant;

use thiserror::Error;
use zeroize::Zeroizing;

use super::cache::{CacheSettings, VerifiedCache};
use super::hash::{HashCost, HashCostError, Hasher};
use super::pool::{HashPool, PoolError, PoolSettings, Standing};

/// Longest password that is hashed, in bytes; a longer one is wrong (U-A6, hostile A25).
pub const PASSWORD_BYTES_MAX: usize = 128;

/// Most stored hashes tried for one password. The quota of passwords per entity is lower.
pub const CANDIDATES_MAX: usize = 20;

/// Bounds and costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifierSettings {
    /// The cost of new hashes.
    pub cost: HashCost,
    /// The threads.
    pub pool: PoolSettings,
    /// The memory of verified credentials.
    pub cache: CacheSettings,
}

/// Why the verifier could not be started.
#[derive(Debug, Error)]
pub enum VerifierError {
    /// A cost outside its ranges.
    #[error(transparent)]
    Cost(#[from] HashCostError),
    /// No threads to be had.
    #[error("cannot start the password verification threads: {0}")]
    Threads(#[from] std::io::Error),
}

/// Hashes and verifies passwords.
#[derive(Debug)]
pub struct PasswordVerifier {
    hasher: Hasher,
    pool: HashPool,
    cache: VerifiedCache,
    /// A hash that matches nothing, at the cost of new hashes, for logins without passwords.
    decoy: Arc<str>,
}

impl PasswordVerifier {
    /// Starts the threads.
    pub fn start(settings: VerifierSettings) -> Result<Self, VerifierError> {
        let hasher = Hasher::new(settings.cost)?;
        let decoy = hasher.decoy();
        Ok(Self {
            hasher,
            pool: HashPool::start(settings.pool)?,
            cache: VerifiedCache::new(settings.cache),
            decoy: decoy.into(),
        })
    }

    /// The index of the stored hash that this password is known to have, if it was verified of late.
    /// Costs about a microsecond; `None` says nothing about the password.
    pub fn check_cached(
        &self,
        login: &str,
        candidates: &[Arc<str>],
        password: &[u8],
        now: Instant,
    ) -> Option<usize> {
        if password.len() > PASSWORD_BYTES_MAX {
            return None;
        }
        let mut candidates = candidates.iter().take(CANDIDATES_MAX);
        candidates.position(|stored| self.cache.contains(login, stored, password, now))
    }

    /// The index of the stored hash that this password has, computed by the pool and remembered for
    /// [`check_cached`](Self::check_cached). `candidates` is empty for an unknown login. `Ok(None)`
    /// means the password is wrong.
    pub async fn verify(
        self: &Arc<Self>,
        login: String,
        candidates: Vec<Arc<str>>,
        password: Zeroizing<Vec<u8>>,
        standing: Standing,
        now: Instant,
    ) -> Result<Option<usize>, PoolError> {
        let verifier = Arc::clone(self);
        self.pool.run(standing, move || verifier.compute(&login, &candidates, &password, now)).await
    }

    /// The hash of a new password as a PHC string, computed by the pool. The caller has checked the
    /// password policy.
    pub async fn hash(self: &Arc<Self>, password: Zeroizing<String>) -> Result<String, PoolError> {
        let verifier = Arc::clone(self);
        let hash = self.pool.run(Standing::Good, move || verifier.hasher.hash(password.as_bytes()));
        Ok(hash.await?.expect("a password within the policy can be hashed"))
    }

    /// Requests that wait for a thread, for metrics.
    pub fn waiting(&self) -> usize {
        self.pool.waiting()
    }

    /// Remembered credentials, for metrics.
    pub fn remembered(&self) -> usize {
        self.cache.len()
    }

    fn compute(&self, login: &str, candidates: &[Arc<str>], password: &[u8], now: Instant) -> Option<usize> {
        // A fleet that comes back all at once shows the same password many times before the first hash of it is done.
        if let Some(index) = self.check_cached(login, candidates, password, now) {
            return Some(index);
        }
        let fits = password.len() <= PASSWORD_BYTES_MAX;
        if candidates.is_empty() || !fits {
            let shown = if fits { password } else { b"" };
            self.hasher.matches(shown, &self.decoy);
            return None;
        }
        let mut tried = candidates.iter().take(CANDIDATES_MAX);
        let index = tried.position(|stored| self.hasher.matches(password, stored))?;
        self.cache.insert(login, &candidates[index], password, now);
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verifier(pool: PoolSettings) -> Arc<PasswordVerifier> {
        let cost = HashCost { memory_kib: 8, passes: 1 };
        Arc::new(
            PasswordVerifier::start(VerifierSettings { cost, pool, ..VerifierSettings::default() }).unwrap(),
        )
    }

    async fn verify(
        verifier: &Arc<PasswordVerifier>,
        candidates: &[Arc<str>],
        password: &str,
    ) -> Result<Option<usize>, PoolError> {
        let password = Zeroizing::new(password.as_bytes().to_vec());
        verifier.verify("are1".into(), candidates.to_vec(), password, Standing::Good, Instant::now()).await
    }

    #[tokio::test]
    async fn any_password_of_an_entity_is_valid_and_is_remembered() {
        let verifier = verifier(PoolSettings { threads: 1, queue_max: 10 });
        let mut candidates: Vec<Arc<str>> = Vec::new();
        for password in ["Passw0rdForDevice", "0123456789_abcd"] {
            candidates.push(verifier.hash(Zeroizing::new(password.into())).await.unwrap().into());
        }
        let now = Instant::now();
        assert_eq!(verifier.check_cached("are1", &candidates, b"0123456789_abcd", now), None);
        assert_eq!(verify(&verifier, &candidates, "0123456789_abcd").await, Ok(Some(1)));
        assert_eq!(verifier.check_cached("are1", &candidates, b"0123456789_abcd", now), Some(1));
        // Deleting the password takes effect at once, whatever is remembered.
        assert_eq!(verifier.check_cached("are1", &candidates[..1], b"0123456789_abcd", now), None);
    }

    #[tokio::test]
    async fn a_password_that_was_verified_while_another_login_waited_is_not_hashed_again() {
        let verifier = verifier(PoolSettings { threads: 1, queue_max: 10 });
        // No hash at all: only what is remembered can match it.
        let stored = [Arc::from("verified a moment ago")];
        assert_eq!(verify(&verifier, &stored, "Passw0rdForDevice").await, Ok(None));
        verifier.cache.insert("are1", &stored[0], b"Passw0rdForDevice", Instant::now());
        assert_eq!(verify(&verifier, &stored, "Passw0rdForDevice").await, Ok(Some(0)));
        assert_eq!(verify(&verifier, &stored, "Passw0rdForDevicf").await, Ok(None));
    }

    #[tokio::test]
    async fn wrong_unknown_and_oversized_are_all_just_wrong() {
        let verifier = verifier(PoolSettings { threads: 1, queue_max: 10 });
        let stored: Arc<str> =
            verifier.hash(Zeroizing::new("Passw0rdForDevice".into())).await.unwrap().into();
        assert_eq!(verify(&verifier, &[Arc::clone(&stored)], "Passw0rdForDevicf").await, Ok(None));
        assert_eq!(verify(&verifier, &[Arc::clone(&stored)], "").await, Ok(None));
        assert_eq!(verify(&verifier, &[], "Passw0rdForDevice").await, Ok(None));
        assert_eq!(verify(&verifier, &[stored], &"x".repeat(65_535)).await, Ok(None));
        assert_eq!(verifier.remembered(), 0);
    }

    #[tokio::test]
    async fn a25_a_full_queue_refuses_and_suspects_wait_for_the_others() {
        let pool = HashPool::start(PoolSettings { threads: 1, queue_max: 1 }).unwrap();
        let (release, hold) = std::sync::mpsc::channel::<()>();
        let (begun, running) = tokio::sync::oneshot::channel();
        let order = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let note = |name| {
            let order = Arc::clone(&order);
            move || order.lock().push(name)
        };
        let blocker = pool.run(Standing::Good, move || {
            begun.send(()).ok();
            hold.recv().ok();
        });
        let others = async {
            running.await.unwrap();
            let suspect = pool.run(Standing::Suspect, note("suspect"));
            let good = pool.run(Standing::Good, note("good"));
            let too_many = async {
                let refused = pool.run(Standing::Good, note("never")).await;
                assert_eq!(refused, Err(PoolError::Busy { queue_max: 1 }));
                release.send(()).unwrap();
            };
            let (first, second, ()) = tokio::join!(suspect, good, too_many);
            assert!(first.is_ok() && second.is_ok());
        };
        let (first, ()) = tokio::join!(blocker, others);
        assert_eq!(first, Ok(()));
        assert_eq!(*order.lock(), ["good", "suspect"]);
    }
}
