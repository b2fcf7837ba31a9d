//! The node's side of leases: asks the leader again and again.

use std::sync::Arc;
use std::time::Duration;

use rookery_proto::rookery::cluster::v1::raft_client::RaftClient;
use rookery_proto::rookery::cluster::v1::{RenewLeaseRequest, RenewLeaseResponse};
use tokio::time::{sleep, timeout};

use super::events::ClusterEventKind;
use super::{Inner, LivenessControl, Running, ServerMetrics};
use crate::lease::now_ns;
use crate::network::{Channels, Purpose};
use crate::raft::Vote;

/// A lease is prolonged this often.
const INTERVAL: Duration = Duration::from_millis(500);
/// The same while there is no lease although the leader answers: after an election it first has to hear from a quorum.
const INTERVAL_REFUSED: Duration = Duration::from_millis(100);
/// An answer that takes longer is not waited for: the next may come sooner.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// What this node last heard from a leader about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Whom the stored vote names, and its term.
    leader: Option<(u64, u64)>,
    /// The leader's clock, to be sent back.
    clock: u64,
    /// When the leader's last answer came, on the own clock; 0 if never.
    pub(super) at_ns: u64,
    /// How far the leader's replica was then.
    leader_applied: u64,
    /// Whether this node was, at its last request, as far as the leader at the answer before.
    pub(super) has_caught_up: bool,
    pub(super) may_register: bool,
    /// Why the leader granted nothing.
    refusal: Option<String>,
    /// The leader, its term and the own epoch that it is about to end: this node has taken its leave.
    relinquished: Option<(u64, u64, u64)>,
}

impl Heard {
    /// What to say when the lease has run out.
    pub(super) fn why_over(&self, own_id: u64) -> String {
        let seconds = (now_ns().saturating_sub(self.at_ns) / 100_000_000) as f64 / 10.0;
        match (&self.leader, &self.refusal) {
            (Some((leader, _)), Some(_)) if *leader == own_id => {
                "this node leads but hears from no quorum of voters".to_owned()
            }
            (Some((leader, _)), Some(refusal)) => format!("node {leader} grants no lease: {refusal}"),
            (_, None) if self.at_ns == 0 => "no leader heard since the node started".to_owned(),
            _ => format!("no leader heard for {seconds:.1} s"),
        }
    }

    /// Whom the vote names: what another leader said counts no more.
    fn follow(&mut self, leader: Option<(u64, u64)>) {
        if self.leader != leader {
            *self = Heard { leader, at_ns: self.at_ns, ..Heard::default() };
        }
    }
}

/// Asks as long as the Raft core runs.
pub(super) async fn run(inner: Arc<Inner>, running: Running, channels: Channels) {
    let mut metrics = running.metrics.clone();
    let mut nodes = inner.applied.watch_nodes();
    let mut unreachable = inner.unreachable.subscribe();
    let mut seen = metrics.borrow_and_update().clone();
    let mut epoch = inner.applied.own_epoch();
    loop {
        let wait = if inner.is_retired() { INTERVAL } else { renew(&inner, &running, &channels).await };
        let asked_again = sleep(wait);
        tokio::pin!(asked_again);
        loop {
            tokio::select! {
                () = &mut asked_again => break,
                changed = metrics.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let now = metrics.borrow_and_update().clone();
                    note(&inner, &seen, &now);
                    seen = now;
                    break;
                }
                // Of the table only the own epoch matters here; the sender lives in `inner`.
                _ = nodes.changed() => {
                    let own = inner.applied.own_epoch();
                    if std::mem::replace(&mut epoch, own) != own {
                        break;
                    }
                }
                _ = unreachable.changed() => break,
            }
        }
    }
}

/// Tells operators of another leader or membership.
fn note(inner: &Inner, before: &ServerMetrics, now: &ServerMetrics) {
    let events = &inner.applied.events;
    if before.current_leader != now.current_leader {
        let term = now.vote.leader_id.term;
        let text = match now.current_leader {
            Some(leader) => format!("node {leader} leads in term {term}"),
            None => format!("no leader is known in term {term}"),
        };
        events.push(ClusterEventKind::LeaderChanged, now.current_leader.unwrap_or_default(), None, text);
    }
    if before.membership_config != now.membership_config {
        let membership = now.membership_config.membership();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let learners: Vec<u64> = membership.learner_ids().collect();
        let text = format!("voters {voters:?}, learners {learners:?}");
        let index = now.membership_config.log_id().map(|id| id.index);
        events.push(ClusterEventKind::MembershipChanged, 0, index, text);
    }
}

