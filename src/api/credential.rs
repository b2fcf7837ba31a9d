//! From uploaded credentials to what the catalog keeps: certificates are read, passwords checked and hashed.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::error::ApiError;
use super::validate::Violation;
use crate::domain::catalog::{NewCertificate, NewPassword};
use crate::domain::credential::{Fingerprint, check_password};
use crate::domain::id::PasswordId;
use crate::verify::certificate::parse_pem;
use crate::verify::password::PasswordVerifier;

/// Most certificates in one create request; the catalog's own limit per entity is usually lower (U-D8).
pub const CERTIFICATES_PER_REQUEST_MAX: usize = 100;

/// Reads a certificate text: the first certificate in it is the identity, the text is kept as it is (U-A4, U-P10).
///
/// # Errors
/// A violation of `field` if the text is empty, too long or holds no certificate.
pub fn read_certificate(field: &str, certificate_data: &str) -> Result<NewCertificate, Violation> {
    if certificate_data.is_empty() {
        return Err(Violation::new(field, "must not be empty"));
    }
    let parsed = parse_pem(certificate_data).map_err(|error| Violation::new(field, error))?;
    Ok(NewCertificate {
        digest: parsed.sha256,
        fingerprint: Fingerprint::from_sha1(&parsed.sha1),
        certificate_data: Arc::from(certificate_data),
    })
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

/// Checks a new password (U-A6) and hashes it.
///
/// # Errors
/// A violation of `password`, or the refusal of an overloaded or closing hash pool.
pub async fn hash_password(
    verifier: &Arc<PasswordVerifier>,
    id: PasswordId,
    password: String,
) -> Result<NewPassword, ApiError> {
    let password = Zeroizing::new(password);
    check_password(&password).map_err(|error| Violation::new("password", error))?;
    let hash = verifier.hash(password).await?;
    Ok(NewPassword { id, hash: Arc::from(hash) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_text_is_kept_as_it_is() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("certificate");
        let text = format!("Some text before\r\n{}\n\n", made.cert.pem());
        let read = read_certificate("certificate_data", &text).expect("good certificate");
        assert_eq!(&*read.certificate_data, text);
        assert_eq!(read.fingerprint.as_str().len(), 40);
    }

    #[test]
    fn bad_certificates_are_refused_by_place() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("certificate");
        let violation = read_certificates([made.cert.pem().as_str(), "x"].into_iter()).expect_err("bad text");
        assert_eq!(violation.field, "certificates[1].certificate_data");
        let violation = read_certificate("certificate_data", "").expect_err("empty text");
        assert_eq!(violation.to_string(), "certificate_data: must not be empty");
    }
}
