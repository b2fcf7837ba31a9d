//! Where the parts of a node are put together: the services of the peer listener, and the tasks that run beside a Raft core.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rookery_proto::rookery::cluster::v1 as proto;
use rookery_proto::rookery::cluster::v1::raft_server::RaftServer;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tonic::service::Routes;

use crate::election::ElectionGuard;
use crate::error::StartError;
use crate::lease::Standing;
use crate::liveness::{LivenessControl, LivenessTasks, Propose};
use crate::log_store::LogStore;
use crate::network::MESSAGE_BYTES_MAX;
use crate::network::raft_server::RaftService;
use crate::peer::MemberRole;
use crate::pki::Credentials;
use crate::raft::Raft;
use crate::replica::Replica;
use crate::supervisor::Shared;
use crate::upgrade;
use rookery_proto::rookery::cluster::v1::change_request::Change;

/// How often the links are asked whom they do not reach.
const UNREACHABLE_TICK: Duration = Duration::from_millis(250);

/// How often a leader looks whether its disk is full. If all disks are, leadership goes round no faster than this.
const STEP_ASIDE_TICK: Duration = Duration::from_secs(3);

/// The only voter among several nodes does not wait longer until it serves.
const SERVE_MAX: Duration = Duration::from_secs(10);

/// The services of the peer listener. They exist before the node has a place in a cluster, and outlive its Raft cores.
pub(crate) fn routes<R: Replica>(shared: &Arc<Shared<R>>) -> Routes {
    let raft =
        RaftServer::new(RaftService::new(Arc::clone(shared))).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let routes = Routes::new(raft).add_service(shared.links.service());
    match &shared.membership {
        Some(membership) => membership.add_services(routes),
        None => routes,
    }
}

/// Waits until the node has found a place in a cluster.
pub(crate) async fn obtain_identity<R: Replica>(shared: &Arc<Shared<R>>) -> Result<Credentials, StartError> {
    match &shared.membership {
        Some(membership) => membership.obtain_identity(&shared.options.data_dir).await,
        // A node without peers founds its cluster when it is opened.
        None => std::future::pending().await,
    }
}

/// Answers a node that asks for a lease.
pub(crate) fn renew_lease<R: Replica>(
    shared: &Arc<Shared<R>>,
    from: u64,
    request: proto::RenewLeaseRequest,
) -> proto::RenewLeaseResponse {
    shared.liveness.answer(from, request)
}

/// The tasks that run as long as one Raft core. They end with this value.
pub(crate) struct Parts {
    tasks: JoinSet<()>,
    liveness: LivenessControl,
    _leases: LivenessTasks,
}

impl Parts {
    /// Lets the tasks do what belongs to an orderly end, while the Raft core still runs.
    pub(crate) async fn end(&mut self) {
        self.liveness.retire().await;
        self.tasks.shutdown().await;
    }
}

/// Starts the tasks beside a Raft core. A node that is the only voter
/// serves when this returns, unless a peer keeps it from that.
pub(crate) async fn start<R: Replica>(
    shared: &Arc<Shared<R>>,
    raft: &Raft,
    log: &LogStore,
    is_only_voter: bool,
) -> Result<Parts, StartError> {
    let mut tasks = JoinSet::new();
    let node_id = shared.place().origin.node_id;
    let guard = ElectionGuard {
        raft: raft.clone(),
        node_id,
        heard: Arc::clone(&shared.heard),
        channels: shared.channels.clone(),
        applied: Arc::clone(shared.machine.applied()),
    };
    tasks.spawn(guard.run());
    tasks.spawn(report_unreachable(Arc::clone(shared)));
    tasks.spawn(step_aside(Arc::clone(shared)));
    tasks.spawn(upgrade::run(Arc::clone(shared)));
    let proposer = shared.system_proposer();
    let propose: Propose = Arc::new(move |change| {
        let proposer = proposer.clone();
        Box::pin(async move { proposer.propose_system(change).await })
    });
    let leases = shared.liveness.start(raft, log, shared.channels.clone(), propose);
    if is_only_voter {
        until_serving(shared, raft).await?;
    }
    if let Some(membership) = &shared.membership {
        tasks.spawn(membership.controller());
    }
    Ok(Parts { tasks, liveness: shared.liveness.clone(), _leases: leases })
}

/// Tells the leases which members this node has no working link to.
async fn report_unreachable<R: Replica>(shared: Arc<Shared<R>>) {
    let mut ticks = tokio::time::interval(UNREACHABLE_TICK);
    let mut told = BTreeSet::new();
    loop {
        ticks.tick().await;
        let unreachable = shared.links.unreachable();
        if unreachable != told {
            shared.liveness.unreachable().send_replace(unreachable.clone());
            told = unreachable;
        }
    }
}

/// A leader whose disk is nearly full refuses what others could still take: it lets another voter lead.
async fn step_aside<R: Replica>(shared: Arc<Shared<R>>) {
    let Some(router) = shared.membership.as_ref().map(|membership| membership.router()) else { return };
    let mut ticks = tokio::time::interval(STEP_ASIDE_TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let own_id = shared.place().origin.node_id;
        if shared.guard.check().is_ok() || shared.status.borrow().leader_id != Some(own_id) {
            continue;
        }
        let members = Arc::clone(&shared.members.borrow());
        let others = members.iter().filter(|member| {
            member.node_id != own_id && member.role == MemberRole::Voter && member.epoch.is_some()
        });
        for member in others {
            match router.ask(Change::TransferLeaderTo(member.node_id)).await {
                Ok(_) => {
                    tracing::warn!(
                        to = member.name,
                        "the disk is nearly full; another node leads from now on"
                    );
                    break;
                }
                Err(error) => tracing::debug!(%error, to = member.name, "leadership was not transferred"),
            }
        }
    }
}

/// Waits until this node serves, or its Raft core has ended. With peers not for long: one of them, a learner, may keep this
/// node from serving, and the owner must be able to ask why.
async fn until_serving<R: Replica>(shared: &Shared<R>, raft: &Raft) -> Result<(), StartError> {
    let (mut standing, mut metrics) = (shared.lease.standing(), raft.metrics());
    let patience = if shared.peer_settings.is_some() { SERVE_MAX } else { Duration::MAX };
    tokio::select! {
        () = tokio::time::sleep(patience) => Ok(()),
        // The sender lives in `shared`, so this cannot fail.
        _serving = standing.wait_for(|standing| matches!(standing, Standing::Serving { .. })) => Ok(()),
        _ended = metrics.wait_for(|metrics| metrics.running_state.is_err()) => {
            Err(StartError::Raft { reason: "it ended".to_owned() })
        }
    }
}
