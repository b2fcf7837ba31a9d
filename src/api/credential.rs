//! From uploaded credentials to what the catalog keeps: certificates are read, passwords checked and hashed.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::PasswordHasher;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::task;
use x509_parser::pem::Pem;
use zeroize::Zeroizing;

use super::error::ApiError;
use super::validate::Violation;
use crate::domain::catalog::{NewCertificate, NewPassword};
use crate::domain::credential::{Fingerprint, check_password};
use crate::domain::id::PasswordId;

/// Longest certificate text, in bytes. A chain of a few RSA-4096 certificates has about 8 KiB.
pub const CERTIFICATE_DATA_BYTES_MAX: usize = 64 * 1024;

/// Most certificates in one create request; the catalog's own limit per entity is usually lower (U-D8).
pub const CERTIFICATES_PER_REQUEST_MAX: usize = 100;

/// Password hashes computed at a time. Each takes about 19 MiB and some tens of milliseconds; further requests wait.
const HASHES_IN_PROGRESS_MAX: usize = 2;

/// Reads a certificate text: the first certificate in it is the identity, the text is kept as it is (U-A4, U-P10).
/// Neither validity nor key length nor version matters (U-A2).
///
/// # Errors
/// A violation of `field` if the text is empty, too long or holds no certificate.
pub fn read_certificate(field: &str, certificate_data: &str) -> Result<NewCertificate, Violation> {
    if certificate_data.is_empty() {
        return Err(Violation::new(field, "must not be empty"));
    }
    if certificate_data.len() > CERTIFICATE_DATA_BYTES_MAX {
        let rule =
            format!("must have at most {CERTIFICATE_DATA_BYTES_MAX} bytes (got {})", certificate_data.len());
        return Err(Violation::new(field, rule));
    }
    let der = first_certificate(certificate_data)
        .ok_or_else(|| Violation::new(field, "must be the PEM text of an X.509 certificate"))?;
    Ok(NewCertificate {
        digest: Sha256::digest(&der).into(),
        fingerprint: Fingerprint::from_sha1(&Sha1::digest(&der).into()),
        certificate_data: Arc::from(certificate_data),
    })
}

/// The DER form of the first certificate of a PEM text. Other blocks and text between blocks are skipped.
fn first_certificate(text: &str) -> Option<Vec<u8>> {
    let block = Pem::iter_from_buffer(text.as_bytes())
        .map_while(Result::ok)
        .find(|block| matches!(block.label.as_str(), "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE"))?;
    let (rest, _) = x509_parser::parse_x509_certificate(&block.contents).ok()?;
    // A trusted certificate has trust settings behind the certificate; TLS never shows them.
    let length = block.contents.len() - rest.len();
    Some(block.contents[..length].to_vec())
}

/// Reads the certificates of a create request.
///
/// # Errors
/// A violation that names the first bad one.
pub fn read_certificates<'a>(
    texts: impl ExactSizeIterator<Item = &'a str>,
) -> Result<Vec<NewCertificate>, Violation> {
    if texts.len() > CERTIFICATES_PER_REQUEST_MAX {
        let rule = format!("must have at most {CERTIFICATES_PER_REQUEST_MAX} entries (got {})", texts.len());
        return Err(Violation::new("certificates", rule));
    }
    texts
        .enumerate()
        .map(|(index, text)| read_certificate(&format!("certificates[{index}].certificate_data"), text))
        .collect()
}

/// Hashes passwords, a few at a time and away from the threads that serve calls.
#[derive(Debug, Clone)]
pub struct PasswordHashing {
    turns: Arc<Semaphore>,
}

impl Default for PasswordHashing {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(HASHES_IN_PROGRESS_MAX)) }
    }
}

impl PasswordHashing {
    /// Checks a new password and hashes it with argon2id and a fresh salt.
    ///
    /// # Errors
    /// A violation of `password` (U-A6), or [`ApiError::PasswordHashing`] if the system gives no random salt.
    pub async fn hash(&self, id: PasswordId, password: String) -> Result<NewPassword, ApiError> {
        let password = Zeroizing::new(password);
        check_password(&password).map_err(|error| Violation::new("password", error))?;
        let turn = self.turns.clone().acquire_owned().await.expect("the semaphore is never closed");
        let hashed = task::spawn_blocking(move || {
            let _turn = turn;
            Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string())
        });
        let hash = hashed.await.expect("hashing does not panic")?;
        Ok(NewPassword { id, hash: Arc::from(hash) })
    }
}

#[cfg(test)]
mod tests;
