//! Canonical topics: the one form under which a message is checked, stored, exported and routed.
//!
//! Every other spelling (`$me`, alias, dollar-less) is resolved to this form in `resolve` before anything else
//! happens to a message (`spec/topics.md` section 3).

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::id::{DeviceId, RegistryId};
use super::kind::Kind;

/// First level of device topics.
pub const DEVICES: &str = "$devices";
/// First level of registry topics.
pub const REGISTRIES: &str = "$registries";
/// First level of monitoring topics.
pub const MONITORING: &str = "$monitoring";
/// First level of the session's own names (`spec/topics.md` section 5).
pub const ME: &str = "$me";
/// Third and last level of a monitoring topic.
pub const MONITORING_LEVEL: &str = "json";

/// Longest subtopic, in characters, counted after the slash behind the kind (U-T3).
pub const SUBTOPIC_CHARACTERS_MAX: usize = 1024;

/// What a canonical topic addresses.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicClass {
    /// `$devices/<device>/<kind>[/sub]`.
    Device {
        /// The addressed device; it belongs to the registry of the space.
        device: DeviceId,
        /// The third level.
        kind: Kind,
    },
    /// `$registries/<registry>/<kind>[/sub]`, always of the registry of the space.
    Registry {
        /// The third level.
        kind: Kind,
    },
    /// `$monitoring/<device>/json`.
    Monitoring {
        /// The observed device.
        device: DeviceId,
    },
    /// A topic of a broker: anything that does not start with `$`.
    Free,
}

/// A topic in its one canonical form, valid and of a known class. Cheap to clone; equal and hashed by its text.
#[derive(Clone)]
pub struct CanonicalTopic {
    text: Arc<str>,
    class: TopicClass,
}

/// Why a text is not a canonical topic of a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The first level is none of `$devices`, `$registries` and `$monitoring`.
    #[error("topic must start with $devices/, $registries/ or $monitoring/ (got first level {level:?})")]
    UnknownFamily {
        /// The first level.
        level: String,
    },
    /// A topic needs its three leading parts.
    #[error("topic must have at least three levels")]
    TooShort,
    /// The second level is not an identifier.
    #[error("second topic level must be an id of at most 50 characters [a-z0-9] (got {level:?})")]
    BadId {
        /// The second level.
        level: String,
    },
    /// The topic belongs to another registry.
    #[error("topic must address the own registry (got {registry:?})")]
    ForeignRegistry {
        /// The registry it names.
        registry: String,
    },
    /// The third level is not a kind, or not `json` in a monitoring topic, or has levels below `json`.
    #[error("third topic level must be events, state, commands or config, or exactly json for monitoring")]
    BadKind,
    /// The subtopic is too long (U-T3).
    #[error("subtopic must have at most {SUBTOPIC_CHARACTERS_MAX} characters (got {characters})")]
    SubtopicTooLong {
        /// Its length in characters.
        characters: usize,
    },
}

impl CanonicalTopic {
    /// Reads a canonical topic of the space of `registry`.
    ///
    /// The text must already be a valid MQTT topic name (no wildcards). Whether a device of the topic exists is not
    /// checked: that takes the catalog (`resolve`).
    ///
    /// # Errors
    /// [`AddressError`] with the first rule that the text breaks.
    pub fn parse(text: &str, registry: &RegistryId) -> Result<Self, AddressError> {
        let class = classify(text, registry)?;
        Ok(Self { text: Arc::from(text), class })
    }

    /// The canonical topic of a broker: the text itself, which must be a valid MQTT topic name without leading `$`.
    pub fn free(text: &str) -> Self {
        Self { text: Arc::from(text), class: TopicClass::Free }
    }

    /// The monitoring topic of a device, which only the server publishes to.
    pub fn monitoring(device: &DeviceId) -> Self {
        let text = Arc::from(format!("{MONITORING}/{device}/{MONITORING_LEVEL}"));
        Self { text, class: TopicClass::Monitoring { device: device.clone() } }
    }

    /// The topic text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The topic text, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// What the topic addresses.
    pub fn class(&self) -> &TopicClass {
        &self.class
    }

    /// The kind of a device or registry topic.
    pub fn kind(&self) -> Option<Kind> {
        match self.class {
            TopicClass::Device { kind, .. } | TopicClass::Registry { kind } => Some(kind),
            TopicClass::Monitoring { .. } | TopicClass::Free => None,
        }
    }

    /// The device that a device or monitoring topic addresses.
    pub fn device(&self) -> Option<&DeviceId> {
        match &self.class {
            TopicClass::Device { device, .. } | TopicClass::Monitoring { device } => Some(device),
            TopicClass::Registry { .. } | TopicClass::Free => None,
        }
    }

    /// Whether the last message of the topic is stored (`spec/topics.md` section 7).
    pub fn is_permanent(&self) -> bool {
        self.kind().is_some_and(Kind::is_permanent)
    }

