//! The cluster's certificate authority, and the keys that it certifies.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use zeroize::Zeroizing;

use super::PkiError;
use super::name::{PeerIdentity, host_name};

/// Certificates are valid from this year on: clocks of machines that just booted may be far behind.
const FROM_YEAR: i32 = 1970;
/// Certificates do not expire, see [`super`].
const TO_YEAR: i32 = 9999;

/// The certificate authority of one cluster.
pub(crate) struct Authority {
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    key_pem: Zeroizing<String>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority for a new cluster.
    pub(crate) fn generate(cluster_id: &str) -> Result<Authority, PkiError> {
        let key = KeyPair::generate().map_err(failed("make the key of the cluster's authority"))?;
        let mut params = params(&format!("rookery cluster {cluster_id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).map_err(failed("make the cluster's authority"))?;
        Authority::from_pem(&certificate.pem(), &Zeroizing::new(key.serialize_pem()))
    }

    /// An authority that was made before.
    pub(crate) fn from_pem(
        certificate_pem: &str,
        key_pem: &Zeroizing<String>,
    ) -> Result<Authority, PkiError> {
        let certificate = certificate_from_pem(certificate_pem, "the authority's certificate")?;
        let key = KeyPair::from_pem(key_pem).map_err(failed("read the key of the cluster's authority"))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(failed("read the certificate of the cluster's authority"))?;
        Ok(Authority {
            certificate_pem: certificate_pem.to_owned(),
            certificate,
            key_pem: key_pem.clone(),
            issuer,
        })
    }

    /// Certifies the key of a PKCS #10 request (DER) for a node; whatever else the request asks for is ignored. Returns PEM.
    pub(crate) fn certify(&self, request: &[u8], identity: &PeerIdentity) -> Result<String, PkiError> {
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
            .map_err(failed("read a request for a certificate"))?;
        let mut params = params(&host_name(identity.node_id));
        let invalid = "name the node in its certificate";
        params.subject_alt_names = vec![
            SanType::DnsName(host_name(identity.node_id).try_into().map_err(failed(invalid))?),
            SanType::URI(identity.uri().try_into().map_err(failed(invalid))?),
        ];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params
            .signed_by(&request.public_key, &self.issuer)
            .map_err(failed("sign the certificate of a node"))?;
        Ok(certificate.pem())
    }

    /// The authority's certificate, PEM.
    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's key, PEM. Every member gets it.
    pub(crate) fn key_pem(&self) -> &Zeroizing<String> {
        &self.key_pem
    }

    /// The authority's certificate.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }
}

/// The key of one node. It never leaves the node.
pub(crate) struct NodeKey {
    key: KeyPair,
}

impl NodeKey {
    /// A new key.
    pub(crate) fn generate() -> Result<NodeKey, PkiError> {
        Ok(NodeKey { key: KeyPair::generate().map_err(failed("make the node's key"))? })
    }

    /// A request to certify the key: PKCS #10, DER.
    pub(crate) fn request(&self) -> Result<Vec<u8>, PkiError> {
        let request = CertificateParams::default()
            .serialize_request(&self.key)
            .map_err(failed("make a request for a certificate"))?;
        Ok(request.der().to_vec())
    }

    /// PEM.
    pub(crate) fn pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.key.serialize_pem())
    }

    /// A certificate that only this key vouches for, for a node without a cluster.
    pub(crate) fn self_signed(&self) -> Result<CertificateDer<'static>, PkiError> {
        let made = params("rookery node without a cluster").self_signed(&self.key);
        Ok(made.map_err(failed("make a temporary certificate"))?.der().clone())
    }
}

/// The first certificate of PEM text.
pub(crate) fn certificate_from_pem(
    pem: &str,
    what: &'static str,
) -> Result<CertificateDer<'static>, PkiError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_invalid| PkiError::Pem { what })
}

fn params(common_name: &str) -> CertificateParams {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.not_before = rcgen::date_time_ymd(FROM_YEAR, 1, 1);
    params.not_after = rcgen::date_time_ymd(TO_YEAR, 12, 31);
    params
}

fn failed(action: &'static str) -> impl FnOnce(rcgen::Error) -> PkiError {
    move |source| PkiError::Certificate { action, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_gets_the_name_that_the_authority_decides() {
        let authority = Authority::generate("c1").unwrap();
        let authority = Authority::from_pem(authority.certificate_pem(), authority.key_pem()).unwrap();
        let mut asked = CertificateParams::default();
        asked.subject_alt_names = vec![SanType::URI("rookery://c1/node/1".to_owned().try_into().unwrap())];
        asked.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let request = asked.serialize_request(&KeyPair::generate().unwrap()).unwrap();
        let identity = PeerIdentity { cluster_id: "c1".to_owned(), node_id: 2 };
        let pem = authority.certify(request.der(), &identity).unwrap();
        let certificate = certificate_from_pem(&pem, "it").unwrap();
        assert_eq!(PeerIdentity::of_certificate(&certificate).unwrap(), identity);
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
        assert!(!parsed.is_ca());
    }

    #[test]
    fn a_request_must_prove_its_key() {
        let authority = Authority::generate("c1").unwrap();
        let mut request = NodeKey::generate().unwrap().request().unwrap();
        let last = request.len() - 1;
        request[last] ^= 1;
        let identity = PeerIdentity { cluster_id: "c1".to_owned(), node_id: 2 };
        assert!(authority.certify(&request, &identity).is_err());
        assert!(authority.certify(b"nothing", &identity).is_err());
    }

    #[test]
    fn an_authority_names_no_node() {
        let authority = Authority::generate("c1").unwrap();
        assert!(PeerIdentity::of_certificate(authority.certificate()).is_err());
    }
}