/// Asks once and returns when to ask again.
async fn renew(inner: &Arc<Inner>, running: &Running, channels: &Channels) -> Duration {
    // The lease counts from here, whenever the request leaves.
    let sent_ns = now_ns();
    let vote = running.leader();
    let named = vote.map(|vote| (vote.leader_id.node_id, vote.leader_id.term));
    inner.heard.send_if_modified(|heard| {
        let before = heard.clone();
        heard.follow(named);
        *heard != before
    });
    let (Some(vote), Some(epoch)) = (vote, inner.asked_epoch()) else { return INTERVAL_REFUSED };
    let leader = vote.leader_id.node_id;
    let request = inner.request(running, &vote, epoch);
    let own_id = inner.own_id();
    let answered = if leader == own_id {
        Ok(LivenessControl { inner: Arc::clone(inner) }.answer(own_id, request))
    } else {
        ask(channels, leader, request).await
    };
    match answered {
        Ok(response) => inner.take(&vote, epoch, sent_ns, &response),
        Err(reason) => {
            tracing::debug!(leader, reason, "the leader does not answer");
            // Without a lease nothing is lost by patience.
            if inner.applied.lease.is_valid() { INTERVAL_REFUSED } else { INTERVAL }
        }
    }
}

async fn ask(
    channels: &Channels,
    leader: u64,
    request: RenewLeaseRequest,
) -> Result<RenewLeaseResponse, String> {
    let channel = channels.channel(leader, Purpose::Raft).map_err(|error| error.to_string())?;
    let mut client = RaftClient::new(channel);
    let answered = timeout(ANSWER_MAX, client.renew_lease(request)).await;
    let response = answered.map_err(|_elapsed| "no answer in time".to_owned())?;
    response.map(tonic::Response::into_inner).map_err(|status| status.to_string())
}

impl Inner {
    /// The epoch to ask a lease for, 0 if there is none. `None` while the process does not know who it is.
    fn asked_epoch(&self) -> Option<u64> {
        self.applied.origin()?;
        Some(self.applied.own_epoch().unwrap_or(0))
    }

    fn request(&self, running: &Running, vote: &Vote, epoch: u64) -> RenewLeaseRequest {
        let applied_index = self.applied.last().map_or(0, |id| id.index);
        let (leader, term) = (vote.leader_id.node_id, vote.leader_id.term);
        let mut request = RenewLeaseRequest {
            term,
            incarnation: self.applied.origin().map_or(0, |origin| origin.incarnation),
            epoch,
            applied_index,
            log_index: running.log.last().map_or(0, |id| id.index),
            echo_ns: 0,
            unreachable: self.unreachable.borrow().iter().copied().collect(),
            version: self.release.version.clone(),
            effective_index: self.applied.effects.effective(),
            oldest_format: self.release.formats.oldest(),
            newest_format: self.release.formats.newest(),
        };
        self.heard.send_if_modified(|heard| {
            request.echo_ns = heard.clock;
            if heard.relinquished == Some((leader, term, epoch)) {
                request.epoch = 0;
            }
            let is_first = heard.clock == 0 && leader != self.own_id();
            heard.has_caught_up = !is_first && applied_index >= heard.leader_applied;
            false
        });
        request
    }

    /// Makes use of an answer and returns when to ask again.
    fn take(&self, vote: &Vote, epoch: u64, sent_ns: u64, response: &RenewLeaseResponse) -> Duration {
        let (leader, term) = (vote.leader_id.node_id, vote.leader_id.term);
        let is_of_leader = response.leader_clock_ns != 0 && response.term == term;
        if response.granted && is_of_leader {
            self.applied.lease.extend(epoch, sent_ns.saturating_add(response.valid_ms * 1_000_000));
        }
        let is_leaving = response.giving_up && is_of_leader && epoch != 0;
        if is_leaving {
            self.applied.lease.end(&response.reason);
        }
        let mut is_first = false;
        let mut has_left = false;
        self.heard.send_modify(|heard| {
            is_first = heard.clock == 0;
            has_left = is_leaving && heard.relinquished != Some((leader, term, epoch));
            if is_of_leader {
                heard.clock = response.leader_clock_ns;
                heard.at_ns = now_ns();
                heard.leader_applied = response.applied_index;
                heard.may_register = response.may_register;
            }
            if is_leaving {
                heard.relinquished = Some((leader, term, epoch));
            }
            heard.refusal = (!response.granted).then(|| response.reason.clone());
        });
        match () {
            // The leader can prove nothing before it gets its clock back, and does not know that this node has left.
            () if is_of_leader && (is_first || has_left) => Duration::ZERO,
            () if response.granted || epoch == 0 && !is_first => INTERVAL,
            () => INTERVAL_REFUSED,
        }
    }
}
