//! Narrowing: rewrites a filter to patterns of exactly what its principal may read (`spec/topics.md` section 4).
//!
//! Needs no catalog: the same principal, filter and options always give the same interest, at SUBSCRIBE and later at
//! UNSUBSCRIBE. Whether the filter is granted at all is decided in `resolve`.

use smol_str::{SmolStr, format_smolstr};

use super::address::{DEVICES, ME, MONITORING, MONITORING_LEVEL, REGISTRIES, SUBTOPIC_CHARACTERS_MAX};
use super::alias::ALIAS_CHARACTERS_MAX;
use super::id::{DeviceId, RegistryId};
use super::interest::{AliasReader, Form, Interest, Pattern, Rename, Scope, Slot};
use super::kind::Kind;
use super::permission::{Side, readable_kinds};
use super::principal::Principal;
use super::resolve::{FREE_TOPIC_CHARACTERS_MAX, SubscribeRefusal, TopicOptions};
use crate::mqtt::topic::validate_topic_filter;

/// Longest filter of a registry or device session, in characters: the longest alias and the longest subtopic (U-T13,
/// U-T3). The filter is kept as long as the subscription.
const FILTER_CHARACTERS_MAX: usize = ALIAS_CHARACTERS_MAX + SUBTOPIC_CHARACTERS_MAX;

/// The interest of `principal` in `filter`, granted or not.
///
/// # Errors
/// [`SubscribeRefusal`] if the filter is malformed or can select nothing that the principal may ever read (U-T9).
pub fn narrow(
    principal: &Principal,
    filter: &str,
    options: TopicOptions,
) -> Result<Interest, SubscribeRefusal> {
    validate_topic_filter(filter)?;
    let reader = match principal {
        Principal::Broker(_) => return free(filter),
        Principal::Registry(registry) => Reader { registry, device: None, options },
        Principal::Device { device, registry } => Reader { registry, device: Some(device), options },
    };
    check_length(filter, FILTER_CHARACTERS_MAX)?;
    let (first, rest) = match filter.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (filter, None),
    };
    match first {
        DEVICES | REGISTRIES | MONITORING | ME => {
            let levels = Levels::parse(rest).ok_or(SubscribeRefusal::NothingReadable)?;
            let rename = if first == ME { Rename::Me } else { Rename::Canonical };
            let patterns = reader.patterns(first, levels)?;
            if patterns.is_empty() {
                return Err(SubscribeRefusal::NothingReadable);
            }
            Ok(reader.interest(filter, patterns, levels.form(rename), false))
        }
        "devices" | "registries" => {
            let family = if first == "devices" { DEVICES } else { REGISTRIES };
            let (patterns, form) = match Levels::parse(rest) {
                Some(levels) => (reader.patterns(family, levels)?, levels.form(Rename::DollarLess)),
                None => (Vec::new(), Form::PLAIN),
            };
            Ok(reader.interest(filter, patterns, form, true))
        }
        _ if first.starts_with('$') => Err(SubscribeRefusal::NothingReadable),
        _ => Ok(reader.interest(filter, Vec::new(), Form::PLAIN, true)),
    }
}

/// A broker client reads everything in its space that does not start with `$` (`spec/topics.md` section 10).
fn free(filter: &str) -> Result<Interest, SubscribeRefusal> {
    if filter.starts_with('$') {
        return Err(SubscribeRefusal::NothingReadable);
    }
    check_length(filter, FREE_TOPIC_CHARACTERS_MAX)?;
    let filter = SmolStr::new(filter);
    let pattern = Pattern { scope: Scope::Free, suffix: filter.clone() };
    Ok(Interest {
        filter,
        patterns: Box::new([pattern]),
        form: Form::PLAIN,
        aliases: None,
        alias_target: None,
    })
}

/// Refuses a text of more than `limit` characters (U-T3).
fn check_length(text: &str, limit: usize) -> Result<(), SubscribeRefusal> {
    if text.len() <= limit {
        return Ok(());
    }
    match text.chars().count() {
        characters if characters > limit => Err(SubscribeRefusal::TooLong { characters, limit }),
        _ => Ok(()),
    }
}

/// The levels of a filter behind the first one, as far as narrowing looks at them.
#[derive(Clone, Copy)]
struct Levels<'a> {
    second: Slot<'a>,
    third: Slot<'a>,
    /// Everything behind the third level; `#` if a `#` covers it.
    tail: Option<&'a str>,
}

impl<'a> Levels<'a> {
    /// `None` for a filter of fewer than three levels and no `#`, which selects no topic.
    fn parse(rest: Option<&'a str>) -> Option<Self> {
        let rest = rest?;
        if rest == "#" {
            return Some(Self { second: Slot::Hash, third: Slot::Hash, tail: Some("#") });
        }
        let (second, rest) = rest.split_once('/')?;
        let second = slot(second);
        if rest == "#" {
            return Some(Self { second, third: Slot::Hash, tail: Some("#") });
        }
        Some(match rest.split_once('/') {
            Some((third, tail)) => Self { second, third: slot(third), tail: Some(tail) },
            None => Self { second, third: slot(rest), tail: None },
        })
    }

