//! The TLS side of the MQTT listener: configuration and handshake.
//!
//! TLS 1.2 and 1.3 (U-A1), forward-secret AEAD suites only (what rustls offers: ECDHE with AES-GCM or
//! ChaCha20-Poly1305, for ECDSA and RSA server keys), no renegotiation, no compression, SNI ignored.
//! The client chooses the suite, except that AES-128 is taken of clients that put AES-256 first and offer both; who
//! wants AES-256 for certain offers nothing shorter.
//! A client certificate is requested and never required, see [`super::client_certificate`].
//!
//! **Resumption is on.** Session tickets (one per handshake, encrypted with keys that live in this
//! process and rotate every 6 hours) save a device the costly asymmetric half of the handshake. A
//! ticket carries the client's certificate, so a resumed connection has the identity of the first one;
//! and identity is looked up anew at every CONNECT, so a revoked certificate stays revoked. Nothing
//! about a session is stored on the server, so tickets cannot fill its memory (hostile A6). A ticket
//! from another node or from before a restart leads to a full handshake, never to a failure. Early
//! data is off: it could be replayed.
//!
//! **Memory of an idle connection.** rustls keeps a read buffer of 4 KiB, the state of the connection
//! (about 2 kB including the keys) and the client's certificate chain (RSA-2048: 0.8 kB, RSA-4096:
//! 1.3 kB; bounded by [`CHAIN_BYTES_MAX`](super::client_certificate::CHAIN_BYTES_MAX)). Write buffers
//! are freed when they run empty and are bounded by [`TlsSettings::write_buffer_bytes_max`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls::crypto::ring::ALL_CIPHER_SUITES;
use rustls::pki_types::CertificateDer;
use rustls::server::{Acceptor, NoServerSessionStorage};
use rustls::{CipherSuite, ServerConfig, SupportedCipherSuite};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::client_certificate::AnyClientCertificate;
use super::pki::ServerIdentity;

/// Bytes of a TLS record around its payload; rustls counts them in its fragment size.
const RECORD_HEADER_BYTES: usize = 5;

/// The one version of clients that do not offer TLS 1.3.
static TLS12_ONLY: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// What may be tuned about TLS.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Whether TLS 1.3 is offered beside TLS 1.2. Default true. Off, every client negotiates TLS 1.2,
    /// which lets devices with RSA keys of 1024 bits authenticate that would otherwise choose 1.3.
    pub tls13: bool,
    /// Whether clients get session tickets. Default true.
    pub session_tickets: bool,
    /// Application protocols to negotiate (ALPN), most wanted first. Default none: MQTT clients do not use it.
    pub application_protocols: Vec<Vec<u8>>,
    /// Longest time from accept to a complete ClientHello. Default 5 s.
    pub hello_timeout: Duration,
    /// Longest time from accept to the end of the handshake. Default 15 s: an ESP8266 computes for
    /// seconds, and a cellular round trip may take one. At the limit the connection is closed.
    pub handshake_timeout: Duration,
    /// Largest payload of a TLS record sent, in bytes, 1024..=16384. Default 4096, because small
    /// clients are often built with a receive buffer of 4 KiB and rustls cannot negotiate less
    /// (RFC 6066 max_fragment_length).
    pub record_bytes_max: usize,
    /// Most encrypted bytes that wait in the TLS layer of one connection for a slow peer. Default
    /// 16 KiB. At the limit writes report "would block".
    pub write_buffer_bytes_max: usize,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            tls13: true,
            session_tickets: true,
            application_protocols: Vec::new(),
            hello_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(15),
            record_bytes_max: 4096,
            write_buffer_bytes_max: 16 * 1024,
        }
    }
}

