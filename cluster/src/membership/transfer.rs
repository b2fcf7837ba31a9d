//! Hands leadership over without the pause of an election by timeout.
//!
//! The Raft library of this version has no transfer. A voter that is asked for its vote while it still hears
//! from a leader refuses, for as long as the leader's lease in its view lasts, so the successor must end that
//! first. It does so with a call that is allowed at any time: a node that meets the vote of a later term in
//! any message adopts it, and with that no longer follows the old leader. The message is an append of nothing
//! behind an entry that nobody has, so it is answered with a conflict and changes no log. Its vote is not
//! committed: it makes nobody leader and counts for nothing but the term. The election that follows is an
//! ordinary one, with the comparison of logs and votes that are on disk before they are answered. Should the
//! successor die in between, the others elect after their usual timeout.

use std::time::Duration;

use futures::future::join_all;
use rookery_proto::rookery::cluster::v1::membership_client::MembershipClient;
use rookery_proto::rookery::cluster::v1::raft_client::RaftClient;
use rookery_proto::rookery::cluster::v1::{AppendEntriesRequest, LogId, TakeOverRequest, VoteId};
use tokio::time::timeout;

use super::change::{ChangeError, Changer, unconfirmed, voters, wait_for};
use super::rules::{PROMOTION_LAG_MAX, Refusal};
use crate::generation::Metrics;
use crate::network::Purpose;
use crate::raft::Raft;

/// Time for the successor to receive the rest of the log.
const CATCH_UP: Duration = Duration::from_secs(2);
/// Time for one voter to learn of the new term.
const STEP_DOWN: Duration = Duration::from_millis(500);
/// Time for the election.
const ELECTION: Duration = Duration::from_secs(2);
/// Time for a node to show that it lives.
const PROBE: Duration = Duration::from_secs(1);

impl Changer {
    /// Makes another voter the leader.
    pub(crate) async fn transfer(&self, node_id: u64) -> Result<(), ChangeError> {
        self.change(async {
            let leading = self.leading().await?;
            if !leading.situation.transfer(node_id)? {
                return Ok(());
            }
            tracing::info!(node_id, "leadership is transferred");
            caught_up(&leading.raft, node_id, PROMOTION_LAG_MAX).await?;
            // Until this ends no command enters the log, so that there is an end of it to catch up with.
            let _paused = self.proposals.hold().await;
            let request = caught_up(&leading.raft, node_id, 0).await?;
            let channel = self.channels.channel(node_id, Purpose::Raft);
            let channel = channel.map_err(|error| ChangeError::Unavailable(error.to_string()))?;
            let asked =
                timeout(CATCH_UP + STEP_DOWN * 2, MembershipClient::new(channel).take_over(request)).await;
            let answer = asked.map_err(|_elapsed| unconfirmed("the successor does not answer"))?;
            let answer = answer.map_err(|status| unconfirmed(status.message()))?.into_inner();
            if !answer.refused.is_empty() {
                return Err(ChangeError::Unavailable(answer.refused));
            }
            until_leader(&leading.raft, node_id).await
        })
        .await
    }

    /// Becomes the leader in place of `from`, which asks for it.
    pub(crate) async fn take_over(&self, from: u64, request: TakeOverRequest) -> Result<(), ChangeError> {
        let raft = self.raft()?;
        let wanted = request.last_log_id.map_or(0, |id| id.index);
        let refused = |reason: &str| Err(ChangeError::Unavailable(reason.to_owned()));
        let seen = raft.metrics().borrow().clone();
        if seen.current_leader != Some(from) || seen.current_term != request.term {
            return refused("the node that asks is not the leader of this term");
        }
        if !voters(&seen).contains(&self.node_id()) {
            return Err(Refusal::NotVoter(self.node_id()).into());
        }
        let holds_all = |seen: &Metrics| {
            seen.current_term != request.term || seen.last_log_index.unwrap_or_default() >= wanted
        };
        match wait_for(&raft, CATCH_UP, holds_all).await {
            Some(seen) if seen.current_term == request.term => {}
            Some(_) => return refused("another election has begun"),
            None => return refused("the rest of the log has not arrived"),
        }
        self.end_term(&raft, request.term).await;
        raft.trigger().elect().await.map_err(|fatal| ChangeError::Unavailable(fatal.to_string()))
    }

    /// Whether the holder of this identifier's certificate answers.
    pub(super) async fn answers(&self, node_id: u64) -> bool {
        let Ok(channel) = self.channels.channel(node_id, Purpose::Raft) else { return false };
        // No leader has term 0, so this is refused, whoever is asked.
        let asked =
            timeout(PROBE, MembershipClient::new(channel).take_over(TakeOverRequest::default())).await;
        asked.is_ok_and(|answer| answer.is_ok())
    }

    /// Tells the other voters that a later term has begun, so that they do not hold on to the leader of
    /// `term`.
    async fn end_term(&self, raft: &Raft, term: u64) {
        let vote = VoteId { term: term + 1, node_id: self.node_id(), committed: false };
        let nowhere = LogId { term: term + 1, leader_id: self.node_id(), index: u64::MAX };
        let request = AppendEntriesRequest {
            vote: Some(vote),
            previous: Some(nowhere),
            ..AppendEntriesRequest::default()
        };
        let voters = voters(&raft.metrics().borrow());
        let others = voters.into_iter().filter(|node_id| *node_id != self.node_id());
        let tell = |node_id| {
            let (channel, request) = (self.channels.channel(node_id, Purpose::Raft), request.clone());
            async move {
                let Ok(channel) = channel else { return };
                // A voter that does not hear this refuses its vote; a majority is enough.
                let _told = timeout(STEP_DOWN, RaftClient::new(channel).append_entries(request)).await;
            }
        };
        join_all(others.map(tell)).await;
    }
}

/// Waits until the successor lacks no more than `lag_max` entries of this leader's log, and says where the
/// log ends.
async fn caught_up(raft: &Raft, node_id: u64, lag_max: u64) -> Result<TakeOverRequest, ChangeError> {
    let lag = |seen: &Metrics| {
        let matched = seen.replication.as_ref()?.get(&node_id)?.as_ref()?.index;
        Some(seen.last_log_index.unwrap_or_default().saturating_sub(matched))
    };
    let Some(seen) = wait_for(raft, CATCH_UP, |seen| lag(seen).is_some_and(|lag| lag <= lag_max)).await
    else {
        return Err(match lag(&raft.metrics().borrow()) {
            Some(lag) => Refusal::LagTooLarge { node_id, lag }.into(),
            None => Refusal::LagUnknown(node_id).into(),
        });
    };
    let index = seen.last_log_index.unwrap_or_default();
    let last_log_id = LogId { term: seen.current_term, leader_id: seen.id, index };
    Ok(TakeOverRequest { term: seen.current_term, last_log_id: Some(last_log_id) })
}

async fn until_leader(raft: &Raft, node_id: u64) -> Result<(), ChangeError> {
    if wait_for(raft, ELECTION, |seen| seen.current_leader == Some(node_id)).await.is_some() {
        return Ok(());
    }
    Err(ChangeError::Unavailable(match raft.metrics().borrow().current_leader {
        Some(other) => format!("node {node_id} was not elected, node {other} leads"),
        None => format!("node {node_id} was not elected within {} s", ELECTION.as_secs()),
    }))
}
