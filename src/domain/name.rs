//! Names and descriptions of resources (`spec/domain.md`, Names: the rule of the API, not of the generic CLI text).

/// Longest name, in characters. An empty name is allowed and exempt from uniqueness (U-D4).
pub const NAME_CHARACTERS_MAX: usize = 50;

/// Longest description, in characters.
pub const DESCRIPTION_CHARACTERS_MAX: usize = 256;

/// Why a text is not a name or not a description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is longer than allowed.
    #[error("must have at most {characters_max} characters (got {characters})")]
    TooLong {
        /// Its length in characters.
        characters: usize,
        /// The limit.
        characters_max: usize,
    },
    /// A name has a character outside `[a-zA-Z0-9_-]`.
    #[error("must match [a-zA-Z0-9_-]* (got {character:?})")]
    BadCharacter {
        /// The first such character.
        character: char,
    },
}

/// Checks the name of a registry, device, broker, export or token: `[a-zA-Z0-9_-]{0,50}`.
///
/// # Errors
/// [`NameError`] naming the broken rule.
pub fn check_name(text: &str) -> Result<(), NameError> {
    check_length(text, NAME_CHARACTERS_MAX)?;
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '_' && *c != '-') {
        Some(character) => Err(NameError::BadCharacter { character }),
        None => Ok(()),
    }
}

/// Checks a description: any text of at most 256 characters.
///
/// # Errors
/// [`NameError::TooLong`].
pub fn check_description(text: &str) -> Result<(), NameError> {
    check_length(text, DESCRIPTION_CHARACTERS_MAX)
}

fn check_length(text: &str, characters_max: usize) -> Result<(), NameError> {
    let characters = text.chars().count();
    if characters > characters_max {
        return Err(NameError::TooLong { characters, characters_max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn official_sample_names_pass_and_the_limits_hold() {
        for name in ["", "iot_registry_name", "iot_device_01_name", "some_name", "A-1", &"a".repeat(50)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        let too_long = NameError::TooLong { characters: 51, characters_max: 50 };
        assert_eq!(check_name(&"a".repeat(51)), Err(too_long));
        assert_eq!(check_name("a b"), Err(NameError::BadCharacter { character: ' ' }));
        assert_eq!(check_name("имя"), Err(NameError::BadCharacter { character: 'и' }));
    }

    #[test]
    fn descriptions_count_characters_not_bytes() {
        assert_eq!(check_description(&"ж".repeat(256)), Ok(()));
        assert!(check_description(&"ж".repeat(257)).is_err());
    }
}
