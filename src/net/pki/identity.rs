//! A certificate chain with its private key, as the TLS listeners use it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::{PkiError, files};

/// The server's certificate chain and key. `Debug` shows no key.
#[derive(Clone)]
pub struct ServerIdentity {
    key: Arc<CertifiedKey>,
    certificate_pem: Vec<u8>,
    key_pem: Zeroizing<Vec<u8>>,
    not_after: SystemTime,
}

impl ServerIdentity {
    /// The pair in the form rustls takes.
    pub fn key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    /// The certificate chain as PEM, leaf first.
    pub fn certificate_pem(&self) -> &[u8] {
        &self.certificate_pem
    }

    /// The private key as PEM: a secret.
    pub fn key_pem(&self) -> &[u8] {
        &self.key_pem
    }

    /// When the leaf certificate expires; worth a metric and a warning.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The pair from PEM texts; the paths are for error messages only.
    pub(super) fn from_pem(
        certificate_pem: Vec<u8>,
        key_pem: Zeroizing<Vec<u8>>,
        certificate_path: &Path,
        key_path: &Path,
    ) -> Result<Self, PkiError> {
        let chain = CertificateDer::pem_slice_iter(&certificate_pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| pem_error(certificate_path, &error))?;
        let leaf = chain.first().ok_or_else(|| PkiError::NoCertificate(certificate_path.to_owned()))?;
        let not_after = not_after(leaf).ok_or_else(|| PkiError::NotX509(certificate_path.to_owned()))?;
        let private_key = match PrivateKeyDer::from_pem_slice(&key_pem) {
            Ok(key) => key,
            Err(pem::Error::NoItemsFound) => return Err(PkiError::NoKey(key_path.to_owned())),
            Err(error) => return Err(pem_error(key_path, &error)),
        };
        let provider = rustls::crypto::ring::default_provider();
        let key = CertifiedKey::from_der(chain, private_key, &provider).map_err(|error| {
            PkiError::Mismatch { certificate: certificate_path.to_owned(), key: key_path.to_owned(), error }
        })?;
        Ok(Self { key: Arc::new(key), certificate_pem, key_pem, not_after })
    }
}

impl fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIdentity")
            .field("certificates", &self.key.cert.len())
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Loads the certificate chain (PEM, leaf first) and the key (PEM: PKCS#8, PKCS#1 or SEC1) that the
/// operator gave (`--tls-cert`, `--tls-key`).
pub fn load(certificate: &Path, key: &Path) -> Result<ServerIdentity, PkiError> {
    let certificate_pem = files::read(certificate)?;
    let key_pem = Zeroizing::new(files::read(key)?);
    ServerIdentity::from_pem(certificate_pem, key_pem, certificate, key)
}

/// The end of validity of a certificate, or `None` if it is not X.509.
fn not_after(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let seconds = parsed.validity().not_after.timestamp();
    let after_epoch = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    UNIX_EPOCH.checked_add(after_epoch)
}

fn pem_error(path: &Path, error: &pem::Error) -> PkiError {
    PkiError::Pem { path: path.to_owned(), reason: error.to_string() }
}
