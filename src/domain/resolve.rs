//! Resolution: from what a client wrote to what is meant, and whether it is allowed.
//!
//! The only door to canonical topics for publishes ([`publish`]) and to interests for subscriptions ([`filter`]); MQTT,
//! wills and the API all pass here.

use super::address::{
    AddressError, CanonicalTopic, DEVICES, ME, MONITORING, REGISTRIES, SUBTOPIC_CHARACTERS_MAX, TopicClass,
};
use super::alias::Names;
use super::id::{DeviceId, RegistryId};
use super::interest::{Interest, Scope};
use super::narrow::narrow;
use super::permission::{Action, decide};
use super::principal::Principal;
use crate::mqtt::topic::{TopicFilterError, TopicNameError, has_wildcard, validate_topic_name};

/// Longest topic or filter of a broker client, in characters: what the API documents for the whole topic (U-T3).
pub const FREE_TOPIC_CHARACTERS_MAX: usize = 1024;

/// Switches of the topic rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicOptions {
    /// Whether a wildcard in the place of the kind selects the permanent kind too (U-T8). Default: yes.
    pub kind_wildcard_covers_permanent: bool,
}

impl Default for TopicOptions {
    fn default() -> Self {
        Self { kind_wildcard_covers_permanent: true }
    }
}

/// Why a publish is refused. MQTT closes the connection; the API tells malformed topics (INVALID_ARGUMENT) from the
/// others (PERMISSION_DENIED, U-P6).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishRefusal {
    /// Not a valid MQTT topic name.
    #[error(transparent)]
    Malformed(#[from] TopicNameError),
    /// The topic or its subtopic is too long (U-T3).
    #[error("topic must have at most {limit} characters behind its kind or in a broker (got {characters})")]
    TooLong {
        /// Its length in characters.
        characters: usize,
        /// The limit that it exceeds.
        limit: usize,
    },
    /// Neither a topic nor the name of one.
    #[error("topic is not known: {0}")]
    Unresolvable(AddressError),
    /// No topic, alias or other name starts like this.
    #[error("topic matches no alias and no topic family")]
    UnknownName,
    /// The addressed device does not exist in the registry.
    #[error("topic addresses a device that the registry does not have")]
    UnknownDevice,
    /// The permission matrix says no.
    #[error("topic is not writable for this identity")]
    Forbidden,
}

impl PublishRefusal {
    /// Whether the text itself is bad, whoever sends it.
    pub fn is_malformed(&self) -> bool {
        matches!(self, Self::Malformed(_) | Self::TooLong { .. })
    }
}

/// Why a subscription is refused (SUBACK 0x80).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeRefusal {
    /// Not a valid MQTT topic filter (U-M14).
    #[error(transparent)]
    Malformed(#[from] TopicFilterError),
    /// The filter or its subtopic part is too long (U-T3).
    #[error(
        "topic filter must have at most {limit} characters behind the kind or in a broker (got {characters})"
    )]
    TooLong {
        /// Its length in characters.
        characters: usize,
        /// The limit that it exceeds.
        limit: usize,
    },
    /// The filter can select nothing that this identity may read (U-T9).
    #[error("topic filter selects nothing that this identity may read")]
    NothingReadable,
    /// The filter names a device that the registry does not have.
    #[error("topic filter names a device that the registry does not have")]
    UnknownDevice,
    /// An exact alias filter stands for nothing readable now (U-T18).
    #[error("topic alias stands for nothing that this identity may read")]
    UnreadableAlias,
}

/// Resolves the topic of a publish by `principal` and checks that the publish is allowed.
///
/// # Errors
/// [`PublishRefusal`]; nothing may be delivered or stored then.
pub fn publish(
    principal: &Principal,
    topic: &str,
    names: &impl Names,
) -> Result<CanonicalTopic, PublishRefusal> {
    validate_topic_name(topic)?;
    let canonical = match principal {
        Principal::Broker(_) => free_topic(topic)?,
        Principal::Registry(registry) => session_topic(registry, None, topic, names)?,
        Principal::Device { device, registry } => session_topic(registry, Some(device), topic, names)?,
    };
    if !decide(principal, &canonical, Action::Publish) {
        return Err(PublishRefusal::Forbidden);
    }
    let known = match (principal, canonical.class()) {
        // A publisher that was deleted a moment ago may still be connected: nothing more is taken from it.
        (Principal::Device { device, registry }, _) => names.device_in_registry(registry, device.as_str()),
        (Principal::Registry(registry), TopicClass::Device { device, .. }) => {
            names.device_in_registry(registry, device.as_str())
        }
        _ => true,
    };
    if known { Ok(canonical) } else { Err(PublishRefusal::UnknownDevice) }
}

