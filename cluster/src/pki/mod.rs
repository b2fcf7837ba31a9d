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

/// What only the two ends of one TLS session know.
pub(crate) type SessionBinding = [u8; 32];

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

/// Key material exported from a TLS session (RFC 5705, label of RFC 9266): equal at its two ends, different in every other
/// session. Also with a man in the middle, who has two of them.
pub(crate) fn session_binding<Data>(
    session: &rustls::ConnectionCommon<Data>,
) -> Result<SessionBinding, rustls::Error> {
    session.export_keying_material(SessionBinding::default(), b"EXPORTER-Channel-Binding", None)
}
