//! Topic aliases: user-chosen names for the beginning of a device topic (`spec/topics.md` section 6).
//!
//! An alias and its target are compared and replaced as raw strings, not on level boundaries (U-T12): alias `temp` of
//! `$devices/D/events/temp` makes `temperature` name `$devices/D/events/temperature`.

use super::address::{DEVICES, SUBTOPIC_CHARACTERS_MAX, check_subtopic};
use super::id::{DeviceId, RegistryId};
use super::kind::Kind;
use crate::mqtt::topic::{TOPIC_LEVELS_MAX, level_count};

/// Most aliases of one device (`spec/topics.md` section 6).
pub const ALIASES_PER_DEVICE_MAX: usize = 5;

/// Longest alias, in characters (U-T13).
pub const ALIAS_CHARACTERS_MAX: usize = 1024;

/// What a target may contain in place of the id of its device.
pub const ID_PLACEHOLDER: &str = "{id}";

/// What the topic rules need to know about a registry. The catalog implements it.
pub trait Names {
    /// The alias of the registry that is a raw string prefix of `topic`, as (alias, target). There is at most one,
    /// because no alias is a prefix of another. In an ordered map it is the greatest key not above `topic`, if that
    /// is a prefix of it at all.
    fn alias_covering(&self, registry: &RegistryId, topic: &str) -> Option<(&str, &str)>;

    /// Whether the registry has this device.
    fn device_in_registry(&self, registry: &RegistryId, device: &str) -> bool;

    /// The aliases of a device, at most [`ALIASES_PER_DEVICE_MAX`], as (alias, target).
    fn aliases_of(&self, device: &DeviceId) -> Vec<(&str, &str)>;
}

/// Why an alias or its target is refused. All of them are bad arguments (U-T17).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AliasError {
    /// The alias is empty.
    #[error("topic alias must not be empty")]
    Empty,
    /// The alias is longer than [`ALIAS_CHARACTERS_MAX`].
    #[error("topic alias must have at most {ALIAS_CHARACTERS_MAX} characters (got {characters})")]
    TooLong {
        /// Its length in characters.
        characters: usize,
    },
    /// The alias has more levels than any topic.
    #[error("topic alias must have at most {TOPIC_LEVELS_MAX} levels (got {levels})")]
    TooManyLevels {
        /// How many it has.
        levels: usize,
    },
    /// The alias starts with `$`, the mark of canonical topics.
    #[error("topic alias must not start with $ (got {alias:?})")]
    Reserved {
        /// The alias.
        alias: String,
    },
    /// The alias contains a wildcard or U+0000.
    #[error("topic alias must not contain '+', '#' or U+0000 (got {character:?})")]
    BadCharacter {
        /// The first such character.
        character: char,
    },
    /// The target is not a topic of the device itself.
    #[error("alias target must be $devices/{device} or start with $devices/{device}/ (got {target:?})")]
    ForeignTarget {
        /// The device that the alias belongs to.
        device: DeviceId,
        /// The target as given.
        target: String,
    },
    /// The third level of the target is not a kind.
    #[error("third level of an alias target must be events, state, commands or config (got {level:?})")]
    BadKind {
        /// The third level.
        level: String,
    },
    /// The target contains a wildcard or U+0000.
    #[error("alias target must not contain '+', '#' or U+0000 (got {character:?})")]
    BadTargetCharacter {
        /// The first such character.
        character: char,
    },
    /// The subtopic of the target is longer than any subtopic.
    #[error("alias target must have a subtopic of at most {SUBTOPIC_CHARACTERS_MAX} characters")]
    TargetTooLong,
    /// The target has more levels than any topic.
    #[error("alias target must have at most {TOPIC_LEVELS_MAX} levels (got {levels})")]
    TargetTooManyLevels {
        /// How many it has.
        levels: usize,
    },
}

/// Checks the form of an alias (U-T13). A leading `/` is allowed.
///
/// # Errors
/// [`AliasError`] with the first rule that the alias breaks.
pub fn validate_alias(alias: &str) -> Result<(), AliasError> {
    if alias.is_empty() {
        return Err(AliasError::Empty);
    }
    if alias.starts_with('$') {
        return Err(AliasError::Reserved { alias: excerpt(alias) });
    }
    if let Some(character) = alias.chars().find(|character| is_forbidden(*character)) {
        return Err(AliasError::BadCharacter { character });
    }
    let characters = alias.chars().count();
    if characters > ALIAS_CHARACTERS_MAX {
        return Err(AliasError::TooLong { characters });
    }
    match level_count(alias) {
        levels if levels > TOPIC_LEVELS_MAX => Err(AliasError::TooManyLevels { levels }),
        _ => Ok(()),
    }
}

