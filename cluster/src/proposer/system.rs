//! Changes of the cluster's own table of nodes, proposed by any node.

use std::sync::Arc;
use std::time::Duration;

use openraft::error::{ClientWriteError, RaftError};
use rookery_proto::rookery::cluster::v1::ProposeRequest;
use rookery_proto::rookery::cluster::v1::propose_response::Result as Verdict;
use rookery_proto::rookery::cluster::v1::raft_client::RaftClient;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::lane::Route;
use crate::error::{CommandOutcome, ProposeError, UnavailableReason};
use crate::network::{Channels, Purpose};
use crate::raft::{Payload, Raft};
use crate::record::{self, Batch, SystemChange, SystemCommand};

/// A change that is not committed by then is answered.
const CHANGE_MAX: Duration = Duration::from_secs(10);
/// After an attempt failed; often a leader is just being elected.
const RETRY: Duration = Duration::from_millis(100);

/// Proposes changes of the table of nodes; clones share everything. Such changes are harmless when repeated, so one that may
/// have been committed is simply proposed again.
#[derive(Clone)]
pub(crate) struct SystemProposer {
    routes: watch::Receiver<Route>,
    channels: Channels,
}

/// How an attempt ended.
enum Attempt {
    Committed(u64),
    /// It never reached a leader.
    NotSent,
    Unknown,
}

impl SystemProposer {
    pub(crate) fn new(routes: watch::Receiver<Route>, channels: Channels) -> SystemProposer {
        SystemProposer { routes, channels }
    }

    /// Gets a change committed, by whoever leads, and returns its index. It may not be applied here yet. On a node that does
    /// not lead, only `Register` and `GiveUp` of this node are allowed.
    ///
    /// # Errors
    /// `Unavailable` after 10 s.
    pub(crate) async fn propose_system(&self, change: SystemChange) -> Result<u64, ProposeError> {
        let deadline = Instant::now() + CHANGE_MAX;
        let command = SystemCommand { change: Some(change) };
        let (mut outcome, mut reason) = (CommandOutcome::NotApplied, UnavailableReason::NoLeader);
        while Instant::now() < deadline {
            let route = self.routes.borrow().clone();
            let attempt = match &route {
                Route::None => Attempt::NotSent,
                Route::Local { raft, .. } => {
                    timeout_at(deadline, local(raft, &command)).await.unwrap_or(Attempt::Unknown)
                }
                Route::Remote { leader_id, .. } => {
                    timeout_at(deadline, self.remote(*leader_id, &command)).await.unwrap_or(Attempt::Unknown)
                }
            };
            match attempt {
                Attempt::Committed(index) => return Ok(index),
                Attempt::NotSent => {}
                Attempt::Unknown => {
                    (outcome, reason) = (CommandOutcome::Unknown, UnavailableReason::TimedOut);
                }
            }
            sleep(RETRY).await;
        }
        Err(ProposeError::Unavailable { reason, outcome })
    }

    async fn remote(&self, leader_id: u64, command: &SystemCommand) -> Attempt {
        let Ok(channel) = self.channels.channel(leader_id, Purpose::Raft) else { return Attempt::NotSent };
        let request = ProposeRequest { system: record::encode(command).into(), ..ProposeRequest::default() };
        // The stream stays open until the answer is there: its end is that of this future.
        let requests = tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
        let mut answers = match RaftClient::new(channel).propose(requests).await {
            Ok(response) => response.into_inner(),
            Err(_status) => return Attempt::Unknown,
        };
        match answers.message().await {
            Ok(Some(answer)) => match answer.result {
                Some(Verdict::CommittedIndex(index)) => Attempt::Committed(index),
                _ => Attempt::Unknown,
            },
            Ok(None) | Err(_) => Attempt::Unknown,
        }
    }
}

async fn local(raft: &Raft, command: &SystemCommand) -> Attempt {
    let batch = Batch { groups: Vec::new(), system: Some(command.clone()) };
    match raft.client_write(Payload(Arc::new(batch))).await {
        Ok(written) => Attempt::Committed(written.log_id.index),
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(_)) | RaftError::Fatal(_)) => {
            Attempt::Unknown
        }
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Attempt::Unknown,
    }
}
