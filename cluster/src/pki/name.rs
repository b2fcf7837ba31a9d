//! How a certificate names a node.
//!
//! * DNS name `node-<id>.rookery.peer`: the dialler checks it as it would a host name.
//! * URI `rookery://<cluster id>/node/<id>`: who calls, for the node that is dialled.

use rustls_pki_types::{CertificateDer, ServerName};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::PkiError;

/// The node that a certificate was issued to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerIdentity {
    /// The cluster.
    pub(crate) cluster_id: String,
    /// Raft identifier.
    pub(crate) node_id: u64,
}

impl PeerIdentity {
    /// The URI in the node's certificate.
    pub(crate) fn uri(&self) -> String {
        format!("rookery://{}/node/{}", self.cluster_id, self.node_id)
    }

    /// Reads the identity of a certificate that was verified before.
    pub(crate) fn of_certificate(certificate: &CertificateDer<'_>) -> Result<PeerIdentity, PkiError> {
        let (_, certificate) =
            X509Certificate::from_der(certificate).map_err(|_invalid| PkiError::NoIdentity)?;
        let names = certificate.subject_alternative_name().ok().flatten().ok_or(PkiError::NoIdentity)?;
        let mut uris = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        match (uris.next(), uris.next()) {
            (Some(uri), None) => parse(uri).ok_or(PkiError::NoIdentity),
            _ => Err(PkiError::NoIdentity),
        }
    }
}

/// The DNS name in the certificate of a node.
pub(crate) fn host_name(node_id: u64) -> String {
    format!("node-{node_id}.rookery.peer")
}

/// The same, for a TLS client.
pub(crate) fn server_name(node_id: u64) -> ServerName<'static> {
    ServerName::try_from(host_name(node_id)).expect("digits in a fixed name are a valid name")
}

fn parse(uri: &str) -> Option<PeerIdentity> {
    let (cluster_id, node_id) = uri.strip_prefix("rookery://")?.split_once("/node/")?;
    let node_id: u64 = node_id.parse().ok()?;
    let identity = PeerIdentity { cluster_id: cluster_id.to_owned(), node_id };
    // Only the spelling that this program writes.
    (node_id != 0 && !cluster_id.is_empty() && identity.uri() == uri).then_some(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_written_form_is_read() {
        let identity = PeerIdentity { cluster_id: "abc".to_owned(), node_id: 3 };
        assert_eq!(parse(&identity.uri()), Some(identity));
        for other in
            ["rookery:///node/3", "rookery://abc/node/0", "rookery://abc/node/03", "rookery://abc/node/+3"]
        {
            assert_eq!(parse(other), None, "{other}");
        }
        assert_eq!(parse("https://abc/node/3"), None);
    }
}