/// Replaces `{id}` in the target of an alias of the device `own`, checks the result (U-T14) and returns it: the form
/// that is stored and shown (U-T15).
///
/// # Errors
/// [`AliasError`] with the first rule that the target breaks, above all that it must address the own device (A34).
pub fn resolve_target(target: &str, own: &DeviceId) -> Result<String, AliasError> {
    let resolved = target.replace(ID_PLACEHOLDER, own.as_str());
    let foreign = || AliasError::ForeignTarget { device: own.clone(), target: excerpt(target) };
    let rest = resolved.strip_prefix(DEVICES).and_then(|rest| rest.strip_prefix('/')).ok_or_else(foreign)?;
    let rest = rest.strip_prefix(own.as_str()).ok_or_else(foreign)?;
    if let Some(character) = rest.chars().find(|character| is_forbidden(*character)) {
        return Err(AliasError::BadTargetCharacter { character });
    }
    match rest.strip_prefix('/') {
        None if rest.is_empty() => {}
        None => return Err(foreign()),
        Some("") => {}
        Some(suffix) => {
            let (level, subtopic) = suffix.split_once('/').unwrap_or((suffix, ""));
            if Kind::parse(level).is_none() {
                return Err(AliasError::BadKind { level: excerpt(level) });
            }
            check_subtopic(subtopic).map_err(|_| AliasError::TargetTooLong)?;
        }
    }
    match level_count(&resolved) {
        levels if levels > TOPIC_LEVELS_MAX => Err(AliasError::TargetTooManyLevels { levels }),
        _ => Ok(resolved),
    }
}

/// Whether two aliases cannot live in one registry: one is a raw string prefix of the other, or they are equal
/// (`spec/topics.md` section 6, conflict examples).
pub fn conflicts(a: &str, b: &str) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

fn is_forbidden(character: char) -> bool {
    matches!(character, '+' | '#' | '\0')
}

/// The beginning of a text from outside, short enough for an error message.
fn excerpt(text: &str) -> String {
    const EXCERPT_CHARACTERS: usize = 100;
    text.chars().take(EXCERPT_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflict_examples_of_section_6() {
        let given = "my/alias/";
        for (alias, refused) in [
            ("my/", true),
            ("my/ali", true),
            ("my/alias/2/", true),
            ("my/alias/", true),
            ("my/alias1/", false),
            ("my/alias2/", false),
            ("my/ali/", false),
        ] {
            assert_eq!(conflicts(alias, given), refused, "{alias}");
            assert_eq!(conflicts(given, alias), refused, "{alias}");
        }
    }

    #[test]
    fn alias_forms() {
        for alias in ["events", "my/alias/", "/leading", "/", "temp", "a b", "devices/d1/"] {
            assert_eq!(validate_alias(alias), Ok(()), "{alias}");
        }
        assert_eq!(validate_alias(""), Err(AliasError::Empty));
        let reserved = AliasError::Reserved { alias: "$devices/d1/".to_owned() };
        assert_eq!(validate_alias("$devices/d1/"), Err(reserved));
        for (alias, character) in [("a/+", '+'), ("a#", '#'), ("a\0", '\0')] {
            assert_eq!(validate_alias(alias), Err(AliasError::BadCharacter { character }));
        }
        assert_eq!(validate_alias(&"ж".repeat(1024)), Ok(()));
        assert_eq!(validate_alias(&"ж".repeat(1025)), Err(AliasError::TooLong { characters: 1025 }));
        assert_eq!(validate_alias(&"/".repeat(200)), Err(AliasError::TooManyLevels { levels: 201 }));
    }

    #[test]
    fn case_134_138_placeholder_is_replaced_by_the_own_id() {
        let own = DeviceId::new("d2");
        for (target, resolved) in [
            ("$devices/{id}/", "$devices/d2/"),
            ("$devices/{id}", "$devices/d2"),
            ("$devices/d2/", "$devices/d2/"),
            ("$devices/{id}/events/somesubtopic", "$devices/d2/events/somesubtopic"),
            ("$devices/d2/state", "$devices/d2/state"),
            ("$devices/d2/config/", "$devices/d2/config/"),
        ] {
            assert_eq!(resolve_target(target, &own).as_deref(), Ok(resolved), "{target}");
        }
    }

    #[test]
    fn case_139_140_141_a34_targets_outside_the_own_device() {
        let own = DeviceId::new("d1");
        for target in [
            "$devices/d2/events",
            "$devices/d11/events",
            "$devices/d1events",
            "$registries/r/events",
            "$monitoring/d1/json",
            "$me/device/events",
            "my/alias/",
            "$devices/",
            "",
        ] {
            let error = resolve_target(target, &own).unwrap_err();
            assert!(matches!(error, AliasError::ForeignTarget { .. }), "{target}: {error}");
        }
    }

    #[test]
    fn targets_of_no_kind_or_with_wildcards() {
        let own = DeviceId::new("d1");
        for target in ["$devices/d1/telemetry", "$devices/d1/eventsX", "$devices/d1//events"] {
            assert!(matches!(resolve_target(target, &own), Err(AliasError::BadKind { .. })), "{target}");
        }
        for target in ["$devices/d1/+", "$devices/d1/events/#", "$devices/d1/#"] {
            let error = resolve_target(target, &own).unwrap_err();
            assert!(matches!(error, AliasError::BadTargetCharacter { .. }), "{target}");
        }
        let long = format!("$devices/d1/events/{}", "x".repeat(1025));
        assert_eq!(resolve_target(&long, &own), Err(AliasError::TargetTooLong));
        let deep = format!("$devices/d1/events{}", "/x".repeat(198));
        assert_eq!(resolve_target(&deep, &own), Err(AliasError::TargetTooManyLevels { levels: 201 }));
    }
}