/// Why the TLS side could not be set up.
#[derive(Debug, Error)]
pub enum TlsSetupError {
    /// rustls refused the configuration.
    #[error("TLS configuration is refused by the TLS library: {0}")]
    Library(#[from] rustls::Error),
    /// A record size outside the permitted range.
    #[error("record_bytes_max must be in 1024..=16384 (got {0})")]
    RecordBytesMax(usize),
}

/// Why a handshake did not finish.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// No complete ClientHello in [`TlsSettings::hello_timeout`].
    #[error("no complete TLS ClientHello within {} ms", .0.as_millis())]
    HelloTimeout(Duration),
    /// The handshake was not finished in [`TlsSettings::handshake_timeout`].
    #[error("TLS handshake not finished within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The bytes were not TLS, nothing in common was offered, or the proof of possession of the
    /// client's key failed.
    #[error("TLS handshake failed: {0}")]
    Protocol(rustls::Error),
    /// The connection ended or broke.
    #[error("connection lost during the TLS handshake: {0}")]
    Connection(io::Error),
}

impl HandshakeError {
    /// A label for counters: a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::HelloTimeout(_) => "hello_timeout",
            Self::Timeout(_) => "timeout",
            Self::Protocol(_) => "protocol",
            Self::Connection(_) => "connection",
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(protocol) => Self::Protocol(protocol.clone()),
            None => Self::Connection(error),
        }
    }
}

/// The TLS side of a listener. The server's certificate can be replaced while it runs; connections
/// and handshakes that exist keep the old one.
#[derive(Debug)]
pub struct ServerTls {
    settings: TlsSettings,
    configurations: RwLock<Arc<Configurations>>,
}

#[derive(Debug)]
struct Configurations {
    /// For clients that offer TLS 1.3.
    modern: Ciphers,
    /// For clients that offer TLS 1.2 at most: the same without RSA-PSS for client certificates.
    tls12: Ciphers,
}

/// Two configurations that differ in who chooses the cipher suite.
#[derive(Debug, Clone)]
struct Ciphers {
    /// The client: it knows whether it has AES in hardware.
    of_client: Arc<ServerConfig>,
    /// The server, AES-128 first: for clients that want AES-256 most, which is what libraries put first and nobody has
    /// decided. The 128-bit suites hash with SHA-256, for which processors have instructions; SHA-384 was 5 to 6 % of the
    /// time of a TLS connect.
    of_server: Arc<ServerConfig>,
}

impl ServerTls {
    /// Builds the TLS side around the server's certificate and key.
    pub fn new(settings: TlsSettings, identity: &ServerIdentity) -> Result<Self, TlsSetupError> {
        if !(1024..=16384).contains(&settings.record_bytes_max) {
            return Err(TlsSetupError::RecordBytesMax(settings.record_bytes_max));
        }
        let configurations = RwLock::new(Arc::new(Configurations::new(&settings, identity)?));
        Ok(Self { settings, configurations })
    }

    /// Uses another certificate and key for handshakes from now on; on error the old one stays.
    pub fn replace_identity(&self, identity: &ServerIdentity) -> Result<(), TlsSetupError> {
        let configurations = Arc::new(Configurations::new(&self.settings, identity)?);
        *self.configurations.write() = configurations;
        Ok(())
    }

    /// The settings given at the start.
    pub fn settings(&self) -> &TlsSettings {
        &self.settings
    }
}

