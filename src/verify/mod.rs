//! Checks what clients show to prove who they are: passwords and certificates (`spec/auth.md`).
//!
//! Reading order: [`certificate`] reads PEM and computes fingerprints; [`hash`] is the password hash;
//! [`pool`] computes it on its own threads, bounded; [`cache`] spares devices that come back the
//! computation; [`password`] puts the three together; [`throttle`] slows guessing down; [`generate`]
//! makes passwords.
//!
//! Invariants of absence: this room knows no entity, no catalog and no connection. It is given the
//! stored hashes of a login and says which one matches.

pub mod cache;
pub mod certificate;
pub mod generate;
pub mod hash;
pub mod password;
pub mod pool;
pub mod throttle;
