//! Certificates and passwords of registries, devices and brokers (`spec/auth.md`).
//!
//! Parsing PEM and hashing passwords cost time and need libraries; both happen before a command is made. Here are
//! the records and the rules about their form.

use std::fmt;
use std::sync::Arc;

use smol_str::SmolStr;

use super::id::PasswordId;
use super::timestamp::Timestamp;

/// Shortest password, in characters (`spec/auth.md`, Password authentication).
pub const PASSWORD_CHARACTERS_MIN: usize = 14;

/// Longest password, in bytes (U-A6).
pub const PASSWORD_BYTES_MAX: usize = 128;

/// How many of the four character groups a password must use.
pub const PASSWORD_GROUPS_MIN: usize = 3;

/// SHA-256 of a certificate's DER form: what the certificate is known by inside (U-A5).
pub type CertificateDigest = [u8; 32];

/// The public identifier of a certificate: 40 lower-case hex digits, SHA-1 of the DER form (U-A5).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(SmolStr);

/// A text cannot be a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// Not 40 hex digits after removing `:`.
    #[error("must be 40 hex digits, optionally separated by ':' (got {text:?})")]
    BadForm {
        /// The text, shortened to 64 characters.
        text: String,
    },
}

impl Fingerprint {
    /// Formats a SHA-1 digest.
    pub fn from_sha1(digest: &[u8; 20]) -> Self {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(40);
        for byte in digest {
            write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        }
        Self(SmolStr::new(text))
    }

    /// Reads a fingerprint as a user may write it: upper case and `:` separators are accepted (U-A5).
    ///
    /// # Errors
    /// [`FingerprintError`] if the rest is not 40 hex digits.
    pub fn parse(text: &str) -> Result<Self, FingerprintError> {
        let digits: String = text.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
        if digits.len() == 40 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(Self(SmolStr::new(digits)));
        }
        Err(FingerprintError::BadForm { text: text.chars().take(64).collect() })
    }

    /// Wraps a text that was checked before: one read back from our own storage.
    pub fn from_checked(text: impl AsRef<str>) -> Self {
        Self(SmolStr::new(text))
    }

    /// The 40 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A certificate of an entity. Whoever proves possession of its key is that entity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Certificate {
    /// What it is looked up by.
    pub digest: CertificateDigest,
    /// What the API calls it.
    pub fingerprint: Fingerprint,
    /// The uploaded text, returned byte for byte (`spec/domain.md`, Certificate).
    pub certificate_data: Arc<str>,
    /// When it was added.
    pub created_at: Timestamp,
}

/// A password of an entity, as its salted hash only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Password {
    /// Names the password in the API.
    pub id: PasswordId,
    /// The hash in PHC string format, opaque here.
    pub hash: Arc<str>,
    /// When it was added.
    pub created_at: Timestamp,
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Password")
            .field("id", &self.id)
            .field("created_at", &self.created_at)
            .finish_non_exhaustive()
    }
}

/// Which credential a session authenticated with; removing it ends the session (U-A11).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CredentialReference {
    /// A certificate.
    Certificate(CertificateDigest),
    /// A password.
    Password(PasswordId),
}

/// Why a password is refused. The password itself is never part of the error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Shorter than [`PASSWORD_CHARACTERS_MIN`] characters.
    #[error("must have at least {PASSWORD_CHARACTERS_MIN} characters (got {characters})")]
    TooShort {
        /// Its length in characters.
        characters: usize,
    },
    /// Longer than [`PASSWORD_BYTES_MAX`] bytes.
    #[error("must have at most {PASSWORD_BYTES_MAX} bytes (got {bytes})")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// Too few of the groups: lower-case Latin, upper-case Latin, digits, special characters.
    #[error(
        "must have characters of at least {PASSWORD_GROUPS_MIN} of the groups \
         lower-case letters, upper-case letters, digits, special characters (got {groups})"
    )]
    TooPlain {
        /// How many groups it uses.
        groups: usize,
    },
}

/// Checks the form of a new password (U-A6). Characters outside printable ASCII count in no group.
///
/// # Errors
/// [`PasswordError`] naming the broken rule.
pub fn check_password(password: &str) -> Result<(), PasswordError> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(PasswordError::TooLong { bytes: password.len() });
    }
    let characters = password.chars().count();
    if characters < PASSWORD_CHARACTERS_MIN {
        return Err(PasswordError::TooShort { characters });
    }
    let is_special = |c: char| c.is_ascii_punctuation() || c == ' ';
    let groups = [
        password.contains(|c: char| c.is_ascii_lowercase()),
        password.contains(|c: char| c.is_ascii_uppercase()),
        password.contains(|c: char| c.is_ascii_digit()),
        password.contains(is_special),
    ];
    let groups = groups.into_iter().filter(|used| *used).count();
    if groups < PASSWORD_GROUPS_MIN {
        return Err(PasswordError::TooPlain { groups });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn official_sample_passwords_pass() {
        for password in ["Passw0rdForDevice", "0123456789_abcd", "1Test2Sample3Password!"] {
            assert_eq!(check_password(password), Ok(()), "{password}");
        }
    }

    #[test]
    fn short_long_and_plain_passwords_are_refused() {
        assert_eq!(check_password("my-password1"), Err(PasswordError::TooShort { characters: 12 }));
        assert_eq!(check_password("onlylowercase1234"), Err(PasswordError::TooPlain { groups: 2 }));
        assert_eq!(check_password(&"Aa1".repeat(43)), Err(PasswordError::TooLong { bytes: 129 }));
        // Letters outside ASCII are allowed and count in no group.
        assert_eq!(check_password("парольпароль12"), Err(PasswordError::TooPlain { groups: 1 }));
    }

    #[test]
    fn fingerprints_are_read_in_any_usual_notation() {
        let plain = Fingerprint::from_sha1(&[0xab; 20]);
        assert_eq!(plain.as_str(), "ab".repeat(20));
        assert_eq!(Fingerprint::parse(&["AB"; 20].join(":")), Ok(plain));
        assert!(Fingerprint::parse("ab").is_err());
        assert!(Fingerprint::parse(&"zz".repeat(20)).is_err());
    }

    #[test]
    fn debug_output_of_a_password_hides_its_hash() {
        let password = Password {
            id: PasswordId::new("p"),
            hash: "$argon2id$secret".into(),
            created_at: Timestamp::default(),
        };
        assert!(!format!("{password:?}").contains("argon2id"));
    }
}
