//! The node's memory: the catalog, replicated and on disk.
//!
//! [`open`] starts the replication node over a data directory. From then on the state is read through a
//! [`CatalogHandle`], and changed by proposing commands through it; a change is visible when the call returns.
//!
//! Invariants: the storage's wire types stay in [`wire`]; nothing of Raft is visible above this room; this room knows
//! no actor and no socket. Lock order: the catalog's lock before any lock of an [`replica::ApplyObserver`].

pub mod backup;
pub mod catalog;
mod cluster;
pub mod departure;
mod duty;
pub mod error;
pub mod open;
pub mod replica;
pub mod sessions;
pub mod wire;

pub use catalog::{CatalogHandle, MutationContext, fresh_id};
pub use cluster::recover;
pub use error::{OpenError, StoreError};
pub use open::{STORAGE_DIRECTORY, Store, StoreOptions, open};
pub use replica::ApplyObserver;
pub use rookery_cluster::lease::{REMOVED, now_ns};
pub use rookery_cluster::{
    AskError, Barrier, BoxFuture, ClusterEvent, EffectGuard, Effects, Formats, Lease, LinkLoad, LinkSource,
    Links, Member, MemberRole, NoPeers, NodeState, NodeStatus, PeerOptions, PeerService, Recovered, Release,
    Standing,
};
pub use sessions::{ChangedSubscriptions, OpenedSession};

#[cfg(test)]
mod tests;
