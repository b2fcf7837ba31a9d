//! Replicates opaque commands with Raft, keeps them on disk, and carries opaque deliveries between nodes.
//!
//! A [`Node`] owns one data directory. It accepts commands (bytes it never looks into), commits them to a log that is
//! on disk before anyone is told so, and hands them in log order to a [`Replica`], the deterministic machine that the
//! caller provides. Typed responses never leave the process: they go from the replica straight to the waiting caller.
//!
//! This package knows Raft, gRPC and disks. It knows no MQTT, no device, no actor and nothing of the package that uses it;
//! and no type of the Raft library appears in its interface. Disk formats, threads and invariants: `DESIGN.md`.
//!
//! In reading order: [`replica`] and [`peer`] (what the caller implements), [`node`] and [`options`] (what the caller
//! starts), [`lease`], [`effects`], [`barrier`] and [`link`] (what the caller serves its clients by), [`proposer`] (how commands enter), [`status`] and [`error`] (what the caller sees), `supervisor` (how a node
//! outlives its disk), `parts` (what runs beside it), `state_machine`, `log_store`, `snapshot`, `network`, `pki`,
//! `election`, `liveness`, `membership` (how nodes come and go), [`recover`], [`backup`], `disk`, `identity`, `place`, `record`,
//! `raft`.

pub mod backup;
pub mod barrier;
pub mod disk;
pub mod effects;
pub mod error;
pub mod lease;
pub mod link;
pub mod node;
pub mod options;
pub mod peer;
pub mod proposer;
pub mod recover;
pub mod replica;
pub mod status;

mod applied;
mod dedup;
mod election;
mod formats;
mod generation;
mod identity;
mod liveness;
mod log_store;
mod membership;
mod network;
mod nodes;
mod parts;
mod pki;
mod place;
mod raft;
mod record;
mod snapshot;
mod state_machine;
mod supervisor;
mod upgrade;
mod view;

pub use barrier::Barrier;
pub use disk::{DiskProbe, DiskSpace};
pub use effects::{EffectGuard, Effects};
pub use error::{AskError, CommandOutcome, ProposeError, SnapshotError, StartError, UnavailableReason};
pub use formats::{Formats, Release};
pub use lease::{Lease, Standing};
pub use link::{LinkLoad, LinkStatistics, Links};
pub use liveness::events::{ClusterEvent, ClusterEventKind, ClusterEvents};
pub use liveness::{Liveness, NodeLiveness};
pub use membership::{Changed, MembershipError};
pub use node::Node;
pub use options::{NodeOptions, PeerOptions, SyncObserver};
pub use peer::{BoxFuture, LinkSource, Member, MemberRole, NoPeers, PeerService};
pub use proposer::Proposer;
pub use recover::{Recovered, unsafe_new_cluster};
pub use replica::{NodeChange, Replica, RestoreError, SnapshotView};
pub use status::{NodeState, NodeStatus};
