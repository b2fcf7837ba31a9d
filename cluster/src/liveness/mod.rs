//! Who may serve clients, and who is given up.
//!
//! Every node asks the leader for a lease twice a second ([`renewal`]); the leader also asks itself. The leader's rules, and
//! why they are safe, are in [`grants`] and [`cliques`], attacked by `simulation`; [`decisions`] carries them out. A
//! process that starts, and one that was given up, begins an epoch by an entry of the log before it gets a lease
//! ([`registration`]). [`report`] and [`events`] tell operators.
//!
//! A term alone does not name a leader: the Raft library lets a node with a higher identifier win in the term of another.
//! So a node asks only the node that its stored vote names, and a leader counts an answer only for its own term.

mod cliques;
mod decisions;
pub(crate) mod events;
#[cfg(test)]
mod grant_tests;
mod grants;
mod registration;
mod renewal;
mod report;
#[cfg(test)]
mod simulation;

pub use report::{Liveness, NodeLiveness};

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rand::RngCore;
use rookery_proto::rookery::cluster::v1::{RenewLeaseRequest, RenewLeaseResponse};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::applied::Applied;
use crate::error::ProposeError;
use crate::formats::{Formats, Release};
use crate::lease::{Standing, now_ns};
use crate::log_store::LogStore;
use crate::network::Channels;
use crate::peer::BoxFuture;
use crate::raft::{Peer, Raft, Vote};
use crate::record::{GiveUpNode, GiveUpReason, SystemChange};
use events::{ClusterEventKind, ClusterEvents};
use grants::{Answer, Beginning, Grants, Ground, Refusal, Request, Settings};
use registration::Backoff;
use renewal::Heard;

/// The end of a lease is noted at the latest after this time, and a node that serves alone prolongs its own.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// A node that ends does not wait longer for the others to know.
const RETIRE_MAX: Duration = Duration::from_secs(2);
/// More unreachable nodes than there can be; the rest of a longer list is not looked at.
const UNREACHABLE_MAX: usize = 1_000;
/// Bytes of a version that are kept.
const VERSION_BYTES_MAX: usize = 64;

/// Gets a change of the table of nodes committed, by whoever leads, and returns its index.
pub(crate) type Propose =
    Arc<dyn Fn(SystemChange) -> BoxFuture<Result<u64, ProposeError>> + Send + Sync + 'static>;

type ServerMetrics = openraft::metrics::RaftServerMetrics<u64, Peer>;

/// What a node does to serve, and as the leader for the others; clones share everything.
#[derive(Clone)]
pub(crate) struct LivenessControl {
    inner: Arc<Inner>,
}

struct Inner {
    applied: Arc<Applied>,
    lease: Duration,
    release: Release,
    grants: Mutex<Grants>,
    heard: watch::Sender<Heard>,
    /// Members that this node cannot reach, as the links find out.
    unreachable: watch::Sender<BTreeSet<u64>>,
    core: Mutex<Core>,
    cores: AtomicU64,
    backoff: Mutex<Backoff>,
    /// Asks for a lease at once.
    is_retired: AtomicBool,
    was_serving: AtomicBool,
}

/// The Raft core that this node has at the moment.
enum Core {
    Running(Running),
    Down { reason: String, serves_alone: bool },
}

/// A Raft core with its log.
#[derive(Clone)]
struct Running {
    number: u64,
    log: LogStore,
    metrics: watch::Receiver<ServerMetrics>,
    propose: Propose,
}

/// The tasks that belong to one Raft core. They end when this is dropped.
pub(crate) struct LivenessTasks {
    inner: Arc<Inner>,
    tasks: [JoinHandle<()>; 3],
}

impl LivenessControl {
    /// A node that does not serve yet. Must be called on the runtime of the node: the end of a lease is noted by a task.
    pub(crate) fn new(applied: Arc<Applied>, lease: Duration, release: Release) -> LivenessControl {
        let standing = applied.lease.standing();
        let reason = "the node is starting".to_owned();
        let inner = Arc::new(Inner {
            applied,
            lease,
            release,
            grants: Mutex::new(Grants::new(Settings::new(0, lease))),
            heard: watch::channel(Heard::default()).0,
            unreachable: watch::channel(BTreeSet::new()).0,
            core: Mutex::new(Core::Down { reason, serves_alone: false }),
            cores: AtomicU64::new(0),
            backoff: Mutex::default(),
            is_retired: AtomicBool::new(false),
            was_serving: AtomicBool::new(false),
        });
        tokio::spawn(look(Arc::downgrade(&inner), standing));
        LivenessControl { inner }
    }