    /// The part from the third level on (`events/bedroom`); the whole text of a free topic.
    pub fn suffix(&self) -> &str {
        match self.class {
            TopicClass::Free => &self.text,
            _ => self.text.splitn(3, '/').nth(2).unwrap_or_default(),
        }
    }
}

/// The class of a canonical text; see [`CanonicalTopic::parse`].
fn classify(text: &str, registry: &RegistryId) -> Result<TopicClass, AddressError> {
    let mut parts = text.splitn(4, '/');
    let family = parts.next().unwrap_or_default();
    if ![DEVICES, REGISTRIES, MONITORING].contains(&family) {
        return Err(AddressError::UnknownFamily { level: family.to_owned() });
    }
    let (Some(id), Some(third)) = (parts.next(), parts.next()) else {
        return Err(AddressError::TooShort);
    };
    let subtopic = parts.next();
    if family == REGISTRIES {
        if id != registry.as_str() {
            return Err(AddressError::ForeignRegistry { registry: id.to_owned() });
        }
        return Ok(TopicClass::Registry { kind: kind_of(third, subtopic)? });
    }
    let device = DeviceId::parse(id).map_err(|_| AddressError::BadId { level: id.to_owned() })?;
    if family == MONITORING {
        return match (third, subtopic) {
            (MONITORING_LEVEL, None) => Ok(TopicClass::Monitoring { device }),
            _ => Err(AddressError::BadKind),
        };
    }
    Ok(TopicClass::Device { device, kind: kind_of(third, subtopic)? })
}

fn kind_of(level: &str, subtopic: Option<&str>) -> Result<Kind, AddressError> {
    let kind = Kind::parse(level).ok_or(AddressError::BadKind)?;
    check_subtopic(subtopic.unwrap_or_default())?;
    Ok(kind)
}

/// Checks the length of what stands behind `<kind>/` in a topic or filter (U-T3).
///
/// # Errors
/// [`AddressError::SubtopicTooLong`] above [`SUBTOPIC_CHARACTERS_MAX`].
pub fn check_subtopic(subtopic: &str) -> Result<(), AddressError> {
    if subtopic.len() <= SUBTOPIC_CHARACTERS_MAX {
        return Ok(());
    }
    match subtopic.chars().count() {
        characters if characters > SUBTOPIC_CHARACTERS_MAX => {
            Err(AddressError::SubtopicTooLong { characters })
        }
        _ => Ok(()),
    }
}

impl PartialEq for CanonicalTopic {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for CanonicalTopic {}

impl Hash for CanonicalTopic {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Borrow<str> for CanonicalTopic {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for CanonicalTopic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for CanonicalTopic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CanonicalTopic, AddressError> {
        CanonicalTopic::parse(text, &RegistryId::new("r1"))
    }

    #[test]
    fn classes_and_suffixes() {
        let device = || DeviceId::new("d1");
        let cases = [
            ("$devices/d1/events", TopicClass::Device { device: device(), kind: Kind::Events }, "events"),
            ("$devices/d1/events/", TopicClass::Device { device: device(), kind: Kind::Events }, "events/"),
            (
                "$devices/d1/state/a/b",
                TopicClass::Device { device: device(), kind: Kind::State },
                "state/a/b",
            ),
            ("$registries/r1/config", TopicClass::Registry { kind: Kind::Config }, "config"),
            ("$monitoring/d1/json", TopicClass::Monitoring { device: device() }, "json"),
        ];
        for (text, class, suffix) in cases {
            let topic = parse(text).unwrap();
            assert_eq!(topic.class(), &class, "{text}");
            assert_eq!(topic.suffix(), suffix, "{text}");
            assert_eq!(topic.as_str(), text);
        }
        assert_eq!(CanonicalTopic::free("/a/b").suffix(), "/a/b");
        assert_eq!(CanonicalTopic::monitoring(&device()), parse("$monitoring/d1/json").unwrap());
    }

    #[test]
    fn texts_that_are_no_topic() {
        let cases = [
            ("$device/d1/events", AddressError::UnknownFamily { level: "$device".to_owned() }),
            ("", AddressError::UnknownFamily { level: String::new() }),
            ("$devices", AddressError::TooShort),
            ("$devices/d1", AddressError::TooShort),
            ("$devices/d1/", AddressError::BadKind),
            ("$devices//events", AddressError::BadId { level: String::new() }),
            ("$devices/../events", AddressError::BadId { level: "..".to_owned() }),
            ("$registries/r2/events", AddressError::ForeignRegistry { registry: "r2".to_owned() }),
            ("$monitoring/d1/json/x", AddressError::BadKind),
            ("$monitoring/d1/events", AddressError::BadKind),
        ];
        for (text, error) in cases {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn subtopics_are_counted_in_characters() {
        let fits = format!("$devices/d1/events/{}", "ж".repeat(SUBTOPIC_CHARACTERS_MAX));
        assert!(parse(&fits).is_ok());
        let error = AddressError::SubtopicTooLong { characters: SUBTOPIC_CHARACTERS_MAX + 1 };
        assert_eq!(parse(&format!("{fits}x")), Err(error));
    }
}
