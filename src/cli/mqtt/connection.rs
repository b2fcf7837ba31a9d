//! A client session: TCP, TLS, CONNECT, and packets in both directions.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::cli::arguments::ClientArguments;
use crate::cli::arguments::mqtt::MqttConnection;
use crate::cli::client::ca_file;
use crate::cli::error::{CliError, innermost};
use crate::cli::secret;
use crate::mqtt::client_side::{ServerPacket, decode_server_packet, encode_connect};
use crate::mqtt::frame::{FrameLimits, next_frame};
use crate::mqtt::packet::connect::{ConnectRef, ConnectReturnCode, PROTOCOL_LEVEL_3_1_1};

/// Keep alive announced by this client; pings are sent in time.
pub const KEEP_ALIVE_S: u16 = 60;

/// Time for the connection, the handshake and the answer to CONNECT, together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Largest packet accepted: the largest message and its topic.
const LIMITS: FrameLimits = FrameLimits { packet_bytes_max: 1024 * 1024 };

/// Bytes read at a time.
const READ_BYTES: usize = 16 * 1024;

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// An open session.
pub struct MqttSession {
    stream: Box<dyn Stream>,
    received: Vec<u8>,
    /// How much of `received` was handed out already.
    consumed: usize,
}

impl MqttSession {
    /// A session over a byte stream, logged in already.
    #[cfg(test)]
    pub(super) fn over(stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Self {
        Self { stream: Box::new(stream), received: Vec::new(), consumed: 0 }
    }

    /// Connects and logs in.
    pub async fn open(client: &ClientArguments, arguments: &MqttConnection) -> Result<Self, CliError> {
        let password = password(arguments)?;
        let open = Self::open_unbounded(client, arguments, password);
        let timeout = || {
            let seconds = CONNECT_TIMEOUT.as_secs();
            failed(format!("no MQTT session at {} within {seconds} s", arguments.server))
        };
        tokio::time::timeout(CONNECT_TIMEOUT, open).await.map_err(|_| timeout())?
    }

    async fn open_unbounded(
        client: &ClientArguments,
        arguments: &MqttConnection,
        password: Option<Zeroizing<String>>,
    ) -> Result<Self, CliError> {
        let unreachable = |error: &dyn std::error::Error| {
            failed(format!("cannot connect to {}: {}", arguments.server, innermost(error)))
        };
        let socket = TcpStream::connect(&arguments.server).await.map_err(|error| unreachable(&error))?;
        socket.set_nodelay(true).map_err(|error| unreachable(&error))?;
        let stream: Box<dyn Stream> = match arguments.plain {
            true => Box::new(socket),
            false => {
                let config = Arc::new(tls_config(client, arguments)?);
                let connector = tokio_rustls::TlsConnector::from(config);
                let name = server_name(client, &arguments.server)?;
                Box::new(
                    connector.connect(name, socket).await.map_err(|error| tls_failed(arguments, &error))?,
                )
            }
        };
        let mut session = Self { stream, received: Vec::new(), consumed: 0 };
        session.log_in(arguments, password).await?;
        Ok(session)
    }

    async fn log_in(
        &mut self,
        arguments: &MqttConnection,
        password: Option<Zeroizing<String>>,
    ) -> Result<(), CliError> {
        // Random, so that two commands with one identity do not take the session from each other.
        let random = format!("rookery-cli-{:08x}", rand::rng().random::<u32>());
        let connect = ConnectRef {
            protocol_level: PROTOCOL_LEVEL_3_1_1,
            clean_session: true,
            keep_alive_s: KEEP_ALIVE_S,
            client_id: arguments.client_id.as_deref().unwrap_or(&random),
            will: None,
            username: arguments.username.as_deref(),
            password: password.as_ref().map(|password| password.as_bytes()),
        };
        let mut packet = Zeroizing::new(Vec::new());
        encode_connect(&mut packet, &connect).map_err(|error| failed(error.to_string()))?;
        self.send(&packet).await?;
        self.receive(|packet| match packet {
            ServerPacket::Connack { code: ConnectReturnCode::Accepted, .. } => Ok(()),
            ServerPacket::Connack { code, .. } => Err(failed(refusal(code))),
            other => Err(failed(format!("the server answered CONNECT with {other:?}"))),
        })
        .await?
    }

    /// Writes bytes: one packet or several.
    pub async fn send(&mut self, packets: &[u8]) -> Result<(), CliError> {
        let lost = |error: std::io::Error| failed(format!("connection lost: {error}"));
        self.stream.write_all(packets).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)
    }

