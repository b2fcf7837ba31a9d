//! Takes the calls of other nodes for this node's Raft core.

use std::sync::Arc;

use futures::stream::BoxStream;
use openraft::ServerState;
use openraft::raft::AppendEntriesResponse;
use rookery_proto::rookery::cluster::v1 as proto;
use rookery_proto::rookery::cluster::v1::raft_server;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::snapshot_intake::SnapshotIntake;
use super::{authenticated, convert};
use crate::options::WINDOW_ENTRIES;
use crate::parts;
use crate::proposer::intake::Intake;
use crate::raft::{Raft, Vote};
use crate::replica::Replica;
use crate::supervisor::Shared;

/// The service of replication.
pub(crate) struct RaftService<R: Replica> {
    shared: Arc<Shared<R>>,
    /// One snapshot is received at a time.
    snapshot_slot: Arc<Semaphore>,
}

impl<R: Replica> RaftService<R> {
    pub(crate) fn new(shared: Arc<Shared<R>>) -> RaftService<R> {
        RaftService { shared, snapshot_slot: Arc::new(Semaphore::new(1)) }
    }

    fn raft(&self) -> Result<Raft, Status> {
        let raft = self.shared.raft.borrow().clone();
        raft.ok_or_else(|| Status::unavailable("this node does not replicate at the moment"))
    }
}

/// A node speaks for nobody but itself: a vote that it sends must be its own.
fn own_vote(from: u64, vote: &Vote) -> Result<(), Status> {
    if vote.leader_id.node_id == from {
        Ok(())
    } else {
        Err(Status::permission_denied("the vote is of another node"))
    }
}

fn invalid(error: &convert::ConvertError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

#[tonic::async_trait]
impl<R: Replica> raft_server::Raft for RaftService<R> {
    async fn append_entries(
        &self,
        request: Request<proto::AppendEntriesRequest>,
    ) -> Result<Response<proto::AppendEntriesResponse>, Status> {
        let from = authenticated(&request)?;
        let request = convert::append_request(request.into_inner()).map_err(|error| invalid(&error))?;
        own_vote(from, &request.vote)?;
        let of_leader = request.vote.is_committed();
        let answer = self.raft()?.append_entries(request).await.map_err(stopped)?;
        if of_leader && !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            self.shared.heard.note();
        }
        Ok(Response::new(convert::append_answer_message(&answer)))
    }

    async fn vote(
        &self,
        request: Request<proto::VoteRequest>,
    ) -> Result<Response<proto::VoteResponse>, Status> {
        let from = authenticated(&request)?;
        let request = convert::vote_request(request.into_inner()).map_err(|error| invalid(&error))?;
        own_vote(from, &request.vote)?;
        let raft = self.raft()?;
        if request.vote.leader_id.term == 0 && !self.shared.heard.misses_leader(&raft) {
            return Err(Status::failed_precondition("this node hears a leader"));
        }
        let answer = raft.vote(request).await.map_err(stopped)?;
        Ok(Response::new(convert::vote_answer_message(&answer)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<proto::SnapshotChunk>>,
    ) -> Result<Response<proto::InstallSnapshotResponse>, Status> {
        let from = authenticated(&request)?;
        let raft = self.raft()?;
        let slot = Arc::clone(&self.snapshot_slot).try_acquire_owned();
        let _slot = slot.map_err(|_taken| Status::unavailable("this node receives a snapshot already"))?;
        let (guard, heard) = (Arc::clone(&self.shared.guard), Arc::clone(&self.shared.heard));
        let intake = SnapshotIntake::begin(raft, guard, heard, request.into_inner()).await?;
        own_vote(from, &intake.vote)?;
        let vote = intake.run().await?;
        Ok(Response::new(proto::InstallSnapshotResponse { vote: Some(convert::vote_message(&vote)) }))
    }

    type ProposeStream = BoxStream<'static, Result<proto::ProposeResponse, Status>>;

    async fn propose(
        &self,
        request: Request<Streaming<proto::ProposeRequest>>,
    ) -> Result<Response<Self::ProposeStream>, Status> {
        let from = authenticated(&request)?;
        let raft = self.raft()?;
        if raft.metrics().borrow().state != ServerState::Leader {
            return Err(Status::failed_precondition("this node does not lead"));
        }
        let (guard, proposals) = (Arc::clone(&self.shared.guard), self.shared.proposals.clone());
        let intake = Intake { raft, guard, proposals, from };
        let (answers, receiver) = mpsc::channel(WINDOW_ENTRIES);
        tokio::spawn(intake.run(request.into_inner(), answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn renew_lease(
        &self,
        request: Request<proto::RenewLeaseRequest>,
    ) -> Result<Response<proto::RenewLeaseResponse>, Status> {
        let from = authenticated(&request)?;
        Ok(Response::new(parts::renew_lease(&self.shared, from, request.into_inner())))
    }
}
