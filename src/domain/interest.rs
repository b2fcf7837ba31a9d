//! What one subscription of one session asks for, after resolution and narrowing.
//!
//! `resolve::filter` makes it. A filter that a principal sends is never matched as it is: it is first rewritten to
//! canonical patterns of exactly the topics that the principal may read. So the verdict on reading is part of the
//! interest, and fifty thousand devices that subscribe `$devices/#` become fifty thousand patterns of one device each.

use std::sync::Arc;

use smol_str::SmolStr;

use super::address::{CanonicalTopic, DEVICES, ME, MONITORING, MONITORING_LEVEL, REGISTRIES, TopicClass};
use super::id::{DeviceId, RegistryId};
use super::kind::Kind;
use super::permission::{Side, reads};
use crate::mqtt::topic::{has_wildcard, levels_match};

/// How the name that a subscription receives is made from the canonical topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rename {
    /// The canonical topic itself.
    Canonical,
    /// The `$me` name (`spec/topics.md` section 5).
    Me,
    /// The canonical topic without its `$` (U-T24).
    DollarLess,
}

impl Rename {
    /// Every rule, in the order of their numbers.
    pub(super) const ALL: [Self; 3] = [Self::Canonical, Self::Me, Self::DollarLess];

    /// The name of `topic`. The `$me` name is meant for sessions to which the topic is their own.
    pub fn name(self, topic: &CanonicalTopic) -> Arc<str> {
        match (self, topic.class()) {
            (Self::Canonical, _) | (_, TopicClass::Free) => topic.shared(),
            (Self::Me, TopicClass::Device { .. }) => Arc::from(format!("{ME}/device/{}", topic.suffix())),
            (Self::Me, TopicClass::Registry { .. }) => Arc::from(format!("{ME}/registry/{}", topic.suffix())),
            (Self::Me, TopicClass::Monitoring { .. }) => {
                Arc::from(format!("{ME}/monitoring/{MONITORING_LEVEL}"))
            }
            (Self::DollarLess, _) => Arc::from(topic.as_str().trim_start_matches('$')),
        }
    }
}

/// Which canonical topics a pattern looks at, before its suffix is compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// `$devices/<device>/…`.
    Device(DeviceId),
    /// `$devices/+/…`.
    EveryDevice,
    /// `$registries/<registry>/…`.
    Registry(RegistryId),
    /// `$monitoring/<device>/json`.
    Monitoring(DeviceId),
    /// `$monitoring/+/json`.
    EveryMonitoring,
    /// All topics of a broker.
    Free,
}

/// A canonical filter with a concrete kind: all that it matches is readable for its subscriber.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Pattern {
    /// Its first two levels.
    pub(super) scope: Scope,
    /// The filter from the third level on; the whole filter of a broker client.
    pub(super) suffix: SmolStr,
}

impl Pattern {
    /// Whether the pattern selects the topic.
    pub(super) fn matches(&self, topic: &CanonicalTopic) -> bool {
        let in_scope = match (&self.scope, topic.class()) {
            (Scope::Device(own), TopicClass::Device { device, .. })
            | (Scope::Monitoring(own), TopicClass::Monitoring { device }) => own == device,
            (Scope::EveryDevice, TopicClass::Device { .. })
            | (Scope::Registry(_), TopicClass::Registry { .. })
            | (Scope::EveryMonitoring, TopicClass::Monitoring { .. })
            | (Scope::Free, TopicClass::Free) => true,
            _ => false,
        };
        in_scope && levels_match(&self.suffix, topic.suffix())
    }

    /// The pattern as a canonical MQTT filter.
    pub(super) fn text(&self) -> String {
        let suffix = &self.suffix;
        match &self.scope {
            Scope::Device(device) => format!("{DEVICES}/{device}/{suffix}"),
            Scope::EveryDevice => format!("{DEVICES}/+/{suffix}"),
            Scope::Registry(registry) => format!("{REGISTRIES}/{registry}/{suffix}"),
            Scope::Monitoring(device) => format!("{MONITORING}/{device}/{suffix}"),
            Scope::EveryMonitoring => format!("{MONITORING}/+/{suffix}"),
            Scope::Free => suffix.to_string(),
        }
    }

