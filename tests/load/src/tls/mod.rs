//! TLS: the clients' side, certificates for both sides ([`authority`]), and the bare server that marks the floor
//! ([`server`]).

pub mod authority;
pub mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde::{Deserialize, Serialize};

use self::authority::Identity;

/// How to secure a connection.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
}

impl Tls {
    /// The client's half of one connection, which shows `identity` if the server asks for a certificate.
    pub fn session(&self, identity: Option<&Identity>) -> anyhow::Result<ClientConnection> {
        let mut config = self.config.clone();
        if let Some(identity) = identity {
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).context("client key")?;
            let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes())
                .context("client certificate")?;
            let key = config.crypto_provider().key_provider.load_private_key(key)?;
            let resolver = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
            Arc::make_mut(&mut config).client_auth_cert_resolver = Arc::new(resolver);
        }
        Ok(ClientConnection::new(config, self.server_name.clone())?)
    }
}

/// Whom to trust.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Trust {
    /// The certificates in a PEM file.
    Authority(PathBuf),
    /// Anyone. For measurements only.
    Anyone,
}

/// Client TLS without resumption: every connection costs a full handshake.
pub fn client(trust: &Trust, server_name: &str) -> anyhow::Result<Tls> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let mut config = match trust {
        Trust::Authority(path) => builder.with_root_certificates(authority(path)?).with_no_client_auth(),
        Trust::Anyone => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
            .with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    let server_name = ServerName::try_from(server_name.to_owned()).context("server name")?;
    Ok(Tls { config: Arc::new(config), server_name })
}

fn authority(path: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).with_context(|| format!("CA file {}", path.display()))?;
    for certificate in certificates {
        roots.add(certificate.with_context(|| format!("CA file {}", path.display()))?)?;
    }
    Ok(roots)
}

#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