    /// Waits for the next packet and hands it to `use_packet`. Cancel-safe.
    pub async fn receive<T>(
        &mut self,
        use_packet: impl FnOnce(ServerPacket<'_>) -> T,
    ) -> Result<T, CliError> {
        let protocol =
            |error: crate::mqtt::violation::Violation| failed(format!("the server broke MQTT: {error}"));
        self.received.drain(..self.consumed);
        self.consumed = 0;
        loop {
            if next_frame(&self.received, LIMITS).map_err(protocol)?.is_some() {
                break;
            }
            self.received.reserve(READ_BYTES);
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) => return Err(failed(CLOSED.to_owned())),
                Ok(_) => {}
                Err(error) => return Err(failed(format!("connection lost: {error}"))),
            }
        }
        let frame = next_frame(&self.received, LIMITS).map_err(protocol)?;
        let frame = frame.expect("the loop ends when a frame is complete");
        self.consumed = frame.len;
        decode_server_packet(&frame).map(use_packet).map_err(protocol)
    }

    /// Ends the session in order and waits until the server has seen it.
    pub async fn close(mut self) -> Result<(), CliError> {
        let mut packet = Vec::new();
        crate::mqtt::client_side::encode_disconnect(&mut packet);
        self.send(&packet).await?;
        // The server closes without an answer; its way of closing does not matter any more.
        let _ = self.stream.shutdown().await;
        let mut rest = vec![0; READ_BYTES];
        while let Ok(1..) = self.stream.read(&mut rest).await {}
        Ok(())
    }
}

/// What a closed connection means in practice.
const CLOSED: &str = "the server closed the connection: a publish to a topic that this identity may not use, a \
                      second session with the same client id, or a revoked credential ends it";

/// An error of the MQTT side.
pub fn failed(text: String) -> CliError {
    CliError::Mqtt(text)
}

fn refusal(code: ConnectReturnCode) -> String {
    let reason = match code {
        ConnectReturnCode::BadUserNameOrPassword => {
            "user name or password is wrong; the user name is the id of a registry, device or broker"
        }
        ConnectReturnCode::NotAuthorized => {
            "not authorized: no registered certificate and no password was shown, or the registry is disabled"
        }
        ConnectReturnCode::IdentifierRejected => "the client id is not acceptable",
        ConnectReturnCode::ServerUnavailable => "the server is unavailable or a limit is reached",
        ConnectReturnCode::UnacceptableProtocolVersion => "the server does not speak MQTT 3.1.1",
        ConnectReturnCode::Accepted => "accepted",
    };
    format!("the server refused the session: {reason} (code {})", code as u8)
}

fn tls_failed(arguments: &MqttConnection, error: &std::io::Error) -> CliError {
    let reason = match error.get_ref() {
        Some(inner) => innermost(inner),
        None => error.to_string(),
    };
    let hint = match reason.contains("UnknownIssuer") {
        true => "; give --ca-file <data-dir>/pki/ca.pem",
        false => "",
    };
    failed(format!("TLS with {} failed: {reason}{hint}", arguments.server))
}

fn password(arguments: &MqttConnection) -> Result<Option<Zeroizing<String>>, CliError> {
    match (&arguments.password, &arguments.username, &arguments.cert) {
        (Some(password), ..) => Ok(Some(Zeroizing::new(password.clone()))),
        (None, Some(_), None) => secret::read("Password: ", false).map(Some),
        _ => Ok(None),
    }
}

/// What the certificate must be for: the API's and the one of this listener are the same.
fn server_name(client: &ClientArguments, server: &str) -> Result<ServerName<'static>, CliError> {
    if let Some(name) = &client.tls_name {
        return ServerName::try_from(name.clone()).map_err(|_| CliError::Argument {
            flag: "--tls-name",
            rule: "must be a DNS name or an address".to_owned(),
            value: name.clone(),
        });
    }
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(host.clone()).map_err(|_| CliError::Argument {
        flag: "--server",
        rule: "must be HOST:PORT".to_owned(),
        value: host,
    })
}

/// TLS that verifies the server against the CA file and shows the client certificate, whatever it is.
fn tls_config(client: &ClientArguments, arguments: &MqttConnection) -> Result<ClientConfig, CliError> {
    let mut roots = RootCertStore::empty();
    let path = ca_file(client).ok_or_else(|| {
        failed("no CA to verify the server with: give --ca-file <data-dir>/pki/ca.pem, or --plain".to_owned())
    })?;
    for certificate in certificates(&path)? {
        roots.add(certificate).map_err(|error| failed(format!("{}: {error}", path.display())))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(roots);
    let (Some(certificate), Some(key)) = (&arguments.cert, &arguments.key) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    let unusable = |error: &dyn std::fmt::Display| failed(format!("{}: {error}", key.display()));
    let key_text = Zeroizing::new(fs::read(key).map_err(CliError::reading(key))?);
    let private_key = PrivateKeyDer::from_pem_slice(&key_text).map_err(|error| unusable(&error))?;
    let signing_key =
        provider.key_provider.load_private_key(private_key).map_err(|error| unusable(&error))?;
    // Not `with_client_auth_cert`: it refuses certificates of X.509 v1, which the server accepts.
    let resolver = SingleCertAndKey::from(CertifiedKey::new(chain, signing_key));
    Ok(builder.with_client_cert_resolver(Arc::new(resolver)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CliError> {
    let text = fs::read(path).map_err(CliError::reading(path))?;
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(failed(format!("{} must contain a PEM certificate", path.display()))),
    }
}