    /// A Raft core runs: leases are asked for, and granted while it leads. The process must know who it is
    /// ([`Applied::set_origin`]), and what the log holds must be applied as far as it is known to be committed.
    pub(crate) fn start(
        &self,
        raft: &Raft,
        log: &LogStore,
        channels: Channels,
        propose: Propose,
    ) -> LivenessTasks {
        let inner = &self.inner;
        let own_id = inner.own_id();
        {
            let mut grants = inner.grants.lock();
            if grants.own_id() != own_id {
                *grants = Grants::new(Settings::new(own_id, inner.lease));
            }
        }
        let number = inner.cores.fetch_add(1, Ordering::Relaxed) + 1;
        let metrics = raft.server_metrics();
        let running = Running { number, log: log.clone(), metrics, propose: Arc::clone(&propose) };
        *inner.core.lock() = Core::Running(running.clone());
        inner.applied.events.open();
        let tasks = [
            tokio::spawn(renewal::run(Arc::clone(inner), running, channels)),
            tokio::spawn(registration::run(Arc::clone(inner), Arc::clone(&propose))),
            tokio::spawn(decisions::run(Arc::clone(inner), propose)),
        ];
        LivenessTasks { inner: Arc::clone(inner), tasks }
    }

    /// The Raft core has ended because of `reason`. `is_fault` says that what this node has applied can no longer be
    /// trusted: then it must not serve, even if there is nobody else.
    pub(crate) fn down(&self, reason: &str, is_fault: bool) {
        let inner = &self.inner;
        inner.stop(reason, is_fault);
        if is_fault {
            inner.applied.lease.end_for_good(reason);
        }
        inner.look();
    }

    /// Answers a node that asks for a lease.
    pub(crate) fn answer(&self, from: u64, request: RenewLeaseRequest) -> RenewLeaseResponse {
        let term = request.term;
        let answer = self.inner.answer(Request {
            node_id: from,
            term,
            incarnation: request.incarnation,
            epoch: request.epoch,
            applied_index: request.applied_index,
            effective_index: request.effective_index,
            log_index: request.log_index,
            echo: request.echo_ns,
            unreachable: request.unreachable.into_iter().take(UNREACHABLE_MAX).collect(),
            version: shortened(request.version),
            formats: Formats::told(request.oldest_format, request.newest_format),
        });
        let (valid_ms, reason, giving_up) = match answer.granted {
            Ok(valid_ns) => (valid_ns / 1_000_000, String::new(), false),
            Err(refusal) => (0, refusal.to_string(), matches!(refusal, Refusal::GivingUp(_))),
        };
        RenewLeaseResponse {
            granted: valid_ms > 0,
            valid_ms,
            leader_clock_ns: answer.clock,
            reason,
            term,
            applied_index: answer.applied_index,
            may_register: answer.may_register,
            giving_up,
        }
    }

    /// What happened lately.
    pub(crate) fn events(&self) -> ClusterEvents {
        self.inner.applied.events.clone()
    }

    /// Members that this node cannot reach at the moment, registered or not. Whoever finds out writes it here.
    pub(crate) fn unreachable(&self) -> &watch::Sender<BTreeSet<u64>> {
        &self.inner.unreachable
    }

    /// Ends this node's epoch, so that nobody has to wait until its lease is over. For an orderly end, after all clients
    /// are gone; the node never serves again. Takes 2 s at most.
    pub(crate) async fn retire(&self) {
        let inner = &self.inner;
        inner.is_retired.store(true, Ordering::Release);
        inner.applied.lease.end_for_good("the node is ending");
        let nodes = inner.applied.nodes();
        let (Some(epoch), Some(running)) = (inner.applied.own_epoch(), inner.running()) else { return };
        if nodes.registered().len() < 2 {
            return;
        }
        let given_up = GiveUpNode {
            node_id: inner.own_id(),
            epoch,
            reason: GiveUpReason::Left.into(),
            ..GiveUpNode::default()
        };
        match timeout(RETIRE_MAX, (running.propose)(SystemChange::GiveUp(given_up))).await {
            Ok(Ok(index)) => tracing::debug!(index, "the others know that this node ends"),
            Ok(Err(error)) => tracing::warn!(%error, "the others wait until the lease of this node is over"),
            Err(_elapsed) => tracing::warn!("the others wait until the lease of this node is over"),
        }
    }
}

impl Drop for LivenessTasks {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.inner.stop("it is being restarted", false);
    }
}

impl Inner {
    fn own_id(&self) -> u64 {
        self.applied.origin().map_or(0, |origin| origin.node_id)
    }

    fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Acquire)
    }

    /// There is no Raft core any more.
    fn stop(&self, reason: &str, is_fault: bool) {
        let is_sole_voter = self.grants.lock().is_sole_voter();
        let mut core = self.core.lock();
        let could_serve = match *core {
            Core::Running(_) => is_sole_voter,
            Core::Down { serves_alone, .. } => serves_alone,
        };
        *core = Core::Down { reason: reason.to_owned(), serves_alone: could_serve && !is_fault };
    }

    fn running(&self) -> Option<Running> {
        match &*self.core.lock() {
            Core::Running(running) => Some(running.clone()),
            Core::Down { .. } => None,
        }
    }

    /// Answers a node, maybe this one, from what is known now.
    fn answer(&self, request: Request) -> Answer {
        // Looked up under the lock: what is known of a Raft core must not replace what is known of its successor.
        let mut grants = self.grants.lock();
        let running = self.running();
        let now = self.refresh(&mut grants, running.as_ref());
        grants.renew(request, now)
    }

    /// Makes the grants know what this node knows now, and whether it leads; returns the moment.
    fn refresh(&self, grants: &mut Grants, running: Option<&Running>) -> u64 {
        let own_id = self.own_id();
        // Before the vote is read: at this moment this node had promised nothing to another leader.
        let now = now_ns();
        let leading = running.and_then(|running| Some((running, running.leads(own_id)?)));
        let Some((running, term)) = leading else {
            grants.follow();
            return now;
        };
        if !grants.is_leading(term, running.number) {
            let log_end = running.log.last().map_or(0, |id| id.index);
            let clock_base = rand::rng().next_u64();
            grants.lead(Beginning { term, generation: running.number, log_end, clock_base }, now);
        }
        // The position first: the table is at least as new.
        let last = self.applied.last();
        let nodes = self.applied.nodes();
        let membership = running.metrics.borrow().membership_config.clone();
        let ground = Ground {
            applied_index: last.map_or(0, |id| id.index),
            is_own_entry: last.is_some_and(|id| (id.leader_id.term, id.leader_id.node_id) == (term, own_id)),
            nodes: &nodes,
            voters: membership.membership().get_joint_config(),
        };
        grants.refresh(&ground, now);
        now
    }

    /// Notes the end of the lease, and prolongs that of a node without Raft core if there can be no other leader: nobody
    /// can commit anything meanwhile, so what it has applied is all there is.
    fn look(&self) {
        let serves_alone = match &*self.core.lock() {
            Core::Down { serves_alone, .. } => *serves_alone && !self.is_retired(),
            Core::Running(_) => false,
        };
        let lease = &self.applied.lease;
        if serves_alone && let Some(epoch) = self.applied.own_epoch() {
            let lease_ns = u64::try_from(self.lease.as_nanos()).unwrap_or(u64::MAX);
            lease.extend(epoch, now_ns().saturating_add(lease_ns));
        }
        lease.expire(|| self.why_over());
        let standing = lease.standing().borrow().clone();
        let is_serving = matches!(standing, Standing::Serving { .. });
        if self.was_serving.swap(is_serving, Ordering::AcqRel) == is_serving {
            return;
        }
        let events = &self.applied.events;
        match standing {
            Standing::Serving { epoch } => {
                let text = format!("this node serves in epoch {epoch}");
                events.push(ClusterEventKind::Unfenced, self.own_id(), None, text);
            }
            Standing::Fenced { reason, .. } => {
                let text = format!("this node serves nobody: {reason}");
                events.push(ClusterEventKind::Fenced, self.own_id(), None, text);
            }
        }
    }

    /// Why the lease was not prolonged, for operators.
    fn why_over(&self) -> String {
        if let Core::Down { reason, .. } = &*self.core.lock() {
            return format!("replication stopped: {reason}");
        }
        self.heard.borrow().why_over(self.own_id())
    }
}

impl Running {
    /// The term that this node leads by the vote on its disk.
    fn leads(&self, own_id: u64) -> Option<u64> {
        let is_leader = self.metrics.borrow().state.is_leader();
        let vote = self.log.vote().filter(|vote| is_leader && vote.committed);
        vote.filter(|vote| vote.leader_id.node_id == own_id).map(|vote| vote.leader_id.term)
    }

    /// The leader that the vote on this node's disk names.
    fn leader(&self) -> Option<Vote> {
        self.log.vote().filter(|vote| vote.committed)
    }
}

/// Notes the end of leases as long as the node is there.
async fn look(node: Weak<Inner>, mut standing: watch::Receiver<Standing>) {
    loop {
        let Some(inner) = node.upgrade() else { return };
        standing.mark_unchanged();
        inner.look();
        let wait = inner.applied.lease.remaining().map_or(LOOK_INTERVAL, |left| left.min(LOOK_INTERVAL));
        drop(inner);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = standing.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

fn shortened(mut version: String) -> String {
    let end = (0..=VERSION_BYTES_MAX.min(version.len())).rev().find(|end| version.is_char_boundary(*end));
    version.truncate(end.unwrap_or(0));
    version
}