/// Resolves and narrows a topic filter of `principal`.
///
/// # Errors
/// [`SubscribeRefusal`]: answer 0x80 for this filter, keep the connection.
pub fn filter(
    principal: &Principal,
    filter: &str,
    names: &impl Names,
    options: TopicOptions,
) -> Result<Interest, SubscribeRefusal> {
    let mut interest = narrow(principal, filter, options)?;
    let (registry, own) = match principal {
        Principal::Broker(_) => return Ok(interest),
        Principal::Registry(registry) => (registry, None),
        Principal::Device { device, registry } => (registry, Some(device)),
    };
    // U-T4: monitoring topics of another registry's devices are as unknown as their other topics.
    let exists =
        |device: &DeviceId| own == Some(device) || names.device_in_registry(registry, device.as_str());
    let known = !interest.patterns.is_empty()
        && interest.patterns.iter().all(|pattern| match &pattern.scope {
            Scope::Device(device) | Scope::Monitoring(device) => exists(device),
            _ => true,
        });
    if interest.aliases.is_none() {
        return if known { Ok(interest) } else { Err(SubscribeRefusal::UnknownDevice) };
    }
    if has_wildcard(filter) {
        return Ok(interest);
    }
    interest.alias_target = alias_target(registry, filter, names)
        .and_then(Result::ok)
        .filter(|topic| decide(principal, topic, Action::Subscribe))
        .map(Box::new);
    if known || interest.alias_target.is_some() {
        Ok(interest)
    } else {
        Err(SubscribeRefusal::UnreadableAlias)
    }
}

/// What a subscription asks for that was granted, now or long ago, whatever has become of the devices and aliases that it
/// names. Without a target of its alias, so it is good for the index and not for stored messages. `None` only if the
/// options were others when it was granted.
pub fn granted(principal: &Principal, filter: &str, options: TopicOptions) -> Option<Interest> {
    narrow(principal, filter, options).ok()
}

/// A topic of a broker client (`spec/topics.md` section 10).
fn free_topic(topic: &str) -> Result<CanonicalTopic, PublishRefusal> {
    if topic.starts_with('$') {
        return Err(PublishRefusal::UnknownName);
    }
    match topic.chars().count() {
        characters if characters > FREE_TOPIC_CHARACTERS_MAX => {
            Err(PublishRefusal::TooLong { characters, limit: FREE_TOPIC_CHARACTERS_MAX })
        }
        _ => Ok(CanonicalTopic::free(topic)),
    }
}

/// The canonical topic that a registry or device session means by `topic`.
///
/// Aliases come before dollar-less names (U-T24), but an alias that covers the text without making a valid topic of it
/// does not hide a dollar-less name: one device's alias `dev` must not cost the others theirs.
fn session_topic(
    registry: &RegistryId,
    device: Option<&DeviceId>,
    topic: &str,
    names: &impl Names,
) -> Result<CanonicalTopic, PublishRefusal> {
    let first = topic.split('/').next().unwrap_or_default();
    match first {
        DEVICES | REGISTRIES | MONITORING => return parse(topic, registry),
        ME => {
            let canonical = own_topic(registry, device, topic).ok_or(PublishRefusal::UnknownName)?;
            return parse(&canonical, registry);
        }
        _ if first.starts_with('$') => return Err(PublishRefusal::UnknownName),
        _ => {}
    }
    let alias = alias_target(registry, topic, names);
    match alias {
        Some(Ok(canonical)) => Ok(canonical),
        _ if matches!(first, "devices" | "registries") => parse(&format!("${topic}"), registry),
        Some(Err(error)) => Err(error),
        None => Err(PublishRefusal::UnknownName),
    }
}

/// The canonical text of a `$me` topic (`spec/topics.md` section 5, U-T2, U-T5). `$me/registry/…` stands for a topic of
/// the registry, by the registry's id (U-T11).
fn own_topic(registry: &RegistryId, device: Option<&DeviceId>, topic: &str) -> Option<String> {
    let mut parts = topic.splitn(3, '/').skip(1);
    let (entity, suffix) = (parts.next()?, parts.next()?);
    match (entity, device) {
        ("registry", _) => Some(format!("{REGISTRIES}/{registry}/{suffix}")),
        ("device", Some(device)) => Some(format!("{DEVICES}/{device}/{suffix}")),
        ("monitoring", Some(device)) => Some(format!("{MONITORING}/{device}/{suffix}")),
        _ => None,
    }
}

/// What `name` stands for by the alias that covers it, if one does (U-T12).
fn alias_target(
    registry: &RegistryId,
    name: &str,
    names: &impl Names,
) -> Option<Result<CanonicalTopic, PublishRefusal>> {
    let (alias, target) = names.alias_covering(registry, name)?;
    let rest = name.strip_prefix(alias)?;
    let text = [target, rest].concat();
    Some(validate_topic_name(&text).map_err(PublishRefusal::from).and_then(|()| parse(&text, registry)))
}

fn parse(text: &str, registry: &RegistryId) -> Result<CanonicalTopic, PublishRefusal> {
    CanonicalTopic::parse(text, registry).map_err(|error| match error {
        AddressError::SubtopicTooLong { characters } => {
            PublishRefusal::TooLong { characters, limit: SUBTOPIC_CHARACTERS_MAX }
        }
        other => PublishRefusal::Unresolvable(other),
    })
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
