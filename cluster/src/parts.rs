//! Where the parts of a node are put together: the services of the peer listener, and the tasks that run beside a Raft core.

use std::sync::Arc;

use rookery_proto::rookery::cluster::v1 as proto;
use rookery_proto::rookery::cluster::v1::raft_server::RaftServer;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::service::Routes;

use crate::election::ElectionGuard;
use crate::error::StartError;
use crate::network::MESSAGE_BYTES_MAX;
use crate::network::raft_server::RaftService;
use crate::nodes::last_epoch;
use crate::pki::Credentials;
use crate::proposer::Origin;
use crate::raft::{Payload, Raft};
use crate::record::{Batch, RegisterNode, SystemChange, SystemCommand};
use crate::replica::Replica;
use crate::supervisor::Shared;

/// The services of the peer listener. They exist before the node has a place in a cluster, and outlive its Raft cores.
pub(crate) fn routes<R: Replica>(shared: &Arc<Shared<R>>) -> Routes {
    let raft =
        RaftServer::new(RaftService::new(Arc::clone(shared))).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Routes::new(raft).add_service(shared.links.service())
}

/// Waits until the node has found a place in a cluster.
pub(crate) async fn obtain_identity<R: Replica>(_shared: &Arc<Shared<R>>) -> Result<Credentials, StartError> {
    std::future::pending().await
}

/// Answers a node that asks for a lease.
pub(crate) fn renew_lease<R: Replica>(
    _shared: &Arc<Shared<R>>,
    _from: u64,
    _request: proto::RenewLeaseRequest,
) -> Result<proto::RenewLeaseResponse, Status> {
    Err(Status::unimplemented("this node grants no leases"))
}

/// The tasks that run as long as one Raft core. They end with this value.
pub(crate) struct Parts {
    tasks: JoinSet<()>,
}

impl Parts {
    /// Lets the tasks do what belongs to an orderly end, while the Raft core still runs.
    pub(crate) async fn end(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// Starts the tasks beside a Raft core. A node that is the only voter serves when this returns.
pub(crate) async fn start<R: Replica>(
    shared: &Arc<Shared<R>>,
    raft: &Raft,
    is_only_voter: bool,
) -> Result<Parts, StartError> {
    let mut tasks = JoinSet::new();
    let node_id = shared.place().origin.node_id;
    let guard = ElectionGuard {
        raft: raft.clone(),
        node_id,
        heard: Arc::clone(&shared.heard),
        channels: shared.channels.clone(),
    };
    tasks.spawn(guard.run());
    if shared.peer_settings.is_none() && is_only_voter {
        serve_alone(shared, raft).await?;
        tasks.spawn(report_own_effects(Arc::clone(shared)));
    }
    Ok(Parts { tasks })
}

/// Registers a node without peers, once per process. It hears from a quorum, itself, as long as it runs.
async fn serve_alone<R: Replica>(shared: &Arc<Shared<R>>, raft: &Raft) -> Result<(), StartError> {
    let Origin { node_id, incarnation } = shared.place().origin;
    let nodes = shared.machine.nodes();
    let known = nodes.get(node_id);
    if known.is_none_or(|node| node.epoch == 0 || node.incarnation != incarnation) {
        let after_epoch = known.map_or(0, last_epoch);
        let register = SystemChange::Register(RegisterNode { node_id, incarnation, after_epoch });
        let batch = Batch { groups: Vec::new(), system: Some(SystemCommand { change: Some(register) }) };
        let written = raft.client_write(Payload(Arc::new(batch))).await;
        written.map_err(|error| StartError::Raft { reason: error.to_string() })?;
    }
    let epoch = shared.machine.nodes().epoch(node_id).unwrap_or_default();
    shared.lease.extend(epoch, u64::MAX);
    Ok(())
}

/// Nobody else reports to the barrier of a node without peers.
async fn report_own_effects<R: Replica>(shared: Arc<Shared<R>>) {
    let node_id = shared.place().origin.node_id;
    let mut effective = shared.effects.watch();
    loop {
        let index = *effective.borrow_and_update();
        shared.barrier.report(node_id, index);
        if effective.changed().await.is_err() {
            return;
        }
    }
}
