//! Lets this node ask for votes only when it could get them.
//!
//! Asking for votes begins a new term. A node that asks in vain, because it is cut off, raises its term again and again, and
//! when it is back the leader has to give way to it although all is well: writes stop for the time of an election. The
//! same happens after a pause of the process. So elections are switched off while a leader is heard; when none is heard,
//! they are switched on once a quorum of the voters has answered three times in a row that it hears none either, which is
//! sooner than the Raft library's own timeout. Should this be wrong about anything, an election is late or unnecessary,
//! never unsafe.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use openraft::ServerState;
use rookery_proto::rookery::cluster::v1::raft_client::RaftClient;
use rookery_proto::rookery::cluster::v1::{VoteId, VoteRequest};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::applied::Applied;
use crate::lease::now_ns;
use crate::network::{self, Channels, Purpose};
use crate::raft::Raft;
use crate::view;

/// Time between two looks.
const ROUND: Duration = Duration::from_millis(250);
/// A leader that was not heard for so long, two heartbeats, may be gone.
const QUIET: Duration = Duration::from_millis(750);
/// A leader that was not heard for so long is no longer shown as one.
const FORGOTTEN: Duration = Duration::from_secs(3);
/// So many rounds in a row must find a quorum.
const ROUNDS: u32 = 3;
/// Time for a voter to answer.
const PROBE: Duration = Duration::from_millis(500);

/// When a leader was heard last.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    at_ns: AtomicU64,
}

impl Heard {
    /// A leader was heard just now.
    pub(crate) fn note(&self) {
        self.at_ns.store(now_ns(), Ordering::Relaxed);
    }

    /// Whether a leader was heard lately.
    pub(crate) fn is_recent(&self) -> bool {
        self.silence() < FORGOTTEN
    }

    /// Whether a node would agree to an election: it hears no leader, or leads without being followed.
    pub(crate) fn misses_leader(&self, raft: &Raft) -> bool {
        let metrics = raft.metrics();
        let metrics = metrics.borrow();
        if metrics.state == ServerState::Leader {
            view::lost_quorum(&metrics)
        } else {
            self.silence() >= QUIET
        }
    }

    fn silence(&self) -> Duration {
        Duration::from_nanos(now_ns().saturating_sub(self.at_ns.load(Ordering::Relaxed)))
    }
}

/// Switches the elections of one Raft core on and off.
pub(crate) struct ElectionGuard {
    pub(crate) raft: Raft,
    pub(crate) node_id: u64,
    pub(crate) heard: Arc<Heard>,
    pub(crate) channels: Channels,
    pub(crate) applied: Arc<Applied>,
}

impl ElectionGuard {
    /// Runs as long as the Raft core.
    pub(crate) async fn run(self) {
        let mut rounds = interval(ROUND);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut found = 0;
        loop {
            rounds.tick().await;
            found = if self.needs_election() {
                if self.reaches_quorum().await { found + 1 } else { 0 }
            } else {
                0
            };
            self.raft.runtime_config().elect(found >= ROUNDS || self.is_alone());
        }
    }

    fn needs_election(&self) -> bool {
        if self.raft.metrics().borrow().state == ServerState::Leader {
            self.heard.note();
        }
        self.heard.silence() >= QUIET && !self.applied.is_removed()
    }

    /// The only voter asks nobody. Nor does a node that is not to vote yet.
    fn is_alone(&self) -> bool {
        self.voters().iter().flatten().all(|voter| *voter == self.node_id)
    }

    /// One set of voters; two while they change.
    fn voters(&self) -> Vec<BTreeSet<u64>> {
        self.raft.metrics().borrow().membership_config.membership().get_joint_config().clone()
    }

    /// Whether a quorum answers that it hears no leader, this node included.
    async fn reaches_quorum(&self) -> bool {
        let sets = self.voters();
        let others: BTreeSet<u64> =
            sets.iter().flatten().copied().filter(|node_id| *node_id != self.node_id).collect();
        let mut probes: FuturesUnordered<_> = others.into_iter().map(|node_id| self.probe(node_id)).collect();
        let mut answered = BTreeSet::from([self.node_id]);
        loop {
            let is_quorum = |set: &BTreeSet<u64>| set.intersection(&answered).count() > set.len() / 2;
            if sets.iter().all(is_quorum) {
                return true;
            }
            match probes.next().await {
                Some(answer) => answered.extend(answer),
                None => return false,
            }
        }
    }

    /// Asks for a vote in term 0, which nobody gives and which changes nothing. Whoever hears a leader answers with an error.
    async fn probe(&self, node_id: u64) -> Option<u64> {
        let channel = self.channels.channel(node_id, Purpose::Raft).ok()?;
        let vote = Some(VoteId { term: 0, node_id: self.node_id, committed: false });
        let mut client = RaftClient::new(channel);
        let asked = client.vote(VoteRequest { vote, last_log_id: None });
        match timeout(PROBE, asked).await.ok()? {
            Ok(_answer) => Some(node_id),
            Err(status) => {
                if network::says_removed(&status) {
                    self.applied.tell_removed();
                }
                None
            }
        }
    }
}
