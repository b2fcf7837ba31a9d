//! Topic filters: what a subscription asks for, and whether a topic name matches.

use thiserror::Error;

use super::{TOPIC_BYTES_MAX, TOPIC_LEVELS_MAX, level_count, levels, may_exceed_levels};

/// Why a string is not a topic filter. Answered with 0x80 for this filter only (U-M14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TopicFilterError {
    /// MQTT-4.7.3-1.
    #[error("topic filter is empty")]
    Empty,
    /// MQTT-4.7.3-2. In a packet this is already a violation.
    #[error("topic filter contains U+0000")]
    Nul,
    /// MQTT-4.7.1-3: `a+`, `+a`.
    #[error("wildcard + does not fill its level")]
    SingleLevelNotAlone,
    /// MQTT-4.7.1-2: `a#`, `#a`.
    #[error("wildcard # does not fill its level")]
    MultiLevelNotAlone,
    /// MQTT-4.7.1-2: `#/a`.
    #[error("wildcard # is not the last level")]
    MultiLevelNotLast,
    /// MQTT-4.7.3-3.
    #[error("topic filter is longer than {max} bytes (got {bytes})")]
    TooLong {
        /// Length of the filter in bytes.
        bytes: usize,
        /// [`TOPIC_BYTES_MAX`].
        max: usize,
    },
    /// Limit [`TOPIC_LEVELS_MAX`].
    #[error("topic filter has more than {max} levels (got {levels})")]
    TooManyLevels {
        /// Levels of the filter.
        levels: usize,
        /// [`TOPIC_LEVELS_MAX`].
        max: usize,
    },
}

/// A topic filter that is known to be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter<'a>(&'a str);

impl<'a> TopicFilter<'a> {
    /// Checks and wraps a filter.
    ///
    /// # Errors
    /// As [`validate_topic_filter`].
    pub fn parse(filter: &'a str) -> Result<Self, TopicFilterError> {
        validate_topic_filter(filter).map(|()| Self(filter))
    }

    /// The filter as it was written.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The levels from left to right.
    pub fn levels(self) -> std::str::Split<'a, char> {
        levels(self.0)
    }

    /// Whether it may match more than one topic name.
    pub fn has_wildcard(self) -> bool {
        has_wildcard(self.0)
    }

    /// Whether it matches a topic name, see [`matches()`].
    pub fn matches(self, topic: &str) -> bool {
        matches(self.0, topic)
    }
}

/// Where the filter machine stands inside the current level.
#[derive(Clone, Copy)]
enum Position {
    /// Before its first byte.
    LevelStart,
    /// After an ordinary byte.
    Literal,
    /// After a `+` that opened the level.
    SingleLevel,
    /// After a `#` that opened the level.
    MultiLevel,
}

/// Checks a filter with a machine over its bytes; every illegal step has its own error. Multi-byte
/// characters need no care: none of their bytes is ASCII.
///
/// # Errors
/// The leftmost broken rule; the limits are checked first.
pub fn validate_topic_filter(filter: &str) -> Result<(), TopicFilterError> {
    check_size(filter)?;
    let mut position = Position::LevelStart;
    for byte in filter.bytes() {
        position = match (position, byte) {
            (_, 0) => return Err(TopicFilterError::Nul),
            // Nothing follows `#`; the error tells whether the level or the order is wrong.
            (Position::MultiLevel, b'/') => return Err(TopicFilterError::MultiLevelNotLast),
            (Position::MultiLevel, _) => return Err(TopicFilterError::MultiLevelNotAlone),
            (_, b'/') => Position::LevelStart,
            (Position::LevelStart, b'+') => Position::SingleLevel,
            (Position::LevelStart, b'#') => Position::MultiLevel,
            // A wildcard opens its level or is an error.
            (_, b'#') => return Err(TopicFilterError::MultiLevelNotAlone),
            (_, b'+') | (Position::SingleLevel, _) => return Err(TopicFilterError::SingleLevelNotAlone),
            (Position::LevelStart | Position::Literal, _) => Position::Literal,
        };
    }
    Ok(())
}

fn check_size(filter: &str) -> Result<(), TopicFilterError> {
    let bytes = filter.len();
    if bytes == 0 {
        return Err(TopicFilterError::Empty);
    }
    if bytes > TOPIC_BYTES_MAX {
        return Err(TopicFilterError::TooLong { bytes, max: TOPIC_BYTES_MAX });
    }
    if may_exceed_levels(bytes) {
        let levels = level_count(filter);
        if levels > TOPIC_LEVELS_MAX {
            return Err(TopicFilterError::TooManyLevels { levels, max: TOPIC_LEVELS_MAX });
        }
    }
    Ok(())
}

/// Whether a valid filter contains a wildcard. Without one it matches exactly the topic name of the same
/// bytes.
#[inline]
pub fn has_wildcard(filter: &str) -> bool {
    filter.bytes().fold(false, |found, byte| found | (byte == b'+') | (byte == b'#'))
}

/// MQTT-4.7.2-1: a filter that begins with a wildcard does not match a topic name that begins with `$`.
///
/// Separate, because an index that walks its own tree of levels must apply the same rule at its root.
#[inline]
pub fn hides_dollar_topic(filter: &str, topic: &str) -> bool {
    topic.starts_with('$') && filter.starts_with(['+', '#'])
}

/// Compares a valid filter with a topic name level by level and nothing else: `+` takes exactly one level,
/// `#` takes its parent level and everything below (`X/#` matches `X`, MQTT-4.7.1-2). The rule for names
/// that begin with `$` is left to [`hides_dollar_topic`].
pub fn levels_match(filter: &str, topic: &str) -> bool {
    let mut topic_levels = levels(topic);
    for filter_level in levels(filter) {
        if filter_level == "#" {
            return true;
        }
        match topic_levels.next() {
            Some(topic_level) if filter_level == "+" || filter_level == topic_level => {}
            _ => return false,
        }
    }
    topic_levels.next().is_none()
}

/// Whether a valid filter matches a topic name (MQTT 4.7), the `$` rule included.
pub fn matches(filter: &str, topic: &str) -> bool {
    !hides_dollar_topic(filter, topic) && levels_match(filter, topic)
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
