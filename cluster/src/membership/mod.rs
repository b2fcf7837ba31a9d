//! Who belongs to the cluster, and how that changes.
//!
//! A node with an empty data directory gets its place in [`obtain`]: [`bootstrap`] decides whether it founds or joins, [`dial`]
//! asks others and [`introduction`] answers them, all by the join secret ([`proof`]). As a member it has a [`service`] that
//! takes changes and sends them on to the leader, which makes them ([`change`], [`transfer`]) as far as the [`rules`] allow. The
//! [`controller`] makes those that need no operator.

pub(crate) mod bootstrap;
pub(crate) mod change;
pub(crate) mod controller;
pub(crate) mod dial;
pub(crate) mod introduction;
pub(crate) mod obtain;
pub(crate) mod pause;
pub(crate) mod proof;
pub(crate) mod request;
pub(crate) mod rules;
pub(crate) mod service;
mod transfer;

/// What a change that was made leaves to be said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// What the operator should know although the change was made.
    pub warning: Option<String>,
}

/// Why a change of the membership was not made, or not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// A rule forbids it. Nothing was changed.
    #[error("refused: {reason}")]
    Refused {
        /// The rule.
        reason: String,
    },
    /// There is no leader, it cannot be reached, or it could not complete the change in time; the reason says whether
    /// the change may still take effect.
    #[error("not possible now: {reason}")]
    Unavailable {
        /// What is in the way.
        reason: String,
    },
}

#[cfg(test)]
mod tests;