    fn form(self, rename: Rename) -> Form {
        Form::new(rename, self.second, self.third, self.tail)
    }
}

fn slot(level: &str) -> Slot<'_> {
    if level == "+" { Slot::Plus } else { Slot::Literal(level) }
}

/// A registry or device session as a reader.
struct Reader<'a> {
    registry: &'a RegistryId,
    device: Option<&'a DeviceId>,
    options: TopicOptions,
}

impl Reader<'_> {
    fn side(&self) -> Side {
        if self.device.is_some() { Side::Device } else { Side::Registry }
    }

    /// The readable patterns of a filter of the family that starts with the level `family`; none if nothing is.
    fn patterns(&self, family: &str, levels: Levels<'_>) -> Result<Vec<Pattern>, SubscribeRefusal> {
        let mut patterns = Vec::new();
        for scope in self.scopes(family, levels.second) {
            if matches!(scope, Scope::Monitoring(_) | Scope::EveryMonitoring) {
                let is_whole_topic = matches!(levels.tail, None | Some("#"));
                if is_whole_topic && levels.third.admits(MONITORING_LEVEL) {
                    patterns.push(Pattern { scope, suffix: SmolStr::new_static(MONITORING_LEVEL) });
                }
                continue;
            }
            check_length(levels.tail.unwrap_or_default(), SUBTOPIC_CHARACTERS_MAX)?;
            for kind in self.kinds(levels.third) {
                let suffix = match levels.tail {
                    Some(tail) => format_smolstr!("{kind}/{tail}"),
                    None => SmolStr::new_static(kind.as_str()),
                };
                patterns.push(Pattern { scope: scope.clone(), suffix });
            }
        }
        Ok(patterns)
    }

    /// What the second level of a filter selects, as far as the reader's rights go.
    fn scopes(&self, family: &str, second: Slot<'_>) -> Vec<Scope> {
        match family {
            DEVICES => match self.device {
                Some(own) if second.admits(own.as_str()) => vec![Scope::Device(own.clone())],
                Some(_) => Vec::new(),
                None => one_device(second)
                    .map_or(Vec::new(), |device| vec![device.map_or(Scope::EveryDevice, Scope::Device)]),
            },
            REGISTRIES if second.admits(self.registry.as_str()) => {
                vec![Scope::Registry(self.registry.clone())]
            }
            MONITORING => one_device(second)
                .map_or(Vec::new(), |device| vec![device.map_or(Scope::EveryMonitoring, Scope::Monitoring)]),
            ME => self.own_scopes(second),
            _ => Vec::new(),
        }
    }

    /// What the second level of a `$me` filter selects: `registry` in every session (U-T5), `device` and `monitoring`
    /// in a device session.
    fn own_scopes(&self, second: Slot<'_>) -> Vec<Scope> {
        let mut scopes = Vec::new();
        if second.admits("registry") {
            scopes.push(Scope::Registry(self.registry.clone()));
        }
        if let Some(own) = self.device {
            if second.admits("device") {
                scopes.push(Scope::Device(own.clone()));
            }
            if second.admits("monitoring") {
                scopes.push(Scope::Monitoring(own.clone()));
            }
        }
        scopes
    }

    /// The readable kinds that the third level selects. A wildcard covers the permanent kind too, unless switched off
    /// (U-T8).
    fn kinds(&self, third: Slot<'_>) -> Vec<Kind> {
        let covers_permanent =
            matches!(third, Slot::Literal(_)) || self.options.kind_wildcard_covers_permanent;
        readable_kinds(self.side())
            .into_iter()
            .filter(|kind| third.admits(kind.as_str()) && (covers_permanent || !kind.is_permanent()))
            .collect()
    }

    fn interest(&self, filter: &str, patterns: Vec<Pattern>, form: Form, selects_aliases: bool) -> Interest {
        let reader = || self.device.map_or(AliasReader::Registry, |own| AliasReader::Device(own.clone()));
        Interest {
            filter: SmolStr::new(filter),
            patterns: patterns.into_boxed_slice(),
            form,
            aliases: selects_aliases.then(reader),
            alias_target: None,
        }
    }
}

/// The device that a second level names: `Some(None)` for every device, `None` for a level that is no id.
#[expect(clippy::option_option, reason = "no id, any id and one id are three different answers")]
fn one_device(second: Slot<'_>) -> Option<Option<DeviceId>> {
    match second {
        Slot::Literal(id) => DeviceId::parse(id).ok().map(Some),
        Slot::Plus | Slot::Hash => Some(None),
    }
}
