//! Labels of resources (`spec/domain.md`, Labels).

use std::collections::BTreeMap;

use smol_str::SmolStr;

/// Most pairs on one resource.
pub const LABELS_MAX: usize = 64;

/// Longest key and longest value, in characters.
pub const LABEL_CHARACTERS_MAX: usize = 63;

/// A checked set of labels, ordered by key. An update replaces the whole set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Labels(BTreeMap<SmolStr, SmolStr>);

/// Why a set of labels is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// More than [`LABELS_MAX`] pairs.
    #[error("must have at most {LABELS_MAX} entries (got {entries})")]
    TooMany {
        /// How many were given.
        entries: usize,
    },
    /// A key is not `[a-z][-_0-9a-z]{0,62}`.
    #[error("key {key:?} must match [a-z][-_0-9a-z]* and have 1 to {LABEL_CHARACTERS_MAX} characters")]
    BadKey {
        /// The key, shortened to the limit.
        key: String,
    },
    /// A value is not `[-_0-9a-z]{0,63}`.
    #[error(
        "value {value:?} of key {key:?} must match [-_0-9a-z]* and have at most {LABEL_CHARACTERS_MAX} characters"
    )]
    BadValue {
        /// The key of the pair.
        key: String,
        /// The value, shortened to the limit.
        value: String,
    },
}

impl Labels {
    /// Checks and takes a set of labels. Of several pairs with one key the last wins.
    ///
    /// # Errors
    /// [`LabelError`] naming the pair and the rule.
    pub fn parse<K: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, LabelError> {
        let mut labels = BTreeMap::new();
        let mut entries = 0;
        for (key, value) in pairs {
            let (key, value) = (key.as_ref(), value.as_ref());
            entries += 1;
            if !key.starts_with(|c: char| c.is_ascii_lowercase()) || !is_label_text(key) {
                return Err(LabelError::BadKey { key: shortened(key) });
            }
            if !is_label_text(value) {
                return Err(LabelError::BadValue { key: key.to_owned(), value: shortened(value) });
            }
            if labels.len() < LABELS_MAX {
                labels.insert(SmolStr::new(key), SmolStr::new(value));
            }
        }
        if entries > LABELS_MAX {
            return Err(LabelError::TooMany { entries });
        }
        Ok(Self(labels))
    }

    /// Takes pairs that were checked before: those read back from our own storage.
    pub fn from_checked(pairs: impl IntoIterator<Item = (SmolStr, SmolStr)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    /// The pairs in order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_label_text(text: &str) -> bool {
    text.len() <= LABEL_CHARACTERS_MAX
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

fn shortened(text: &str) -> String {
    text.chars().take(LABEL_CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_values_pass_and_bad_pairs_name_the_rule() {
        let labels = Labels::parse([("empty-label", ""), ("b_1", "x-1")]).expect("valid");
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("b_1", "x-1"), ("empty-label", "")]);
        for key in ["", "1a", "A", "_a", &"a".repeat(64)] {
            assert!(matches!(Labels::parse([(key, "v")]), Err(LabelError::BadKey { .. })), "{key}");
        }
        for value in ["A", "a b", &"a".repeat(64)] {
            assert!(matches!(Labels::parse([("k", value)]), Err(LabelError::BadValue { .. })), "{value}");
        }
    }

    #[test]
    fn sixty_four_pairs_at_most() {
        let pairs = |n: usize| (0..n).map(|i| (format!("k{i}"), "v")).collect::<Vec<_>>();
        assert!(Labels::parse(pairs(64)).is_ok());
        assert_eq!(Labels::parse(pairs(65)), Err(LabelError::TooMany { entries: 65 }));
    }
}
