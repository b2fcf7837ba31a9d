//! Calls a node of which nothing but an address is known: by TLS without a check of its certificate, see
//! [`super::proof`].

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rookery_proto::rookery::cluster::v1::introduction_client::IntroductionClient;
use rookery_proto::rookery::cluster::v1::{HelloRequest, HelloResponse, JoinRequest, JoinResponse};
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::proof::{JoinSecret, SecretDiffers};
use crate::network::dial::introduction_channel;
use crate::pki::SessionBinding;

/// Time to connect, and for a node to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for a cluster to admit a node: a few commits.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Socket addresses that are tried of one name.
const RESOLVED_MAX: usize = 16;
/// Largest message of an introduction, either way.
pub(crate) const MESSAGE_BYTES_MAX: usize = 32 * 1024;

/// Why a node without certificate could not be talked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("cannot resolve the address: {0}")]
    Resolve(std::io::Error),
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error("no answer in {} s", .0.as_secs())]
    Timeout(Duration),
    #[error(transparent)]
    Secret(#[from] SecretDiffers),
    #[error("{0}")]
    Refused(String),
}

impl From<Status> for DialError {
    fn from(status: Status) -> DialError {
        match status.code() {
            Code::Unauthenticated => DialError::Secret(SecretDiffers),
            _ => DialError::Refused(status.message().to_owned()),
        }
    }
}

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Dialer {
    source: Option<IpAddr>,
    secret: JoinSecret,
}

impl Dialer {
    /// `source` is the local address of the connections, if it matters.
    pub(crate) fn new(source: Option<IpAddr>, secret: JoinSecret) -> Dialer {
        Dialer { source, secret }
    }

    /// The socket addresses of a host and port.
    pub(crate) async fn resolve(address: &str) -> Result<Vec<SocketAddr>, DialError> {
        let found = timeout(HELLO_TIMEOUT, tokio::net::lookup_host(address)).await;
        let found = found.map_err(|_elapsed| DialError::Timeout(HELLO_TIMEOUT))?;
        Ok(found.map_err(DialError::Resolve)?.take(RESOLVED_MAX).collect())
    }

    /// Asks who is there. The answer is proven.
    pub(crate) async fn hello(
        &self,
        address: SocketAddr,
        mut request: HelloRequest,
    ) -> Result<HelloResponse, DialError> {
        let ask = async {
            let (mut client, binding) = self.connect(address).await?;
            self.secret.sign_hello_request(binding, &mut request);
            let nonce = request.nonce.clone();
            let response = client.hello(request).await?.into_inner();
            self.secret.verify_hello_response(binding, &nonce, &response)?;
            Ok(response)
        };
        timeout(HELLO_TIMEOUT, Box::pin(ask)).await.unwrap_or(Err(DialError::Timeout(HELLO_TIMEOUT)))
    }

    /// Asks to become a member. The answer is proven.
    pub(crate) async fn join(
        &self,
        address: SocketAddr,
        mut request: JoinRequest,
    ) -> Result<JoinResponse, DialError> {
        let ask = async {
            let (mut client, binding) = self.connect(address).await?;
            self.secret.sign_join_request(binding, &mut request);
            let nonce = request.nonce.clone();
            let response = client.join(request).await?.into_inner();
            self.secret.verify_join_response(binding, &nonce, &response)?;
            Ok(response)
        };
        timeout(JOIN_TIMEOUT, Box::pin(ask)).await.unwrap_or(Err(DialError::Timeout(JOIN_TIMEOUT)))
    }

    async fn connect(
        &self,
        address: SocketAddr,
    ) -> Result<(IntroductionClient<Channel>, SessionBinding), DialError> {
        let (channel, binding) = introduction_channel(&address.to_string(), self.source).await?;
        let client = IntroductionClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok((client, binding))
    }
}
