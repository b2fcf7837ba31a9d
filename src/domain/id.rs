//! Identifiers of resources.
//!
//! One namespace spans registries, devices and brokers (U-D2): the MQTT login carries only an id.

use std::borrow::Borrow;
use std::fmt;

use smol_str::SmolStr;

/// Longest identifier accepted in a request, in characters (`spec/api.md`: every `*_id` field).
pub const ID_CHARACTERS_MAX: usize = 50;

/// Length of the identifiers that this server generates (`spec/domain.md`, Identifiers).
pub const GENERATED_ID_CHARACTERS: usize = 20;

/// Prefix of the identifiers that this server generates (U-D1).
pub const GENERATED_ID_PREFIX: &str = "are";

/// The alphabet of generated identifiers: base32hex in lower case (`spec/domain.md`, Identifiers).
const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text is longer than [`ID_CHARACTERS_MAX`].
    #[error("must have at most {ID_CHARACTERS_MAX} characters (got {characters})")]
    TooLong {
        /// Its length in characters.
        characters: usize,
    },
    /// The text has a character outside `[a-z0-9]` (U-D1).
    #[error("must match [a-z0-9]+ (got {character:?})")]
    BadCharacter {
        /// The first such character.
        character: char,
    },
}

/// Makes the text of a fresh identifier from 17 random bytes (U-D1).
pub fn generate(random: &[u8; GENERATED_ID_CHARACTERS - GENERATED_ID_PREFIX.len()]) -> SmolStr {
    let mut text = String::with_capacity(GENERATED_ID_CHARACTERS);
    text.push_str(GENERATED_ID_PREFIX);
    text.extend(random.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])));
    SmolStr::new(text)
}

/// Checks the form of an identifier (U-D1: `[a-z0-9]{1,50}`).
pub fn check(text: &str) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    let characters = text.chars().count();
    if characters > ID_CHARACTERS_MAX {
        return Err(IdError::TooLong { characters });
    }
    match text.chars().find(|c| !c.is_ascii_lowercase() && !c.is_ascii_digit()) {
        Some(character) => Err(IdError::BadCharacter { character }),
        None => Ok(()),
    }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(SmolStr);

        impl $name {
            /// Wraps a text without checking it: for ids read back from our own storage or just generated.
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(SmolStr::new(text))
            }

            /// Checks and wraps a text from outside.
            ///
            /// # Errors
            /// [`IdError`] if the text is not `[a-z0-9]{1,50}`.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check(text).map(|()| Self::new(text))
            }

            /// The text of the identifier.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

identifier! {
    /// Identifies a registry.
    RegistryId
}
identifier! {
    /// Identifies a device.
    DeviceId
}
identifier! {
    /// Identifies a broker: a free topic space, not this program.
    BrokerId
}
identifier! {
    /// Identifies a password of a registry, device or broker.
    PasswordId
}
identifier! {
    /// Identifies an operation: the record of one change made through the API.
    OperationId
}
identifier! {
    /// Identifies a data stream export of a registry.
    ExportId
}
identifier! {
    /// Identifies an API token; also the subject that `created_by` of an operation names.
    TokenId
}
identifier! {
    /// Identifies a folder: an opaque owner label of registries and brokers.
    FolderId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_have_the_documented_form() {
        let id = generate(&std::array::from_fn(|i| u8::try_from(i * 15).expect("below 256")));
        assert_eq!(id.len(), GENERATED_ID_CHARACTERS);
        assert!(id.starts_with("are"));
        assert_eq!(check(&id), Ok(()));
    }

    #[test]
    fn foreign_prefixes_are_accepted_and_other_alphabets_are_not() {
        assert!(DeviceId::parse("b91ki3851hab9m0l68je").is_ok());
        assert_eq!(DeviceId::parse(""), Err(IdError::Empty));
        assert_eq!(DeviceId::parse("a/b"), Err(IdError::BadCharacter { character: '/' }));
        assert_eq!(DeviceId::parse(&"a".repeat(51)), Err(IdError::TooLong { characters: 51 }));
    }
}