    fn kind(&self) -> Option<Kind> {
        match self.scope {
            Scope::Device(_) | Scope::EveryDevice | Scope::Registry(_) => {
                Kind::parse(self.suffix.split('/').next().unwrap_or_default())
            }
            Scope::Monitoring(_) | Scope::EveryMonitoring | Scope::Free => None,
        }
    }
}

/// Tells apart the filters of one session that narrow to the same pattern (`$devices/#` and `$devices/+/events/#`):
/// the rename rule, and how the second, third and fourth level were written. Pattern and form together determine the
/// filter, so (session, form) identifies a subscription below a pattern at the price of one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Form(u8);

impl Form {
    /// The form of alias filters and of filters of broker clients, which are not narrowed.
    pub(super) const PLAIN: Self = Self(0);

    /// The form of a filter of the family that `rename` stands for, from the levels behind the first.
    pub(super) fn new(rename: Rename, second: Slot<'_>, third: Slot<'_>, tail: Option<&str>) -> Self {
        let tail_is_hash = u8::from(tail == Some("#"));
        Self(rename as u8 | second.number() << 2 | third.number() << 4 | tail_is_hash << 6)
    }

    /// The rename rule.
    pub(super) fn rename(self) -> Rename {
        match self.0 & 0b11 {
            0 => Rename::Canonical,
            1 => Rename::Me,
            _ => Rename::DollarLess,
        }
    }
}

/// A level of a filter that is looked at while narrowing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot<'a> {
    /// A plain level.
    Literal(&'a str),
    /// `+`.
    Plus,
    /// Covered by a `#` at this or an earlier level.
    Hash,
}

impl Slot<'_> {
    /// Whether the level selects `level`.
    pub(super) fn admits(self, level: &str) -> bool {
        match self {
            Self::Literal(own) => own == level,
            Self::Plus | Self::Hash => true,
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Literal(_) => 0,
            Self::Plus => 1,
            Self::Hash => 2,
        }
    }
}

/// Whose aliases an alias filter can select: the reader's side decides which targets are readable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum AliasReader {
    /// The registry: aliases of all devices, targets of `events` and `state`.
    Registry,
    /// A device: its own aliases, targets of `commands` and `config`.
    Device(DeviceId),
}

impl AliasReader {
    /// Whether messages of `topic` are readable for this reader. Aliases exist for device topics only.
    pub(super) fn reads(&self, topic: &CanonicalTopic) -> bool {
        match (self, topic.class()) {
            (Self::Registry, TopicClass::Device { kind, .. }) => reads(Side::Registry, *kind),
            (Self::Device(own), TopicClass::Device { device, kind }) => {
                own == device && reads(Side::Device, *kind)
            }
            _ => false,
        }
    }
}

/// A filter after resolution and narrowing: the unit that the subscription index stores.
///
/// Depends on the principal, the filter and the options only. Later changes of devices and aliases need no new
/// interest: patterns cover new devices and alias filters are compared with the alias names of the moment (U-T6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interest {
    pub(super) filter: SmolStr,
    pub(super) patterns: Box<[Pattern]>,
    pub(super) form: Form,
    pub(super) aliases: Option<AliasReader>,
    /// What an exact alias filter stood for when it was granted.
    pub(super) alias_target: Option<Box<CanonicalTopic>>,
}

impl Interest {
    /// The filter as the client sent it, by which it unsubscribes.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// The canonical filters to which the filter was narrowed; none for a filter that selects aliases only.
    pub fn canonical_filters(&self) -> impl Iterator<Item = String> {
        self.patterns.iter().map(Pattern::text)
    }

    /// Whether the subscription receives monitoring messages.
    pub fn is_monitoring(&self) -> bool {
        self.monitoring().is_some()
    }

    /// Whether the subscription may receive messages of permanent topics.
    pub fn covers_permanent(&self) -> bool {
        self.aliases.is_some()
            || self.patterns.iter().any(|pattern| pattern.kind().is_some_and(Kind::is_permanent))
    }

