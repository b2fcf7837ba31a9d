//! Reading certificates: the first one of a PEM text, its fingerprints, and what its key is good for.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Longest PEM text read, in bytes; a chain of several certificates fits.
pub const PEM_BYTES_MAX: usize = 64 * 1024;

/// Largest certificate read, in bytes of DER. The TLS handshake has the same limit, so a certificate
/// that can be added can also be shown.
pub const DER_BYTES_MAX: usize = 8 * 1024;

/// Why a text holds no usable certificate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// The text is longer than [`PEM_BYTES_MAX`].
    #[error("certificate text must have at most {PEM_BYTES_MAX} bytes (got {0})")]
    TextTooLong(usize),
    /// No PEM section CERTIFICATE in the text (U-A4).
    #[error("certificate text must contain a PEM section CERTIFICATE (found none)")]
    NoSection,
    /// The first PEM section cannot be decoded.
    #[error("certificate text must be valid PEM: {0}")]
    BadPem(String),
    /// The certificate is larger than [`DER_BYTES_MAX`].
    #[error("certificate must have at most {DER_BYTES_MAX} bytes of DER (got {0})")]
    TooLarge(usize),
    /// The section is not an X.509 certificate.
    #[error("certificate must be valid X.509")]
    NotX509,
}

/// A certificate that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedCertificate {
    /// Its DER form.
    pub der: Vec<u8>,
    /// SHA-1 of the DER form: the public fingerprint (U-A5).
    pub sha1: [u8; 20],
    /// SHA-256 of the DER form: what it is looked up by (U-A5).
    pub sha256: [u8; 32],
    /// Start of validity, seconds since 1970; it does not matter unless validity is enforced (U-A2).
    pub not_before_s: i64,
    /// End of validity, seconds since 1970; likewise.
    pub not_after_s: i64,
    /// What the key is good for; `None` if no TLS handshake can prove possession of it.
    pub key: Option<KeyKind>,
}

/// The kinds of public key whose signatures can be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA with 2048..=8192 bits.
    Rsa,
    /// RSA with 1024..2048 bits: with TLS 1.2 only.
    ShortRsa,
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// Ed25519.
    Ed25519,
}

/// Reads the first certificate of a PEM text (U-A4). Text around the sections is ignored.
pub fn parse_pem(text: &str) -> Result<ParsedCertificate, CertificateError> {
    if text.len() > PEM_BYTES_MAX {
        return Err(CertificateError::TextTooLong(text.len()));
    }
    let der = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        pem::Error::NoItemsFound => CertificateError::NoSection,
        other => CertificateError::BadPem(other.to_string()),
    })?;
    parse_der(&der)
}

/// Reads a certificate in DER form.
pub fn parse_der(der: &[u8]) -> Result<ParsedCertificate, CertificateError> {
    if der.len() > DER_BYTES_MAX {
        return Err(CertificateError::TooLarge(der.len()));
    }
    let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| CertificateError::NotX509)?;
    if !rest.is_empty() {
        // Otherwise one certificate could be added many times with different digests.
        return Err(CertificateError::NotX509);
    }
    Ok(ParsedCertificate {
        der: der.to_vec(),
        sha1: Sha1::digest(der).into(),
        sha256: sha256(der),
        not_before_s: parsed.validity().not_before.timestamp(),
        not_after_s: parsed.validity().not_after.timestamp(),
        key: key_kind(parsed.public_key()),
    })
}

/// SHA-256 of a certificate's DER form, the key to look its owner up.
pub fn sha256(der: &[u8]) -> [u8; 32] {
    Sha256::digest(der).into()
}

/// The kind of a public key, or `None` for one whose signatures cannot be verified.
pub fn key_kind(spki: &SubjectPublicKeyInfo<'_>) -> Option<KeyKind> {
    const ED25519: &str = "1.3.101.112";
    const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";
    const P256: &str = "1.2.840.10045.3.1.7";
    const P384: &str = "1.3.132.0.34";
    const RSA_ENCRYPTION: &str = "1.2.840.113549.1.1.1";

    match spki.algorithm.algorithm.to_id_string().as_str() {
        ED25519 => Some(KeyKind::Ed25519),
        EC_PUBLIC_KEY => {
            let curve = spki.algorithm.parameters.as_ref()?.as_oid().ok()?;
            match curve.to_id_string().as_str() {
                P256 => Some(KeyKind::EcdsaP256),
                P384 => Some(KeyKind::EcdsaP384),
                _ => None,
            }
        }
        RSA_ENCRYPTION => match spki.parsed().ok()? {
            PublicKey::RSA(rsa) => match modulus_bits(rsa.modulus) {
                1024..=2047 => Some(KeyKind::ShortRsa),
                2048..=8192 => Some(KeyKind::Rsa),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// Length in bits of a big-endian integer, leading zero bytes not counted.
fn modulus_bits(modulus: &[u8]) -> usize {
    let significant = modulus.iter().skip_while(|byte| **byte == 0);
    match significant.clone().next() {
        Some(first) => significant.count() * 8 - first.leading_zeros() as usize,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> (String, Vec<u8>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.cert.der().to_vec())
    }

    #[test]
    fn the_first_certificate_of_a_text_counts() {
        let ((first, der), (second, _)) = (certificate(), certificate());
        let text = format!("subject=CN = localhost\n{first}{second}");
        let parsed = parse_pem(&text).unwrap();
        assert_eq!(parsed.der, der);
        assert_eq!(parsed.sha256, sha256(&der));
        assert_eq!(parsed.key, Some(KeyKind::EcdsaP256));
    }

    #[test]
    fn a_key_before_the_certificate_is_skipped() {
        let (pem, der) = certificate();
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        assert_eq!(parse_pem(&format!("{key}{pem}")).unwrap().der, der);
    }

    #[test]
    fn texts_without_a_certificate_are_refused() {
        assert_eq!(parse_pem(""), Err(CertificateError::NoSection));
        assert_eq!(parse_pem("********"), Err(CertificateError::NoSection));
        let not_x509 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(parse_pem(not_x509), Err(CertificateError::NotX509));
        let cut = certificate().0.replace("-----END CERTIFICATE-----", "");
        assert!(matches!(parse_pem(&cut), Err(CertificateError::BadPem(_) | CertificateError::NoSection)));
        assert_eq!(parse_pem(&" ".repeat(70_000)), Err(CertificateError::TextTooLong(70_000)));
        let mut padded = certificate().1;
        padded.push(0);
        assert_eq!(parse_der(&padded), Err(CertificateError::NotX509), "one certificate, one digest");
    }
}
