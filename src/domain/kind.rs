//! The four kinds of a device or registry topic (`spec/topics.md` section 1).

use std::fmt;

/// What a topic is for: its third level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Telemetry, from a device to its registry.
    Events,
    /// Telemetry of which the last message is kept.
    State,
    /// Orders, from the registry to its devices.
    Commands,
    /// Orders of which the last message is kept.
    Config,
}

impl Kind {
    /// Every kind, in the order of the permission matrix.
    pub const ALL: [Self; 4] = [Self::Events, Self::State, Self::Commands, Self::Config];

    /// The level as written in a topic.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::State => "state",
            Self::Commands => "commands",
            Self::Config => "config",
        }
    }

    /// The kind that a topic level spells, exactly: `Events` and `eventsX` are none.
    pub fn parse(level: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == level)
    }

    /// Whether the last message of each topic of this kind is stored (`spec/topics.md` section 7).
    pub const fn is_permanent(self) -> bool {
        matches!(self, Self::State | Self::Config)
    }

    /// Whether messages of this kind go from devices to the registry; the others go the opposite way.
    pub const fn is_from_device(self) -> bool {
        matches!(self, Self::Events | Self::State)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_back_and_nothing_else_does() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
        for level in ["", "event", "eventsX", "Events", "json", "+", "#"] {
            assert_eq!(Kind::parse(level), None, "{level}");
        }
    }
}