    /// Whose monitoring snapshot to send when the subscription starts (U-T23).
    pub fn monitoring(&self) -> Option<MonitoringScope<'_>> {
        self.patterns.iter().find_map(|pattern| match &pattern.scope {
            Scope::Monitoring(device) => Some(MonitoringScope::Device(device)),
            Scope::EveryMonitoring => Some(MonitoringScope::EveryDevice),
            _ => None,
        })
    }

    /// Which stored permanent messages to send when the subscription starts (`spec/topics.md` section 7), or `None`
    /// if there can be none: the ordinary kinds, and alias filters with wildcards (case 121).
    pub fn stored(&self) -> Option<StoredSelection> {
        let mut filters: Vec<StoredFilter> = self
            .patterns
            .iter()
            .filter(|pattern| pattern.kind().is_some_and(Kind::is_permanent))
            .map(|pattern| StoredFilter {
                filter: pattern.text(),
                name: StoredName::Rename(self.form.rename()),
            })
            .collect();
        let target = self.alias_target.as_ref().filter(|topic| topic.is_permanent());
        if let Some(topic) = target {
            let covered = self.form.rename() == Rename::DollarLess
                && self.patterns.iter().any(|pattern| pattern.matches(topic));
            if !covered {
                let name = StoredName::Fixed(Arc::from(self.filter.as_str()));
                filters.push(StoredFilter { filter: topic.as_str().to_owned(), name });
            }
        }
        (!filters.is_empty()).then_some(StoredSelection { filters })
    }

    /// The names under which this subscription receives a message of `topic`, each at most once: the name that matched,
    /// whatever name the publisher used (U-T16). `aliases` are those
    /// of the device that the topic addresses, as (alias, target). More than one is possible if several aliases cover
    /// the topic (case 103).
    pub fn delivered_names(&self, topic: &CanonicalTopic, aliases: &[(&str, &str)]) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        if self.patterns.iter().any(|pattern| pattern.matches(topic)) {
            names.push(self.form.rename().name(topic));
        }
        if self.aliases.as_ref().is_some_and(|reader| reader.reads(topic)) {
            for name in alias_names(topic, aliases) {
                if levels_match(&self.filter, &name) && !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// The first of [`Self::delivered_names`], or `None` if the subscription does not receive the topic.
    pub fn delivered_name(&self, topic: &CanonicalTopic, aliases: &[(&str, &str)]) -> Option<String> {
        self.delivered_names(topic, aliases).first().map(|name| name.to_string())
    }
}

/// The alias names of a topic: for each alias whose target the topic starts with, the alias and the remainder.
pub(super) fn alias_names<'a>(
    topic: &'a CanonicalTopic,
    aliases: &'a [(&str, &str)],
) -> impl Iterator<Item = Arc<str>> + 'a {
    aliases.iter().filter_map(|(alias, target)| {
        let rest = topic.as_str().strip_prefix(target)?;
        Some(Arc::from([alias, rest].concat()))
    })
}

/// Whose monitoring messages a subscription receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MonitoringScope<'a> {
    /// Those of one device.
    Device(&'a DeviceId),
    /// Those of all devices of the registry (U-T10).
    EveryDevice,
}

/// The stored messages that a new subscription is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSelection {
    /// Topic filters over canonical topics; together they select what to send.
    pub filters: Vec<StoredFilter>,
}

/// One filter over the stored messages, and the rule for the name of what it finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFilter {
    filter: String,
    name: StoredName,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum StoredName {
    Rename(Rename),
    Fixed(Arc<str>),
}

impl StoredFilter {
    /// The canonical filter.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// The one topic that the filter selects, if it has no wildcard.
    pub fn exact(&self) -> Option<&str> {
        (!has_wildcard(&self.filter)).then_some(&self.filter)
    }

    /// What every topic that the filter selects starts with: bounds the scan of an ordered store.
    pub fn prefix(&self) -> &str {
        let end = self.filter.find(['+', '#']).unwrap_or(self.filter.len());
        let literal = &self.filter[..end];
        // `X/#` selects `X` too.
        if self.filter[end..].starts_with('#') { literal.trim_end_matches('/') } else { literal }
    }

    /// Whether the filter selects a canonical topic.
    pub fn matches(&self, topic: &str) -> bool {
        levels_match(&self.filter, topic)
    }

    /// The name under which a topic that the filter selects is sent.
    pub fn name(&self, topic: &CanonicalTopic) -> Arc<str> {
        match &self.name {
            StoredName::Rename(rename) => rename.name(topic),
            StoredName::Fixed(name) => Arc::clone(name),
        }
    }
}
