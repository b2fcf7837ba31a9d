//! Proof of possession for client certificates, and nothing else.
//!
//! A client may show any certificate or none (spec/auth.md, "TLS facts a server must respect"):
//! expired, not yet valid, X.509 v1, without a SAN, `CA:TRUE`, signed by anybody. Identity is
//! decided later, at CONNECT, by looking the whole certificate up. The handshake only has to prove
//! that the peer holds the private key, so this module takes the public key out of the certificate
//! and verifies the CertificateVerify signature with it. No chain is built and no name is read.
//!
//! What can be verified (U-A2):
//!
//! | Key | TLS 1.2 | TLS 1.3 |
//! | --- | --- | --- |
//! | RSA 2048..8192 bits | PKCS#1 and PSS with SHA-256, SHA-384, SHA-512 | PSS with SHA-256, SHA-384, SHA-512 |
//! | RSA 1024..2047 bits | PKCS#1 with SHA-256 and SHA-512 | cannot work: TLS 1.3 demands PSS, and *ring* verifies PSS from 2048 bits on |
//! | ECDSA P-256, P-384 | SHA-256, SHA-384 | P-256 with SHA-256, P-384 with SHA-384 |
//! | Ed25519 | yes | yes |
//!
//! Cannot work at all: RSA below 1024 bits (RSA-512 is broken in practice), RSA above 8192 bits,
//! P-521 and other curves, DSA, keys marked id-RSASSA-PSS, and SHA-1 signatures. Owners of such
//! certificates log in with a password, or the client omits its certificate. An RSA-1024 device that
//! speaks TLS 1.3 must be limited to TLS 1.2 (the server can do that too, see
//! [`TlsSettings::tls13`](crate::net::tls::TlsSettings)).

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::verify::certificate::{self, KeyKind};

/// Largest leaf certificate accepted in a handshake, in bytes of DER. A vendor certificate with an
/// RSA-8192 key has about 2.5 kB. A larger one fails the handshake (hostile A6).
pub const LEAF_BYTES_MAX: usize = certificate::DER_BYTES_MAX;

/// Largest certificate chain accepted in a handshake, in bytes of DER, leaf included. rustls keeps
/// the whole chain for the life of the connection, so this bounds memory per connection as well.
/// rustls itself refuses handshake messages above 64 KiB before this check.
pub const CHAIN_BYTES_MAX: usize = 16 * 1024;

/// Most certificates accepted in one handshake, leaf included.
pub const CHAIN_CERTIFICATES_MAX: usize = 8;

/// Which protocol version a signature was made for: TLS 1.3 binds the curve and forbids PKCS#1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tls12,
    Tls13,
}

/// The verifier: requests a certificate, never requires one, accepts every certificate whose owner
/// signs with its key.
#[derive(Debug)]
pub struct AnyClientCertificate {
    schemes: Vec<SignatureScheme>,
}

impl AnyClientCertificate {
    /// The verifier for connections that may negotiate TLS 1.3.
    pub fn new() -> Self {
        let mut schemes = Self::signature_schemes_without_pss();
        schemes.splice(
            3..3,
            [
                SignatureScheme::RSA_PSS_SHA256,
                SignatureScheme::RSA_PSS_SHA384,
                SignatureScheme::RSA_PSS_SHA512,
            ],
        );
        Self { schemes }
    }

    /// The verifier for clients that offer TLS 1.2 at most. It does not announce RSA-PSS: OpenSSL
    /// prefers PSS over PKCS#1 when it is announced, and PSS signatures of RSA keys below 2048 bits
    /// cannot be verified here, while their PKCS#1 signatures can.
    pub fn without_pss() -> Self {
        Self { schemes: Self::signature_schemes_without_pss() }
    }

    fn signature_schemes_without_pss() -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA512,
            SignatureScheme::RSA_PKCS1_SHA384,
        ]
    }
}

