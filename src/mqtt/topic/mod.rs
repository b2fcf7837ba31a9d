//! Topic names and topic filters (MQTT 4.7): validation and matching, plain and without recursion.
//!
//! Knows nothing of `$devices`, aliases or any other meaning of a topic. A topic is compared byte by byte,
//! without normalisation of slashes, case or Unicode (MQTT-4.7.3-4, U-T1).
//!
//! Limits, beyond them a name or filter is refused:
//! * [`TOPIC_BYTES_MAX`], fixed by the standard;
//! * [`TOPIC_LEVELS_MAX`], ours, because trees that are built from topics must stay shallow (A27).

pub mod filter;
pub mod name;

pub use filter::{
    TopicFilter, TopicFilterError, has_wildcard, hides_dollar_topic, levels_match, matches,
    validate_topic_filter,
};
pub use name::{TopicNameError, validate_topic_name};

/// Longest topic name or filter, in bytes: its length has 16 bits (MQTT-4.7.3-3).
pub const TOPIC_BYTES_MAX: usize = u16::MAX as usize;

/// Most levels of a topic name or filter. Documented topics have fewer than ten; a subtopic of 1024
/// characters may have more, and is then refused: a publish as a violation, a filter with 0x80.
pub const TOPIC_LEVELS_MAX: usize = 200;

/// The separator of levels.
pub const LEVEL_SEPARATOR: char = '/';

/// The levels of a topic name or filter from left to right. There is always at least one; `a//b/` has the
/// four levels `a`, empty, `b`, empty.
#[inline]
pub fn levels(topic: &str) -> std::str::Split<'_, char> {
    topic.split(LEVEL_SEPARATOR)
}

/// Number of levels: one more than slashes.
#[inline]
pub fn level_count(topic: &str) -> usize {
    topic.bytes().filter(|byte| *byte == b'/').count() + 1
}

/// Whether this many bytes may hold too many levels at all; spares the count for ordinary topics.
#[inline]
const fn may_exceed_levels(bytes: usize) -> bool {
    bytes >= TOPIC_LEVELS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_split_without_normalisation() {
        for (topic, expected) in [
            ("a", &["a"][..]),
            ("/", &["", ""]),
            ("a//b/", &["a", "", "b", ""]),
            ("$devices/D/events", &["$devices", "D", "events"]),
        ] {
            assert_eq!(levels(topic).collect::<Vec<_>>(), expected);
            assert_eq!(level_count(topic), expected.len());
        }
    }
}
