//! Questions of the owner of one node to that of another.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rookery_proto::rookery::cluster::v1::link_client::LinkClient;
use rookery_proto::rookery::cluster::v1::{AskRequest, AskResponse};
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status};

use super::{ChannelError, Channels, MESSAGE_BYTES_MAX, Purpose, authenticated};
use crate::error::AskError;
use crate::peer::PeerService;

/// A question is answered within this time, or never.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks another node.
pub(crate) async fn ask(channels: &Channels, node_id: u64, question: Bytes) -> Result<Bytes, AskError> {
    let unreachable = |reason: String| AskError::Unreachable { node_id, reason };
    let channel = channels.channel(node_id, Purpose::Bulk).map_err(|error| match error {
        ChannelError::UnknownNode(_) | ChannelError::NoIdentity => AskError::UnknownNode { node_id },
    })?;
    let mut client = LinkClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    match timeout(ASK_TIMEOUT, client.ask(AskRequest { question })).await {
        Err(_elapsed) => Err(AskError::TimedOut { node_id }),
        Ok(Ok(answer)) => Ok(answer.into_inner().answer),
        Ok(Err(status)) => match status.code() {
            Code::FailedPrecondition => {
                Err(AskError::Refused { node_id, reason: status.message().to_owned() })
            }
            Code::DeadlineExceeded => Err(AskError::TimedOut { node_id }),
            _ => Err(unreachable(status.message().to_owned())),
        },
    }
}

/// Asks this node itself.
pub(crate) async fn ask_self(
    service: &Arc<dyn PeerService>,
    node_id: u64,
    question: Bytes,
) -> Result<Bytes, AskError> {
    match timeout(ASK_TIMEOUT, service.answer(node_id, question)).await {
        Ok(answer) => answer.map_err(|reason| AskError::Refused { node_id, reason }),
        Err(_elapsed) => Err(AskError::TimedOut { node_id }),
    }
}

/// Answers another node.
pub(crate) async fn answer(
    service: &Arc<dyn PeerService>,
    request: Request<AskRequest>,
) -> Result<Response<AskResponse>, Status> {
    let from = authenticated(&request)?;
    let answering = service.answer(from, request.into_inner().question);
    match timeout(ASK_TIMEOUT, answering).await {
        Ok(Ok(answer)) => Ok(Response::new(AskResponse { answer })),
        Ok(Err(reason)) => Err(Status::failed_precondition(reason)),
        Err(_elapsed) => Err(Status::deadline_exceeded("the answer takes too long")),
    }
}
