//! The server's own certificate: made on first start, or given by the operator.
//!
//! [`identity`] loads a certificate and its key from PEM files; [`authority`] makes the private CA
//! and the server certificate of a fresh data directory; [`files`] writes them so that a crash leaves
//! either the old file or the new one.
//!
//! | File in `<data-dir>/pki/` | Content | Mode |
//! | --- | --- | --- |
//! | `ca.pem` | certificate of the private CA: what clients must trust | 0644 |
//! | `ca.key` | its key | 0600 |
//! | `server.pem` | server certificate, then the CA's | 0644 |
//! | `server.key` | its key | 0600 |

pub mod authority;
pub mod files;
pub mod identity;

pub use authority::{ServerNames, open_or_create};
pub use identity::{ServerIdentity, load};

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why the server has no usable certificate. Every message names the file and what is expected of it.
#[derive(Debug, Error)]
pub enum PkiError {
    /// A file could not be read or written.
    #[error("cannot {action} {}: {error}", path.display())]
    File {
        /// `read`, `write` or `create`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A certificate file without a certificate.
    #[error("{}: expected at least one PEM section CERTIFICATE, found none", .0.display())]
    NoCertificate(PathBuf),
    /// A key file without a key.
    #[error(
        "{}: expected one PEM section PRIVATE KEY (PKCS#8), RSA PRIVATE KEY (PKCS#1) or EC PRIVATE KEY \
         (SEC1), not encrypted, found none",
        .0.display()
    )]
    NoKey(PathBuf),
    /// A PEM section that cannot be decoded.
    #[error("{}: PEM cannot be decoded: {reason}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate that is not X.509.
    #[error("{}: certificate is not valid X.509 DER", .0.display())]
    NotX509(PathBuf),
    /// Certificate and key do not belong together, or the key's algorithm is not supported.
    #[error(
        "{} and {}: the key must be RSA (2048 bits or more), ECDSA P-256 or P-384, or Ed25519, and belong to \
         the first certificate: {error}",
        certificate.display(),
        key.display()
    )]
    Mismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What the TLS library said.
        error: rustls::Error,
    },
    /// A CA of which one of the two files is missing. It is not replaced: clients trust it.
    #[error(
        "{} exists but {} does not: restore it, or remove the directory to make a new CA that clients must \
         be given again",
        present.display(),
        missing.display()
    )]
    HalfAuthority {
        /// The file that is there.
        present: PathBuf,
        /// The file that is not.
        missing: PathBuf,
    },
    /// A configured server name that cannot stand in a certificate.
    #[error("server name {0:?} must be a DNS name or an IP address")]
    ServerName(String),
    /// The certificate library failed.
    #[error("cannot make a certificate for {}: {error}", path.display())]
    Issue {
        /// The file that was to be written.
        path: PathBuf,
        /// What the library said.
        error: rcgen::Error,
    },
}
