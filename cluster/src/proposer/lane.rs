//! The way of batches to the leader: into this node's own Raft core, or over a stream to another node.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use openraft::error::ClientWriteError;
use rookery_proto::rookery::cluster::v1::propose_response::Result as Verdict;
use rookery_proto::rookery::cluster::v1::raft_client::RaftClient;
use rookery_proto::rookery::cluster::v1::{ProposeRequest, ProposeResponse};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::Origin;
use super::intake::DISK_FULL;
use super::window::Sending;
use crate::membership::pause::Pause;
use crate::network::{Channels, MESSAGE_BYTES_MAX, Purpose};
use crate::options::WINDOW_ENTRIES;
use crate::raft::{Payload, Raft};
use crate::record::{Batch, Group};

/// Who commits, as far as this node knows.
#[derive(Clone, Default)]
pub(crate) enum Route {
    /// Nobody.
    #[default]
    None,
    /// This node.
    Local {
        raft: Raft,
        /// Which Raft core of this process, and in which term.
        key: (u64, u64),
    },
    /// Another node.
    Remote { leader_id: u64, term: u64 },
}

impl Route {
    /// Whether batches sent on `self` go to the same leader in the same term as those on `other`.
    pub(crate) fn is_same(&self, other: &Route) -> bool {
        match (self, other) {
            (Route::None, Route::None) => true,
            (Route::Local { key, .. }, Route::Local { key: other, .. }) => key == other,
            (Route::Remote { leader_id, term }, Route::Remote { leader_id: other, term: other_term }) => {
                (leader_id, term) == (other, other_term)
            }
            _ => false,
        }
    }
}

/// What happens on a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The leader takes batches.
    Opened,
    /// The batch that begins with this sequence is committed.
    Committed { first_sequence: u64 },
    /// The leader's disk is full: it has not taken the first batch that is not committed, nor any behind it.
    Full,
    /// The lane is of no use any more. What was sent may be in the log.
    Lost { reason: String },
}

/// Takes batches, in order, from one task.
pub(crate) enum Lane {
    Local {
        raft: Raft,
        origin: Origin,
        proposals: Pause,
        writes: FuturesUnordered<BoxFuture<'static, Event>>,
    },
    Remote {
        batches: mpsc::Sender<ProposeRequest>,
        incarnation: u64,
        events: BoxStream<'static, Event>,
    },
}

impl Lane {
    /// Begins to open a lane. `None` if there is nobody to whom it could lead.
    pub(crate) fn open(
        route: &Route,
        origin: Origin,
        channels: &Channels,
        proposals: &Pause,
    ) -> Option<Lane> {
        match route {
            Route::None => None,
            Route::Local { raft, .. } => {
                let writes = FuturesUnordered::new();
                writes.push(std::future::ready(Event::Opened).boxed());
                Some(Lane::Local { raft: raft.clone(), origin, proposals: proposals.clone(), writes })
            }
            Route::Remote { leader_id, .. } => {
                let (batches, receiver) = mpsc::channel(WINDOW_ENTRIES);
                let events = match channels.channel(*leader_id, Purpose::Raft) {
                    Ok(channel) => remote(RaftClient::new(channel), receiver),
                    Err(error) => stream::iter([Event::Lost { reason: error.to_string() }]).boxed(),
                };
                Some(Lane::Remote { batches, incarnation: origin.incarnation, events })
            }
        }
    }

    /// Sends a batch. Returns without waiting for its fate.
    pub(crate) async fn send(&mut self, batch: Sending) {
        let Sending { after_sequence, first_sequence, commands } = batch;
        match self {
            Lane::Local { raft, origin, proposals, writes } => {
                let Origin { node_id, incarnation } = *origin;
                let group = Group { node_id, incarnation, first_sequence, commands, after_sequence };
                let batch = Batch { groups: vec![group], system: None };
                let _open = proposals.pass().await;
                let sent = raft.client_write_ff(Payload(Arc::new(batch))).await;
                let fate = async move {
                    let lost = |reason: String| Event::Lost { reason };
                    match sent {
                        Ok(receiver) => match receiver.await {
                            Ok(Ok(_applied)) => Event::Committed { first_sequence },
                            Ok(Err(ClientWriteError::ForwardToLeader(_))) => {
                                lost("this node leads no more".to_owned())
                            }
                            Ok(Err(error)) => lost(error.to_string()),
                            Err(_gone) => lost("the Raft core ended".to_owned()),
                        },
                        Err(fatal) => lost(fatal.to_string()),
                    }
                };
                writes.push(fate.boxed());
            }
            Lane::Remote { batches, incarnation, .. } => {
                let request = ProposeRequest {
                    incarnation: *incarnation,
                    first_sequence,
                    commands,
                    after_sequence,
                    system: Bytes::new(),
                };
                // There is room for a whole window, so this does not wait; a stream that is gone tells by an event.
                let _gone = batches.send(request).await;
            }
        }
    }

    /// The next event. Waits for ever when there will be none.
    pub(crate) async fn next(&mut self) -> Event {
        let event = match self {
            Lane::Local { writes, .. } => writes.next().await,
            Lane::Remote { events, .. } => events.next().await,
        };
        match event {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }
}

/// Opens the stream and turns its answers into events. The last one is that the lane is lost.
fn remote(
    client: RaftClient<tonic::transport::Channel>,
    batches: mpsc::Receiver<ProposeRequest>,
) -> BoxStream<'static, Event> {
    let mut client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
    let opening = async move { client.propose(ReceiverStream::new(batches)).await };
    let opened = stream::once(opening).flat_map(|opened| match opened {
        Ok(response) => {
            let answers = response.into_inner().map(|answer| match answer {
                Ok(answer) => verdict(answer),
                Err(status) if status.code() == Code::ResourceExhausted && status.message() == DISK_FULL => {
                    Event::Full
                }
                Err(status) => Event::Lost { reason: status.message().to_owned() },
            });
            let end = stream::iter([Event::Lost { reason: "the stream ended".to_owned() }]);
            stream::iter([Event::Opened]).chain(answers).chain(end).boxed()
        }
        Err(status) => stream::iter([Event::Lost { reason: status.message().to_owned() }]).boxed(),
    });
    opened.boxed()
}

fn verdict(answer: ProposeResponse) -> Event {
    let ProposeResponse { first_sequence, result } = answer;
    match result {
        Some(Verdict::CommittedIndex(_)) => Event::Committed { first_sequence },
        Some(Verdict::NotLeader(_)) => Event::Lost { reason: "the node leads no more".to_owned() },
        Some(Verdict::Refused(reason)) => Event::Lost { reason },
        None => Event::Lost { reason: "the answer is not understood".to_owned() },
    }
}
