//! Answers nodes that have no certificate: who is here, and may I join. All they can do without the join
//! secret is to be refused, slowly.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rookery_proto::rookery::cluster::v1::introduction_server::{Introduction, IntroductionServer};
use rookery_proto::rookery::cluster::v1::{
    Candidate, HelloRequest, HelloResponse, JoinRequest, JoinResponse,
};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tonic::{Request, Response, Status};

use super::bootstrap::{Board, LABEL_BYTES_MAX, Myself};
use super::dial::MESSAGE_BYTES_MAX;
use super::proof::{JoinSecret, SecretDiffers};
use super::request::REQUEST_ID_BYTES;
use crate::network::admission::PeerInfo;
use crate::peer::BoxFuture;
use crate::pki::SessionBinding;

/// Admissions at the same time; further requests are refused and come again.
const JOINS_MAX: usize = 16;
/// A wrong proof is answered after this long.
const PENALTY: Duration = Duration::from_secs(1);
/// Wrong proofs that wait for their answer; the next are refused at once, without a hint.
const PENALTIES_MAX: usize = 64;
/// A wrong proof from the same address is logged again after this long.
const LOG_AGAIN: Duration = Duration::from_secs(10);
/// Addresses whose last log line is remembered.
const LOGGED_MAX: usize = 256;

/// A node, as far as others without a certificate may deal with it.
pub(crate) trait Host: Send + Sync + 'static {
    /// The cluster, once this node belongs to one.
    fn cluster_id(&self) -> Option<String>;
    /// Where its members can be reached.
    fn member_addresses(&self) -> Vec<String>;
    /// Admits the node, or says why not or whom to ask. The secret was proven.
    fn admit(&self, request: JoinRequest) -> BoxFuture<JoinResponse>;
}

/// This node's part in introductions; clones share it.
#[derive(Clone)]
pub(crate) struct Introducer {
    inner: Arc<Inner>,
}

struct Inner {
    secret: JoinSecret,
    me: Myself,
    board: Mutex<Board>,
    host: Mutex<Option<Arc<dyn Host>>>,
    joins: Semaphore,
    penalties: Semaphore,
    logged: Mutex<HashMap<IpAddr, Instant>>,
}

impl Introducer {
    /// A node that belongs to no cluster, as far as it has told.
    pub(crate) fn new(secret: JoinSecret, me: Myself) -> Introducer {
        Introducer {
            inner: Arc::new(Inner {
                secret,
                board: Mutex::new(Board::new(me.clone())),
                me,
                host: Mutex::new(None),
                joins: Semaphore::new(JOINS_MAX),
                penalties: Semaphore::new(PENALTIES_MAX),
                logged: Mutex::default(),
            }),
        }
    }

    /// The gRPC service.
    pub(crate) fn service(&self) -> IntroductionServer<Introducer> {
        IntroductionServer::new(self.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Who admits nodes, as soon as it is a member.
    pub(crate) fn set_host(&self, host: Arc<dyn Host>) {
        *self.inner.host.lock() = Some(host);
    }

    /// What this node was started with.
    pub(crate) fn me(&self) -> &Myself {
        &self.inner.me
    }

    /// Reads or changes what was seen so far.
    pub(crate) fn board<T>(&self, with: impl FnOnce(&mut Board) -> T) -> T {
        with(&mut self.inner.board.lock())
    }

    /// The nodes without a cluster that this node knows.
    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        let seen = self.board(|board| board.sees());
        seen.into_iter().map(|label| Candidate { name: label.name, address: label.address }).collect()
    }

    fn member(&self) -> Option<(Arc<dyn Host>, String)> {
        let host = self.inner.host.lock().clone()?;
        let cluster_id = host.cluster_id()?;
        Some((host, cluster_id))
    }

    fn answer_hello(&self, request: &HelloRequest) -> HelloResponse {
        let me = self.me();
        let mut response = HelloResponse {
            name: me.label.name.clone(),
            address: me.label.address.clone(),
            instance: me.instance.clone().into(),
            expect_voters: u32::from(me.expect_voters.unwrap_or_default()),
            ..HelloResponse::default()
        };
        match self.member() {
            Some((host, cluster_id)) => {
                response.cluster_id = cluster_id;
                response.member_addresses = host.member_addresses();
            }
            None => {
                self.board(|board| {
                    board.mention(&request.address);
                    request.candidates.iter().for_each(|candidate| board.mention(&candidate.address));
                });
                response.candidates = self.candidates();
            }
        }
        response
    }

    async fn answer_join(&self, request: JoinRequest) -> Result<JoinResponse, Status> {
        let refused = |rule: &str| JoinResponse { refused: rule.to_owned(), ..JoinResponse::default() };
        let is_label = |text: &str| !text.is_empty() && text.len() <= LABEL_BYTES_MAX;
        if !is_label(&request.name) || !is_label(&request.address) {
            return Ok(refused("name and address must have 1 to 255 bytes"));
        }
        if request.request_id.len() != REQUEST_ID_BYTES {
            return Ok(refused("the request's identifier must have 16 bytes"));
        }
        let Some((host, _)) = self.member() else {
            return Ok(refused("the asked node belongs to no cluster itself"));
        };
        let Ok(_slot) = self.inner.joins.try_acquire() else {
            return Err(Status::resource_exhausted("too many nodes join at the same time"));
        };
        Ok(host.admit(request).await)
    }

    /// Answers a wrong proof: late, and with one line in the log.
    async fn refuse(&self, remote: SocketAddr, differs: SecretDiffers) -> Status {
        if self.may_log(remote.ip()) {
            tracing::warn!(%remote, "join secret differs: the node that asks has another one");
        }
        if let Ok(_slot) = self.inner.penalties.try_acquire() {
            sleep(PENALTY).await;
        }
        Status::unauthenticated(differs.to_string())
    }

    fn may_log(&self, remote: IpAddr) -> bool {
        let now = Instant::now();
        let mut logged = self.inner.logged.lock();
        logged.retain(|_, at| now - *at < LOG_AGAIN);
        let may = logged.len() < LOGGED_MAX && !logged.contains_key(&remote);
        if may {
            logged.insert(remote, now);
        }
        may
    }
}

#[tonic::async_trait]
impl Introduction for Introducer {
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        let (binding, remote) = connection(&request)?;
        let request = request.into_inner();
        let secret = &self.inner.secret;
        if let Err(differs) = secret.verify_hello_request(binding, &request) {
            return Err(self.refuse(remote, differs).await);
        }
        let mut response = self.answer_hello(&request);
        secret.sign_hello_response(binding, &request.nonce, &mut response);
        Ok(Response::new(response))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let (binding, remote) = connection(&request)?;
        let request = request.into_inner();
        let secret = &self.inner.secret;
        if let Err(differs) = secret.verify_join_request(binding, &request) {
            return Err(self.refuse(remote, differs).await);
        }
        let nonce = request.nonce.clone();
        let mut response = self.answer_join(request).await?;
        secret.sign_join_response(binding, &nonce, &mut response);
        Ok(Response::new(response))
    }
}

fn connection<T>(request: &Request<T>) -> Result<(SessionBinding, SocketAddr), Status> {
    let info = request.extensions().get::<PeerInfo>();
    let info = info.ok_or_else(|| Status::internal("the connection is not known"))?;
    Ok((info.binding, info.remote))
}