impl Configurations {
    fn new(settings: &TlsSettings, identity: &ServerIdentity) -> Result<Self, TlsSetupError> {
        let ticketer = match settings.session_tickets {
            true => Some(rustls::crypto::ring::Ticketer::new()?),
            false => None,
        };
        let build = |versions: &[_], verifier: &Arc<AnyClientCertificate>, by_server: bool| {
            let mut provider = rustls::crypto::ring::default_provider();
            if by_server {
                provider.cipher_suites.sort_by_key(|suite| !is_aes(suite.suite(), AES_128));
            }
            let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(versions)?
                .with_client_cert_verifier(Arc::<AnyClientCertificate>::clone(verifier))
                .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(identity.key())));
            config.alpn_protocols.clone_from(&settings.application_protocols);
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = usize::from(ticketer.is_some());
            if let Some(ticketer) = &ticketer {
                config.ticketer = Arc::clone(ticketer);
            }
            config.max_fragment_size = Some(settings.record_bytes_max + RECORD_HEADER_BYTES);
            config.ignore_client_order = by_server;
            Ok::<_, TlsSetupError>(Arc::new(config))
        };
        let both = |versions: &[_], verifier: AnyClientCertificate| {
            let verifier = Arc::new(verifier);
            let (of_client, of_server) =
                (build(versions, &verifier, false)?, build(versions, &verifier, true)?);
            Ok::<_, TlsSetupError>(Ciphers { of_client, of_server })
        };
        let tls12 = both(TLS12_ONLY, AnyClientCertificate::without_pss())?;
        let modern = match settings.tls13 {
            true => both(rustls::ALL_VERSIONS, AnyClientCertificate::new())?,
            false => tls12.clone(),
        };
        Ok(Self { modern, tls12 })
    }

    /// The configuration for a client: by whether it offers a TLS 1.3 suite, without which TLS 1.3
    /// cannot be negotiated.
    fn for_client(&self, hello: &rustls::server::ClientHello<'_>) -> Arc<ServerConfig> {
        let known = |offered: &&CipherSuite| ALL_CIPHER_SUITES.iter().any(|suite| suite.suite() == **offered);
        let mut offered = hello.cipher_suites().iter().filter(known);
        let is_tls13 = |offered: &CipherSuite| {
            let mut suites = ALL_CIPHER_SUITES.iter();
            suites.any(|suite| matches!(suite, SupportedCipherSuite::Tls13(_)) && suite.suite() == *offered)
        };
        let wants_aes_256 = offered.clone().next().is_some_and(|first| is_aes(*first, AES_256));
        let ciphers = if offered.any(is_tls13) { &self.modern } else { &self.tls12 };
        Arc::clone(if wants_aes_256 { &ciphers.of_server } else { &ciphers.of_client })
    }
}

/// Key lengths in the names of cipher suites.
const AES_128: &str = "AES_128";
const AES_256: &str = "AES_256";

/// Whether a cipher suite is AES with keys of that length.
fn is_aes(suite: CipherSuite, keys: &str) -> bool {
    suite.as_str().is_some_and(|name| name.contains(keys))
}

/// Shakes hands as the server on `stream` and returns the encrypted stream and the certificate the
/// client proved to own, if it showed one.
///
/// Runs on any runtime or `LocalSet`. A full handshake costs 0.2 to 0.4 ms of computing time, which
/// is why listeners do it away from the threads that serve connections. Cancel-safe in the sense that
/// dropping the future closes the connection. On failure the client gets the TLS alert, then the
/// connection is closed.
pub async fn handshake<IO>(
    stream: IO,
    tls: &ServerTls,
) -> Result<(TlsStream<IO>, Option<CertificateDer<'static>>), HandshakeError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let hello_timeout = tls.settings.hello_timeout.min(tls.settings.handshake_timeout);
    let deadline = crate::clock::monotonic() + tls.settings.handshake_timeout;

    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
    let hello = tokio::time::timeout(hello_timeout, hello)
        .await
        .map_err(|_| HandshakeError::HelloTimeout(hello_timeout))??;

    let config = tls.configurations.read().for_client(&hello.client_hello());
    let write_buffer_bytes_max = tls.settings.write_buffer_bytes_max;
    let rest = hello.into_stream_with(config, |connection| {
        connection.set_buffer_limit(Some(write_buffer_bytes_max));
    });
    let stream = tokio::time::timeout_at(deadline.into(), rest)
        .await
        .map_err(|_| HandshakeError::Timeout(tls.settings.handshake_timeout))??;

    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let leaf = leaf.map(|leaf| leaf.clone().into_owned());
    Ok((stream, leaf))
}

#[cfg(test)]
mod tests;
