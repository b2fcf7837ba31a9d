//! How this node's Raft core calls those of other nodes.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{Either, select};
use openraft::error::{
    Fatal, NetworkError, PayloadTooLarge, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use rookery_proto::rookery::cluster::v1::raft_client::RaftClient;
use rookery_proto::rookery::cluster::v1::{SnapshotChunk, SnapshotHead};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;

use super::convert::{self, ConvertError};
use super::{ChannelError, Channels, MESSAGE_BYTES_MAX, Purpose};
use crate::raft::{Peer, Snapshot, TypeConfig, Vote};

/// Bytes of a snapshot in one message.
const CHUNK_BYTES: usize = 1024 * 1024;
/// A receiver that takes no chunk for this long is given up.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(10);
/// After the last chunk the receiver checks and restores the whole snapshot.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(300);
/// Time between calls to a node that cannot be reached.
const BACKOFF: Duration = Duration::from_millis(200);

type CallError = RPCError<u64, Peer, RaftError<u64>>;

/// Makes the clients of one Raft core.
pub(crate) struct RaftClients {
    pub(crate) channels: Channels,
}

/// Calls one node.
pub(crate) struct RaftPeer {
    channels: Channels,
    target: u64,
    /// Whether the last call to replicate was answered.
    is_reached: bool,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("{}: {}", .0.code(), .0.message())]
    Status(#[from] Status),
    #[error("the answer is not understood: {0}")]
    Answer(#[from] ConvertError),
}

impl RaftNetworkFactory<TypeConfig> for RaftClients {
    type Network = RaftPeer;

    async fn new_client(&mut self, target: u64, _peer: &Peer) -> RaftPeer {
        RaftPeer { channels: self.channels.clone(), target, is_reached: true }
    }
}

/// Whatever the reason, the node is called less often until it answers: the Raft library repeats every other error at once.
fn unreachable(failure: &Failure) -> CallError {
    RPCError::Unreachable(Unreachable::new(failure))
}

impl RaftPeer {
    fn client(&self, purpose: Purpose) -> Result<RaftClient<Channel>, Failure> {
        let channel = self.channels.channel(self.target, purpose)?;
        Ok(RaftClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
    }

    async fn append(
        &self,
        request: &AppendEntriesRequest<TypeConfig>,
    ) -> Result<AppendEntriesResponse<u64>, Failure> {
        let answer = self.client(Purpose::Raft)?.append_entries(convert::append_message(request)).await?;
        Ok(convert::append_answer(answer.into_inner())?)
    }

    /// Tells operators once that a member is out of reach, and once that it is back.
    fn note_reached(&mut self, failure: Option<&dyn std::error::Error>) {
        match failure {
            Some(error) if self.is_reached => {
                tracing::warn!(node_id = self.target, %error, "a member is out of reach of replication");
            }
            None if !self.is_reached => {
                tracing::info!(node_id = self.target, "a member is back in reach of replication");
            }
            _ => {}
        }
        self.is_reached = failure.is_none();
    }

    async fn ask_vote(&self, request: &VoteRequest<u64>) -> Result<VoteResponse<u64>, Failure> {
        let answer = self.client(Purpose::Raft)?.vote(convert::vote_request_message(request)).await?;
        Ok(convert::vote_answer(answer.into_inner())?)
    }
}

impl RaftNetwork<TypeConfig> for RaftPeer {
    /// The Raft library gives up after one heartbeat interval and sends the same again. On a connection too slow for that,
    /// nothing would ever arrive; so a message that takes long is split.
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, CallError> {
        let count = request.entries.len() as u64;
        let patience = option.hard_ttl().mul_f64(0.9);
        match timeout(patience, self.append(&request)).await {
            Ok(Ok(answer)) => {
                self.note_reached(None);
                Ok(answer)
            }
            Ok(Err(failure)) => {
                self.note_reached(Some(&failure));
                Err(unreachable(&failure))
            }
            Err(_elapsed) if count > 1 => Err(PayloadTooLarge::new_entries_hint(count / 2).into()),
            Err(_elapsed) => {
                let late = io::Error::from(io::ErrorKind::TimedOut);
                self.note_reached(Some(&late));
                Err(RPCError::Network(NetworkError::new(&late)))
            }
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, CallError> {
        self.ask_vote(&request).await.map_err(|failure| unreachable(&failure))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        let sending = Box::pin(send_snapshot(self.client(Purpose::Bulk), vote, snapshot));
        match select(sending, Box::pin(cancel)).await {
            Either::Left((Ok(vote), _cancel)) => Ok(SnapshotResponse::new(vote)),
            Either::Left((Err(error), _cancel)) => Err(StreamingError::Unreachable(Unreachable::new(&error))),
            Either::Right((closed, _sending)) => Err(StreamingError::Closed(closed)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(BACKOFF))
    }
}

/// Why a snapshot did not arrive.
#[derive(Debug, thiserror::Error)]
enum SnapshotFailure {
    #[error("the snapshot cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error(transparent)]
    Call(#[from] Failure),
    #[error("the node takes no more of the snapshot")]
    Stuck,
}

async fn send_snapshot(
    client: Result<RaftClient<Channel>, Failure>,
    vote: Vote,
    snapshot: Snapshot,
) -> Result<Vote, SnapshotFailure> {
    let mut client = client?;
    let file = tokio::fs::File::open(&snapshot.snapshot.path).await?;
    let head = SnapshotHead {
        vote: Some(convert::vote_message(&vote)),
        last_log_id: snapshot.meta.last_log_id.as_ref().map(convert::log_id_message),
        snapshot_id: snapshot.meta.snapshot_id.clone(),
        total_bytes: file.metadata().await?.len(),
    };
    let (chunks, receiver) = mpsc::channel(1);
    let calling = async move {
        let answer = client.install_snapshot(ReceiverStream::new(receiver)).await.map_err(Failure::from)?;
        convert::vote(answer.into_inner().vote).map_err(|error| SnapshotFailure::Call(error.into()))
    };
    let (calling, reading) = (Box::pin(calling), Box::pin(read_chunks(file, head, chunks)));
    match select(calling, reading).await {
        Either::Left((answered, _reading)) => answered,
        Either::Right((Ok(()), calling)) => {
            timeout(INSTALL_TIMEOUT, calling).await.map_err(|_elapsed| SnapshotFailure::Stuck)?
        }
        Either::Right((Err(error), _calling)) => Err(error),
    }
}

async fn read_chunks(
    mut file: tokio::fs::File,
    head: SnapshotHead,
    chunks: mpsc::Sender<SnapshotChunk>,
) -> Result<(), SnapshotFailure> {
    let mut left = head.total_bytes;
    let mut head = Some(head);
    while head.is_some() || left > 0 {
        let mut data = vec![0; CHUNK_BYTES.min(usize::try_from(left).unwrap_or(CHUNK_BYTES))];
        file.read_exact(&mut data).await?;
        left -= data.len() as u64;
        let chunk = SnapshotChunk { head: head.take(), data: Bytes::from(data) };
        // Gone means that the call has ended; its answer tells why.
        match timeout(CHUNK_TIMEOUT, chunks.send(chunk)).await {
            Ok(Ok(())) => {}
            Ok(Err(_gone)) => return std::future::pending().await,
            Err(_elapsed) => return Err(SnapshotFailure::Stuck),
        }
    }
    Ok(())
}
