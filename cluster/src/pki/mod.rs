//! Who may speak as which node: the cluster's own certificate authority and the certificates of its nodes.
//!
//! The founder makes the authority; every member holds its key, so that any of them can certify a new one. A node's
//! certificate names the cluster and the node, see [`name`]. Certificates do not expire: a node is shut out by its removal,
//! which the replicated table of nodes remembers for ever.

pub(crate) mod authority;
pub(crate) mod credentials;
pub(crate) mod name;
pub(crate) mod tls;

pub(crate) use authority::{Authority, NodeKey};
pub(crate) use credentials::Credentials;
pub(crate) use name::PeerIdentity;

/// SHA-256 of a certificate in DER form.
pub(crate) type CertificateHash = [u8; 32];

/// Why something could not be certified or understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PkiError {
    /// A key or certificate could not be made or read.
    #[error("cannot {action}: {source}")]
    Certificate {
        action: &'static str,
        #[source]
        source: rcgen::Error,
    },
    /// PEM text holds nothing usable.
    #[error("{what} is not valid PEM")]
    Pem { what: &'static str },
    /// A certificate is not that of a node.
    #[error("the certificate names no node of a cluster")]
    NoIdentity,
    /// Key and certificates do not belong together.
    #[error("cannot use the node's certificate: {0}")]
    Tls(#[from] rustls::Error),
    /// The authority's certificate cannot be used to check others.
    #[error("cannot use the cluster's authority: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The SHA-256 of a certificate in DER form.
pub(crate) fn certificate_hash(certificate: &rustls_pki_types::CertificateDer<'_>) -> CertificateHash {
    use sha2::Digest;
    sha2::Sha256::digest(certificate.as_ref()).into()
}
