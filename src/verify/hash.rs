//! The password hash: Argon2id in PHC string format.
//!
//! Slow on purpose (about 20 ms with the default cost): compute it on the threads of [`super::pool`],
//! never on one that serves connections.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rand::RngCore as _;
use thiserror::Error;

/// Bytes of salt (RFC 9106 recommends 16).
const SALT_BYTES: usize = 16;

/// The dearest stored hash that is computed: hashes come from our own storage, but also from imports
/// and snapshots, and one of them must not stop the node.
const MEMORY_KIB_MAX: u32 = 64 * 1024;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 4;

/// What a new hash costs to compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashCost {
    /// Memory in KiB, 8..=65536. Default 19456 (19 MiB, OWASP's minimum for two passes).
    pub memory_kib: u32,
    /// Passes over the memory, 1..=16. Default 2.
    pub passes: u32,
}

impl Default for HashCost {
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2 }
    }
}

/// A cost outside its ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "password hash cost must have memory_kib in 8..={MEMORY_KIB_MAX} and passes in 1..={PASSES_MAX} \
     (got {} and {})",
    .0.memory_kib, .0.passes
)]
pub struct HashCostError(pub HashCost);

/// Hashes passwords at a fixed cost.
#[derive(Clone, Debug)]
pub struct Hasher {
    argon2: Argon2<'static>,
}

impl Hasher {
    /// A hasher for new passwords.
    pub fn new(cost: HashCost) -> Result<Self, HashCostError> {
        let error = HashCostError(cost);
        if cost.memory_kib > MEMORY_KIB_MAX || cost.passes > PASSES_MAX {
            return Err(error);
        }
        let params = Params::new(cost.memory_kib, cost.passes, 1, None).map_err(|_| error)?;
        Ok(Self { argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params) })
    }

    /// The hash of a new password under a fresh random salt, as a PHC string. `None` only for
    /// passwords that the policy forbids long before (4 GiB and more).
    pub fn hash(&self, password: &[u8]) -> Option<String> {
        let mut salt = [0; SALT_BYTES];
        rand::rng().fill_bytes(&mut salt);
        let hash = self.argon2.hash_password_with_salt(password, &salt).ok()?;
        Some(hash.to_string())
    }

    /// A hash that no password is known to have, at the cost of new hashes: verifying against it takes as long as
    /// against a real one. Made of random bytes, so that making it costs nothing.
    pub fn decoy(&self) -> String {
        let random = |bytes: usize| {
            let mut random = vec![0; bytes];
            rand::rng().fill_bytes(&mut random);
            STANDARD_NO_PAD.encode(random)
        };
        let (params, version) = (self.argon2.params(), u32::from(Version::V0x13));
        let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
        let (salt, output) = (random(SALT_BYTES), random(Params::DEFAULT_OUTPUT_LEN));
        format!("$argon2id$v={version}$m={memory},t={passes},p={lanes}${salt}${output}")
    }

    /// Whether the password has this stored hash. The comparison takes the same time for every wrong
    /// password. A stored text that is not an Argon2 hash within our limits matches nothing.
    pub fn matches(&self, password: &[u8], stored: &str) -> bool {
        let Some(hash) = PasswordHash::new(stored).ok().filter(affordable) else {
            return false;
        };
        // Algorithm and cost are taken from the stored hash, not from this hasher.
        self.argon2.verify_password(password, &hash).is_ok()
    }
}

fn affordable(hash: &PasswordHash) -> bool {
    Params::try_from(hash).is_ok_and(|params| {
        params.m_cost() <= MEMORY_KIB_MAX && params.t_cost() <= PASSES_MAX && params.p_cost() <= LANES_MAX
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap() -> Hasher {
        Hasher::new(HashCost { memory_kib: 8, passes: 1 }).unwrap()
    }

    #[test]
    fn a_hash_matches_its_password_only_and_is_salted() {
        let (first, second) =
            (cheap().hash(b"Passw0rdForDevice").unwrap(), cheap().hash(b"Passw0rdForDevice").unwrap());
        assert_ne!(first, second);
        assert!(first.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{first}");
        let default = Hasher::new(HashCost::default()).unwrap();
        assert!(default.matches(b"Passw0rdForDevice", &first), "the stored cost counts");
        assert!(!default.matches(b"Passw0rdForDevicf", &first));
    }

    #[test]
    fn a_decoy_has_the_form_and_cost_of_a_real_hash_and_matches_nothing() {
        let (decoy, real) = (cheap().decoy(), cheap().hash(b"Passw0rdForDevice").unwrap());
        assert_eq!(decoy.len(), real.len());
        assert!(PasswordHash::new(&decoy).is_ok_and(|hash| affordable(&hash)), "{decoy}");
        assert!(!cheap().matches(b"Passw0rdForDevice", &decoy));
        assert_ne!(decoy, cheap().decoy());
    }

    #[test]
    fn stored_texts_that_are_no_hash_or_too_dear_match_nothing() {
        let bomb = "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQxMjM$RdescudvJCsgt3ub+b4dWRWJTmaaJObG";
        for stored in ["", "Passw0rdForDevice", "$argon2id$", "$2b$12$abcdefghijklmnopqrstuv", bomb] {
            assert!(!cheap().matches(b"Passw0rdForDevice", stored), "{stored}");
        }
    }

    #[test]
    fn costs_outside_their_ranges_are_refused() {
        for (memory_kib, passes) in [(7, 1), (8, 0), (70_000, 1), (8, 17)] {
            assert!(Hasher::new(HashCost { memory_kib, passes }).is_err(), "{memory_kib} {passes}");
        }
    }
}
