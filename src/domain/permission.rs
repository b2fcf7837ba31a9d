//! The permission matrix (`spec/topics.md` section 2): one table, one verdict.
//!
//! Publish, subscribe, will and API publish all ask [`decide`]; no other code knows who may do what (attack A24).

use super::address::{CanonicalTopic, TopicClass};
use super::kind::Kind;
use super::principal::Principal;

/// What somebody wants to do with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Send a message to it.
    Publish,
    /// Receive its messages.
    Subscribe,
}

/// Whether `principal` may do `action` on `topic`, which must be a topic of the principal's own space: the registry
/// and the existence of an addressed device are checked by `resolve` before.
pub fn decide(principal: &Principal, topic: &CanonicalTopic, action: Action) -> bool {
    match (topic.class(), principal) {
        (TopicClass::Free, Principal::Broker(_)) => true,
        (TopicClass::Free, _) | (_, Principal::Broker(_)) => false,
        (TopicClass::Monitoring { .. }, _) => action == Action::Subscribe,
        (TopicClass::Device { device, kind }, Principal::Device { device: own, .. }) => {
            device == own && allows(Side::Device, *kind, action)
        }
        (TopicClass::Registry { kind }, Principal::Device { .. }) => allows(Side::Device, *kind, action),
        (TopicClass::Device { kind, .. } | TopicClass::Registry { kind }, Principal::Registry(_)) => {
            allows(Side::Registry, *kind, action)
        }
    }
}

/// The kinds that a side may subscribe to: the ordinary one first, then its permanent twin.
pub(super) const fn readable_kinds(side: Side) -> [Kind; 2] {
    match side {
        Side::Device => [Kind::Commands, Kind::Config],
        Side::Registry => [Kind::Events, Kind::State],
    }
}

/// Whether a side may subscribe to a kind, in the topics that concern it.
pub(super) const fn reads(side: Side, kind: Kind) -> bool {
    allows(side, kind, Action::Subscribe)
}

/// The two ends of a device or registry topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// A device, on its own topics or those of its registry.
    Device,
    /// The registry.
    Registry,
}

/// Each kind flows one way: its writer cannot read it, its reader cannot write it.
const fn allows(side: Side, kind: Kind, action: Action) -> bool {
    let writer_is_device = kind.is_from_device();
    let acts_as_writer = matches!(action, Action::Publish);
    let is_device = matches!(side, Side::Device);
    (writer_is_device == is_device) == acts_as_writer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{BrokerId, DeviceId, RegistryId};

    /// Columns: device D1, registry R, other device D2, broker client. `p` publish, `s` subscribe, `b` both.
    const MATRIX: [(&str, [char; 4]); 9] = [
        ("$devices/d1/events", ['p', 's', '-', '-']),
        ("$devices/d1/state", ['p', 's', '-', '-']),
        ("$devices/d1/commands", ['s', 'p', '-', '-']),
        ("$devices/d1/config", ['s', 'p', '-', '-']),
        ("$registries/r/events", ['p', 's', 'p', '-']),
        ("$registries/r/state", ['p', 's', 'p', '-']),
        ("$registries/r/commands", ['s', 'p', 's', '-']),
        ("$registries/r/config", ['s', 'p', 's', '-']),
        ("$monitoring/d1/json", ['s', 's', 's', '-']),
    ];

    fn verdict(principal: &Principal, topic: &CanonicalTopic) -> char {
        let publish = decide(principal, topic, Action::Publish);
        match (publish, decide(principal, topic, Action::Subscribe)) {
            (true, true) => 'b',
            (true, false) => 'p',
            (false, true) => 's',
            (false, false) => '-',
        }
    }

    #[test]
    fn matrix_of_section_2() {
        let registry = RegistryId::new("r");
        let device =
            |id: &str| Principal::Device { device: DeviceId::new(id), registry: RegistryId::new("r") };
        let broker = Principal::Broker(BrokerId::new("b"));
        let columns = [device("d1"), Principal::Registry(registry.clone()), device("d2"), broker.clone()];
        for (text, row) in MATRIX {
            for subtopic in ["", "/", "/a/b"] {
                if !subtopic.is_empty() && text.ends_with("json") {
                    continue;
                }
                let topic = CanonicalTopic::parse(&format!("{text}{subtopic}"), &registry).unwrap();
                for (principal, expected) in columns.iter().zip(row) {
                    assert_eq!(verdict(principal, &topic), expected, "{principal:?} {topic}");
                }
            }
        }
        let free = CanonicalTopic::free("/my/topic");
        assert_eq!(verdict(&broker, &free), 'b');
        assert_eq!(verdict(&device("d1"), &free), '-');
        assert_eq!(verdict(&Principal::Registry(registry), &free), '-');
    }

    #[test]
    fn readable_kinds_are_those_of_the_matrix() {
        for side in [Side::Device, Side::Registry] {
            for kind in Kind::ALL {
                let listed = readable_kinds(side).contains(&kind);
                assert_eq!(listed, allows(side, kind, Action::Subscribe), "{side:?} {kind}");
            }
        }
    }
}
