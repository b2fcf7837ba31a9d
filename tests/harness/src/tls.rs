//! TLS for the test client: verifies the node against its own authority and may present any certificate.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    client::ResolvesClientCert,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use crate::certificates::Certificate;

/// How a client sets up TLS.
#[derive(Clone, Default)]
pub struct TlsOptions {
    /// Client certificate to present when the server asks for one.
    pub certificate: Option<Certificate>,
    /// Sign the handshake with this key instead of the certificate's: a failed proof of possession.
    pub wrong_key: Option<Certificate>,
    /// Offer TLS 1.2 only.
    pub only_tls12: bool,
    /// Leave the server name indication out, as a client does that connects to a bare address.
    pub without_server_name: bool,
}

impl TlsOptions {
    /// Presents a certificate.
    pub fn with(certificate: &Certificate) -> Self {
        Self { certificate: Some(certificate.clone()), ..Self::default() }
    }
}

/// Builds the TLS configuration that trusts `ca_pem` only.
pub fn client_config(ca_pem: &str, options: &TlsOptions) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.expect("pki/ca.pem is PEM")).expect("pki/ca.pem holds an authority");
    }
    let both: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
    let versions = if options.only_tls12 { &both[1..] } else { both };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("ring supports both versions")
        .with_root_certificates(roots);
    let mut config = match &options.certificate {
        Some(certificate) => builder.with_client_cert_resolver(Arc::new(Always::new(
            certificate,
            options.wrong_key.as_ref().unwrap_or(certificate),
        ))),
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = !options.without_server_name;
    Arc::new(config)
}

/// Presents its certificate whatever the server's hints are. rustls' own resolver refuses to load version 1
/// certificates; this one does not look inside.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl Always {
    fn new(certificate: &Certificate, key: &Certificate) -> Self {
        let chain = CertificateDer::pem_slice_iter(certificate.pem.as_bytes()).collect::<Result<_, _>>();
        let key = PrivateKeyDer::from_pem_slice(key.key_pem.as_bytes()).expect("openssl wrote a PEM key");
        let signer =
            ring::default_provider().key_provider.load_private_key(key).expect("ring knows the key type");
        Self(Arc::new(CertifiedKey::new(chain.expect("openssl wrote a PEM certificate"), signer)))
    }
}

impl ResolvesClientCert for Always {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
