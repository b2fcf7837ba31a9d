//! Where the log of a registry or broker goes (`spec/domain.md`, Log options).

use smol_str::SmolStr;

use super::id::FolderId;

/// Longest destination id, in characters.
pub const DESTINATION_CHARACTERS_MAX: usize = 64;

/// Log options as the API shows them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct LogOptions {
    /// Whether logging is off.
    pub disabled: bool,
    /// Where the log goes, if said.
    pub destination: Option<LogDestination>,
    /// The lowest level that is logged.
    pub min_level: LogLevel,
}

/// Where a log goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogDestination {
    /// A log group.
    LogGroup(SmolStr),
    /// The default log group of a folder.
    Folder(SmolStr),
}

/// Level of a log entry, with the numbers of the API (`spec/api.md`, Enums).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// Not said.
    #[default]
    Unspecified = 0,
    /// Finest.
    Trace = 1,
    /// For debugging.
    Debug = 2,
    /// Ordinary events.
    Info = 3,
    /// Something is odd.
    Warn = 4,
    /// Something failed.
    Error = 5,
    /// Nothing works.
    Fatal = 6,
}

/// Why log options are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogOptionsError {
    /// A destination is not `([a-zA-Z][-a-zA-Z0-9_.]{0,63})?`.
    #[error("{field} must match ([a-zA-Z][-a-zA-Z0-9_.]{{0,63}})? (got {value:?})")]
    BadDestination {
        /// `log_group_id` or `folder_id`.
        field: &'static str,
        /// The value, shortened to the limit.
        value: String,
    },
    /// The level has a number that the API does not define.
    #[error("min_level must be 0 to 6 (got {number})")]
    BadLevel {
        /// The number.
        number: i32,
    },
}

impl LogOptions {
    /// What a registry or broker gets when none are given: its own folder, nothing else set.
    pub fn default_for(folder: &FolderId) -> Self {
        let destination = Some(LogDestination::Folder(SmolStr::new(folder.as_str())));
        Self { disabled: false, destination, min_level: LogLevel::Unspecified }
    }

    /// Whether an event of this level is kept.
    pub fn admits(&self, level: LogLevel) -> bool {
        !self.disabled && level >= self.min_level
    }

    /// Checks the form of the destination.
    ///
    /// # Errors
    /// [`LogOptionsError::BadDestination`].
    pub fn check(&self) -> Result<(), LogOptionsError> {
        let (field, value) = match &self.destination {
            None => return Ok(()),
            Some(LogDestination::LogGroup(id)) => ("log_group_id", id),
            Some(LogDestination::Folder(id)) => ("folder_id", id),
        };
        let is_tail = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let well_formed = value.is_empty()
            || (value.len() <= DESTINATION_CHARACTERS_MAX
                && value.starts_with(|c: char| c.is_ascii_alphabetic())
                && value.chars().all(is_tail));
        if well_formed {
            return Ok(());
        }
        let value = value.chars().take(DESTINATION_CHARACTERS_MAX).collect();
        Err(LogOptionsError::BadDestination { field, value })
    }
}

impl LogLevel {
    /// The number that the API uses.
    pub const fn number(self) -> i32 {
        self as i32
    }
}

impl TryFrom<i32> for LogLevel {
    type Error = LogOptionsError;

    fn try_from(number: i32) -> Result<Self, LogOptionsError> {
        Ok(match number {
            0 => Self::Unspecified,
            1 => Self::Trace,
            2 => Self::Debug,
            3 => Self::Info,
            4 => Self::Warn,
            5 => Self::Error,
            6 => Self::Fatal,
            _ => return Err(LogOptionsError::BadLevel { number }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_follow_the_published_pattern() {
        let with = |id: &str| LogOptions {
            destination: Some(LogDestination::LogGroup(SmolStr::new(id))),
            ..LogOptions::default()
        };
        for id in ["", "ckg1234", "a.b-c_D", &"a".repeat(64)] {
            assert_eq!(with(id).check(), Ok(()), "{id}");
        }
        for id in ["1a", "a b", &"a".repeat(65)] {
            assert!(with(id).check().is_err(), "{id}");
        }
        assert_eq!(LogOptions::default_for(&FolderId::new("b1g")).check(), Ok(()));
    }

    #[test]
    fn levels_round_trip_by_number() {
        for number in 0..=6 {
            assert_eq!(LogLevel::try_from(number).map(LogLevel::number), Ok(number));
        }
        assert_eq!(LogLevel::try_from(7), Err(LogOptionsError::BadLevel { number: 7 }));
    }
}
