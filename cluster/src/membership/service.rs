//! Changes that operators and members ask for: any node takes them and sends them on to the leader.

use std::sync::Arc;
use std::time::Duration;

use rookery_proto::rookery::cluster::v1::change_request::Change;
use rookery_proto::rookery::cluster::v1::membership_client::MembershipClient;
use rookery_proto::rookery::cluster::v1::membership_server::{Membership, MembershipServer};
use rookery_proto::rookery::cluster::v1::{
    ChangeRequest, ChangeResponse, JoinRequest, JoinResponse, TakeOverRequest, TakeOverResponse,
};
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::change::{ChangeError, Changer};
use super::dial::MESSAGE_BYTES_MAX;
use super::introduction::Host;
use super::{Changed, MembershipError};
use crate::network::{Purpose, authenticated};
use crate::peer::BoxFuture;

/// A request is sent on at most this often.
const HOPS_MAX: u32 = 3;
/// Time for the leader to make a change; longer than it gives itself.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(25);

/// Takes changes; clones share everything.
#[derive(Clone)]
pub(crate) struct Router {
    changer: Arc<Changer>,
}

impl Router {
    pub(crate) fn new(changer: Arc<Changer>) -> Router {
        Router { changer }
    }

    /// What makes the changes while this node leads.
    pub(crate) fn changer(&self) -> &Arc<Changer> {
        &self.changer
    }

    /// The gRPC service.
    pub(crate) fn service(&self) -> MembershipServer<Router> {
        MembershipServer::new(self.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Has a change made, here or by the leader.
    pub(crate) async fn ask(&self, change: Change) -> Result<Changed, MembershipError> {
        let request = ChangeRequest { change: Some(change), hops: 0 };
        match self.route(request).await {
            Ok(response) if response.refused.is_empty() => {
                Ok(Changed { warning: Some(response.warning).filter(|warning| !warning.is_empty()) })
            }
            Ok(response) => Err(MembershipError::Refused { reason: response.refused }),
            Err(status) => Err(MembershipError::Unavailable { reason: status.message().to_owned() }),
        }
    }

    async fn route(&self, request: ChangeRequest) -> Result<ChangeResponse, Status> {
        let leader = match self.make(request.change.clone()).await {
            Ok(response) => return Ok(response),
            Err(ChangeError::NotLeader { leader }) => leader,
            Err(error @ (ChangeError::Refused(_) | ChangeError::NotAdmitted(_))) => {
                return Ok(ChangeResponse { refused: error.to_string(), ..ChangeResponse::default() });
            }
            Err(error) => return Err(Status::unavailable(error.to_string())),
        };
        if request.hops >= HOPS_MAX {
            return Err(Status::unavailable("the nodes do not agree on a leader at the moment"));
        }
        match leader {
            Some(leader) => self.send_on(leader, request).await,
            None => Err(Status::unavailable("there is no leader at the moment")),
        }
    }

    async fn send_on(&self, node_id: u64, request: ChangeRequest) -> Result<ChangeResponse, Status> {
        let channel = self.changer.channels.channel(node_id, Purpose::Raft);
        let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
        let request = ChangeRequest { hops: request.hops + 1, ..request };
        let answer = timeout(FORWARD_TIMEOUT, MembershipClient::new(channel).change(request)).await;
        let answer = answer.map_err(|_elapsed| {
            Status::unavailable(format!("node {node_id} does not answer; the change may still take effect"))
        })?;
        Ok(answer?.into_inner())
    }

    /// Makes the change, if this node leads.
    async fn make(&self, change: Option<Change>) -> Result<ChangeResponse, ChangeError> {
        let change = change.ok_or_else(|| ChangeError::NotAdmitted("a change must be named".to_owned()))?;
        let mut response = ChangeResponse::default();
        match change {
            Change::Remove(node_id) => self.changer.remove(node_id).await?,
            Change::Promote(node_id) => {
                let warning = self.changer.promote(node_id).await?;
                response.warning = warning.map(|warning| warning.to_string()).unwrap_or_default();
            }
            Change::TransferLeaderTo(node_id) => self.changer.transfer(node_id).await?,
            Change::SetAddress(set) => self.changer.set_address(set).await?,
        }
        Ok(response)
    }

    /// Asks every member in turn, for a node to which no leader speaks: its address may be what has changed.
    pub(crate) async fn ask_anybody(&self, change: Change) -> Result<Changed, MembershipError> {
        let mut answer = self.ask(change.clone()).await;
        for node_id in self.changer.peers().into_keys() {
            if !matches!(answer, Err(MembershipError::Unavailable { .. })) {
                break;
            }
            if node_id != self.changer.node_id() {
                let request = ChangeRequest { change: Some(change.clone()), hops: 0 };
                answer = match self.send_on(node_id, request).await {
                    Ok(response) if response.refused.is_empty() => Ok(Changed::default()),
                    Ok(response) => Err(MembershipError::Refused { reason: response.refused }),
                    Err(status) => Err(MembershipError::Unavailable { reason: status.message().to_owned() }),
                };
            }
        }
        answer
    }
}

#[tonic::async_trait]
impl Membership for Router {
    async fn change(&self, request: Request<ChangeRequest>) -> Result<Response<ChangeResponse>, Status> {
        let from = authenticated(&request)?;
        let request = request.into_inner();
        // A member speaks for itself; what it sends on for another one it has checked in the same way.
        if let (Some(Change::SetAddress(set)), 0 | 1) = (&request.change, request.hops)
            && set.node_id != from
        {
            return Err(Status::permission_denied("a node names only its own address"));
        }
        self.route(request).await.map(Response::new)
    }

    async fn take_over(
        &self,
        request: Request<TakeOverRequest>,
    ) -> Result<Response<TakeOverResponse>, Status> {
        let from = authenticated(&request)?;
        let refused = match self.changer.take_over(from, request.into_inner()).await {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        Ok(Response::new(TakeOverResponse { refused }))
    }
}

impl Host for Router {
    fn cluster_id(&self) -> Option<String> {
        self.changer.place.get().map(|place| place.cluster_id.clone())
    }

    fn member_addresses(&self) -> Vec<String> {
        self.changer.peers().into_values().map(|peer| peer.address).collect()
    }

    fn admit(&self, request: JoinRequest) -> BoxFuture<JoinResponse> {
        let changer = Arc::clone(&self.changer);
        Box::pin(async move {
            let refused = |refused: String| JoinResponse { refused, ..JoinResponse::default() };
            match changer.admit(request).await {
                Ok(response) => response,
                Err(ChangeError::NotLeader { leader }) => {
                    let address =
                        leader.and_then(|leader| changer.peers().remove(&leader)).map(|peer| peer.address);
                    let reason = match &address {
                        Some(_) => "the asked node is not the leader",
                        None => "there is no leader at the moment",
                    };
                    JoinResponse { ask_address: address.unwrap_or_default(), ..refused(reason.to_owned()) }
                }
                Err(error) => refused(error.to_string()),
            }
        })
    }
}
