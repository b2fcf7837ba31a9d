//! `rookery cluster`, `rookery node`, `rookery session` and `rookery space`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::LimitArgument;

/// The cluster: its nodes, their condition, and who belongs to it
#[derive(Subcommand, Clone, Debug)]
pub enum ClusterCommand {
    /// Show the condition of every node
    Status,
    /// List the members, as the log has them
    Members,
    /// Remove a node for good; refused if the quorum would be lost
    #[command(after_help = "Drain the node first, so that its clients move at a bounded rate:\n  \
        rookery node drain n4 && rookery cluster remove n4")]
    Remove(NodeName),
    /// Make a learner a voter
    Promote(NodeName),
    /// Make another voter the leader
    TransferLeader {
        /// Name or identifier of the next leader [default: the voter that is furthest]
        node: Option<String>,
    },
    /// Spread clients evenly over the nodes: ends sessions of those that have more than their share, at a bounded rate
    #[command(after_help = "\
The clients come back through the load balancer, which may give some of them to the same node again: look at the status, \
and repeat the command if it was too many. A node that is draining or does not serve is left alone.")]
    Rebalance {
        /// Sessions ended per second on each node
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        rate: u32,
        /// A node may have so many percent more than its share
        #[arg(long, default_value_t = 5, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(0..=100))]
        tolerance: u32,
        /// Only show what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Print what happens in the cluster until interrupted
    Events,
    /// Make a new cluster out of one node's data directory, after the quorum was lost for good
    #[command(after_help = "\
The server must not run. Everything that this node has on disk is kept; what only the lost nodes had is gone.
The new cluster has an identity of its own: no old node is ever let in again. Start them with empty data directories.")]
    Recover(RecoverArguments),
}

/// Which directory to recover, and the confirmation.
#[derive(Args, Clone, Debug)]
pub struct RecoverArguments {
    /// Confirms that the old cluster is gone and what only its other nodes had may be lost
    #[arg(long, required = true)]
    pub unsafe_new_cluster: bool,
    /// Data directory of the node to start from
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
}

/// Names a node.
#[derive(Args, Clone, Debug)]
pub struct NodeName {
    /// Name or identifier of the node
    pub node: String,
}

/// Names a node, or means the one that is asked.
#[derive(Args, Clone, Debug)]
pub struct OptionalNode {
    /// Name or identifier of the node [default: the one that --endpoint reaches]
    pub node: Option<String>,
}

/// One node
#[derive(Subcommand, Clone, Debug)]
pub enum NodeCommand {
    /// Show the condition of a node
    Status(OptionalNode),
    /// Take a node out of service: its clients are ended at a bounded rate and find other nodes
    Drain {
        /// Which node
        #[command(flatten)]
        node: OptionalNode,
        /// Sessions ended per second
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        rate: u32,
        /// Return at once instead of when all sessions have ended
        #[arg(long)]
        no_wait: bool,
        /// Give up waiting after so many seconds; the node goes on draining
        #[arg(long, default_value_t = 120, value_name = "SECONDS")]
        timeout: u64,
    },
    /// Drain a node and remove it from its cluster, for good; its data directory is marked, so that its next start joins anew
    #[command(
        after_help = "On the node's own machine, with its --data-dir; it goes on running and serves nobody. Kubernetes \
        calls this with --if-scaled-down before it ends a pod."
    )]
    Leave {
        /// Sessions ended per second
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        rate: u32,
        /// Give up after so many seconds
        #[arg(long, default_value_t = 120, value_name = "SECONDS")]
        timeout: u64,
        /// Leave only if the StatefulSet of this pod is to have fewer replicas; otherwise drain
        #[arg(long)]
        if_scaled_down: bool,
    },
    /// Put a drained node back into service
    Undrain(OptionalNode),
    /// Make a snapshot of the replicated state on the node's disk
    Snapshot(OptionalNode),
    /// Change what a node logs until it is restarted
    LogLevel {
        /// `info`, `debug`, or a filter such as `info,rookery::api=debug`
        filter: String,
        /// Name or identifier of the node [default: the one that --endpoint reaches]
        #[arg(long)]
        node: Option<String>,
    },
}

/// Sessions of MQTT clients
#[derive(Subcommand, Clone, Debug)]
pub enum SessionCommand {
    /// List sessions of all nodes
    List {
        /// Only those of a registry or broker
        #[arg(long, value_name = "ID")]
        space: Option<String>,
        /// Only those of a registry, device or broker
        #[arg(long, value_name = "ID")]
        entity: Option<String>,
        /// Only those whose client identifier begins so
        #[arg(long, value_name = "PREFIX")]
        client_id: Option<String>,
        /// Only those on a node
        #[arg(long, value_name = "NAME|ID")]
        node: Option<String>,
        /// How many.
        #[command(flatten)]
        limit: LimitArgument,
    },
    /// Show a session with its subscriptions and queues
    Show {
        /// Id as `session list` shows it
        id: String,
    },
    /// End sessions; their clients may connect again
    Kick {
        /// Ids as `session list` shows them
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// Registries and brokers in use, and where messages go
#[derive(Subcommand, Clone, Debug)]
pub enum SpaceCommand {
    /// List registries and brokers with sessions, and their live counts
    List(LimitArgument),
    /// Show who would get a message, on which nodes; publishes nothing
    Routes {
        /// Topic as the client would write it
        topic: String,
        /// Id of the registry, device or broker that would publish
        #[arg(long = "as", value_name = "ID")]
        publisher: String,
    },
}

/// Show the cluster live: its nodes, and the registries and brokers with most sessions
#[derive(Args, Clone, Debug)]
pub struct TopArguments {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub interval: u16,
    /// End after so many looks [default: go on until interrupted]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,
}