impl Default for AnyClientCertificate {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientCertVerifier for AnyClientCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// Empty, so that every client offers whatever certificate it has.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    /// Checks sizes and that the leaf holds a key that can be verified at all; nothing else about
    /// the certificate carries meaning (spec/auth.md, fact 3).
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain_bytes = end_entity.len() + intermediates.iter().map(|der| der.len()).sum::<usize>();
        let too_large = end_entity.len() > LEAF_BYTES_MAX
            || chain_bytes > CHAIN_BYTES_MAX
            || intermediates.len() >= CHAIN_CERTIFICATES_MAX;
        if too_large {
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        with_public_key(end_entity, |_, _| Ok(()))?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(Protocol::Tls12, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(Protocol::Tls13, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

impl AnyClientCertificate {
    fn verify(
        &self,
        protocol: Protocol,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !self.schemes.contains(&dss.scheme) {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        with_public_key(cert, |kind, key| {
            let algorithm = algorithm_for(protocol, kind, dss.scheme)
                .ok_or(Error::InvalidCertificate(CertificateError::BadSignature))?;
            UnparsedPublicKey::new(algorithm, key)
                .verify(message, dss.signature())
                .map_err(|_| Error::InvalidCertificate(CertificateError::BadSignature))
        })?;
        Ok(HandshakeSignatureValid::assertion())
    }
}

/// The one table of what is verified with what; `None` means the pair is refused.
fn algorithm_for(
    protocol: Protocol,
    kind: KeyKind,
    scheme: SignatureScheme,
) -> Option<&'static dyn VerificationAlgorithm> {
    let algorithm: &'static dyn VerificationAlgorithm = match (kind, scheme) {
        (KeyKind::EcdsaP256, SignatureScheme::ECDSA_NISTP256_SHA256) => &signature::ECDSA_P256_SHA256_ASN1,
        (KeyKind::EcdsaP384, SignatureScheme::ECDSA_NISTP384_SHA384) => &signature::ECDSA_P384_SHA384_ASN1,
        (KeyKind::Ed25519, SignatureScheme::ED25519) => &signature::ED25519,
        (KeyKind::Rsa, SignatureScheme::RSA_PSS_SHA256) => &signature::RSA_PSS_2048_8192_SHA256,
        (KeyKind::Rsa, SignatureScheme::RSA_PSS_SHA384) => &signature::RSA_PSS_2048_8192_SHA384,
        (KeyKind::Rsa, SignatureScheme::RSA_PSS_SHA512) => &signature::RSA_PSS_2048_8192_SHA512,
        // Below this line: pairs that only TLS 1.2 allows, where the scheme does not bind the curve
        // and PKCS#1 is still permitted (RFC 8446 section 4.2.3).
        _ if protocol == Protocol::Tls13 => return None,
        (KeyKind::EcdsaP256, SignatureScheme::ECDSA_NISTP384_SHA384) => &signature::ECDSA_P256_SHA384_ASN1,
        (KeyKind::EcdsaP384, SignatureScheme::ECDSA_NISTP256_SHA256) => &signature::ECDSA_P384_SHA256_ASN1,
        (KeyKind::Rsa, SignatureScheme::RSA_PKCS1_SHA256) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (KeyKind::Rsa, SignatureScheme::RSA_PKCS1_SHA384) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (KeyKind::Rsa, SignatureScheme::RSA_PKCS1_SHA512) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (KeyKind::ShortRsa, SignatureScheme::RSA_PKCS1_SHA256) => {
            &signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY
        }
        (KeyKind::ShortRsa, SignatureScheme::RSA_PKCS1_SHA512) => {
            &signature::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY
        }
        _ => return None,
    };
    Some(algorithm)
}

/// Calls `use_key` with the kind and the raw public key of the certificate: the bit string of the
/// SPKI, which is what *ring* takes for all four families.
fn with_public_key(
    der: &CertificateDer<'_>,
    use_key: impl FnOnce(KeyKind, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let bad_encoding = || Error::InvalidCertificate(CertificateError::BadEncoding);
    let (_, parsed) = X509Certificate::from_der(der).map_err(|_| bad_encoding())?;
    let spki = parsed.public_key();
    let key = spki.subject_public_key.data.as_ref();
    let kind = certificate::key_kind(spki).ok_or(Error::InvalidCertificate(
        CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: Vec::new(),
            supported_algorithms: Vec::new(),
        },
    ))?;
    use_key(kind, key)
}
