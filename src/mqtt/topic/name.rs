//! Topic names: what a message is published to.

use thiserror::Error;

use super::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX, level_count, may_exceed_levels};

/// Why a string is not a topic name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TopicNameError {
    /// MQTT-4.7.3-1.
    #[error("topic name is empty")]
    Empty,
    /// MQTT-3.3.2-2.
    #[error("topic name contains the wildcard {wildcard:?}")]
    Wildcard {
        /// The first wildcard: `+` or `#`.
        wildcard: char,
    },
    /// MQTT-4.7.3-2.
    #[error("topic name contains U+0000")]
    Nul,
    /// MQTT-4.7.3-3.
    #[error("topic name is longer than {max} bytes (got {bytes})")]
    TooLong {
        /// Length of the name in bytes.
        bytes: usize,
        /// [`TOPIC_BYTES_MAX`].
        max: usize,
    },
    /// Limit [`TOPIC_LEVELS_MAX`].
    #[error("topic name has more than {max} levels (got {levels})")]
    TooManyLevels {
        /// Levels of the name.
        levels: usize,
        /// [`TOPIC_LEVELS_MAX`].
        max: usize,
    },
}

/// Checks that `topic` may stand in a PUBLISH or as a will topic. Part of every publish: one pass over the
/// bytes without branches, a second one only for names of at least [`TOPIC_LEVELS_MAX`] bytes.
///
/// # Errors
/// The first rule broken, in the order of the variants but for the length.
#[inline]
pub fn validate_topic_name(topic: &str) -> Result<(), TopicNameError> {
    let bytes = topic.as_bytes();
    let forbidden =
        bytes.iter().fold(false, |found, byte| found | (*byte == 0) | (*byte == b'+') | (*byte == b'#'));
    if bytes.is_empty() || forbidden || may_exceed_levels(bytes.len()) {
        return explain(topic);
    }
    Ok(())
}

/// The rare rest of [`validate_topic_name`]: finds out what is wrong, or that a long name is in order.
#[cold]
fn explain(topic: &str) -> Result<(), TopicNameError> {
    let bytes = topic.len();
    if bytes == 0 {
        return Err(TopicNameError::Empty);
    }
    if bytes > TOPIC_BYTES_MAX {
        return Err(TopicNameError::TooLong { bytes, max: TOPIC_BYTES_MAX });
    }
    if let Some(found) = topic.chars().find(|character| matches!(character, '\0' | '+' | '#')) {
        return Err(match found {
            '\0' => TopicNameError::Nul,
            wildcard => TopicNameError::Wildcard { wildcard },
        });
    }
    let levels = level_count(topic);
    if levels > TOPIC_LEVELS_MAX {
        return Err(TopicNameError::TooManyLevels { levels, max: TOPIC_LEVELS_MAX });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_valid() {
        for name in ["a", "/", "//", "a/b/", "$devices/D/events", " ", "\u{feff}a", "д/é", "a\u{1}b"] {
            assert_eq!(validate_topic_name(name), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn a13_a32_wildcards_nul_and_empty_names_are_refused() {
        assert_eq!(validate_topic_name(""), Err(TopicNameError::Empty));
        assert_eq!(validate_topic_name("a\0b"), Err(TopicNameError::Nul));
        for (name, wildcard) in
            [("#", '#'), ("+", '+'), ("a/+/b", '+'), ("a/#", '#'), ("a+", '+'), ("a#b+", '#')]
        {
            assert_eq!(validate_topic_name(name), Err(TopicNameError::Wildcard { wildcard }), "{name:?}");
        }
    }

    #[test]
    fn a27_levels_are_capped() {
        let with_slashes = |slashes| "/".repeat(slashes);
        assert_eq!(validate_topic_name(&with_slashes(TOPIC_LEVELS_MAX - 1)), Ok(()));
        for slashes in [TOPIC_LEVELS_MAX, 65_400] {
            let error = TopicNameError::TooManyLevels { levels: slashes + 1, max: TOPIC_LEVELS_MAX };
            assert_eq!(validate_topic_name(&with_slashes(slashes)), Err(error));
        }
    }

    #[test]
    fn length_is_capped_at_what_the_wire_can_carry() {
        assert_eq!(validate_topic_name(&"a".repeat(TOPIC_BYTES_MAX)), Ok(()));
        let error = TopicNameError::TooLong { bytes: TOPIC_BYTES_MAX + 1, max: TOPIC_BYTES_MAX };
        assert_eq!(validate_topic_name(&"a".repeat(TOPIC_BYTES_MAX + 1)), Err(error));
    }
}
