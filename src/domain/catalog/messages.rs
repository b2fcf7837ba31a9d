//! The stored messages of permanent topics (`spec/topics.md`, section 7).

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use smol_str::SmolStr;

use super::command::SetPermanent;
use super::entity::{Resource, StoredMessage};
use super::event::{Event, Outcome};
use super::rejection::{Limit, Rejection};
use super::state::{Catalog, not_found};
use crate::domain::address::{CanonicalTopic, DEVICES, TopicClass};
use crate::domain::id::{DeviceId, RegistryId};
use crate::domain::principal::SpaceId;
use crate::domain::quota::CatalogLimits;

/// What one stored message counts for beyond its topic and payload, in bytes.
pub const MESSAGE_OVERHEAD_BYTES: u64 = 128;

/// The topics of one space in string order.
type SpaceMessages = OrdMap<Arc<str>, Arc<StoredMessage>>;

/// All stored messages and what they sum up to.
#[derive(Debug, Clone, Default)]
pub(super) struct Messages {
    by_space: OrdMap<SpaceId, SpaceMessages>,
    /// Topics per device, and per registry for the registry's own topics.
    counts: OrdMap<SmolStr, u64>,
    bytes: u64,
}

/// The stored messages that a filter selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// In string order of the topics.
    pub messages: Vec<Arc<StoredMessage>>,
    /// Whether there are more than were asked for (`spec/topics.md`, section 7: above 1,000 is not guaranteed).
    pub truncated: bool,
}

impl Catalog {
    /// The stored message of one canonical topic.
    pub fn stored_message(&self, space: &SpaceId, topic: &str) -> Option<&Arc<StoredMessage>> {
        self.messages.by_space.get(space)?.get(topic)
    }

    /// The stored messages of the canonical topics that a valid filter over canonical topics matches, at most `max`.
    /// Takes a number of steps in the order of the matching topics and of the levels that a `+` stands for.
    pub fn stored_messages(&self, space: &SpaceId, filter: &str, max: usize) -> Selection {
        let mut selection = Selection { messages: Vec::new(), truncated: false };
        let Some(topics) = self.messages.by_space.get(space) else { return selection };
        for message in matches(topics, filter) {
            if selection.messages.len() == max {
                selection.truncated = true;
                break;
            }
            selection.messages.push(Arc::clone(message));
        }
        selection
    }

    /// How many messages are stored, and the bytes they count for.
    pub fn stored_message_totals(&self) -> (u64, u64) {
        let count = self.messages.by_space.values().map(OrdMap::len).sum::<usize>();
        (count as u64, self.messages.bytes)
    }

    pub(super) fn set_permanent(
        &mut self,
        index: u64,
        input: SetPermanent,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, Rejection> {
        let SetPermanent { space, topic, payload, qos, at, origin } = input;
        let (entity, canonical) = self.permanent_topic(&space, &topic)?;
        let message = StoredMessage { topic, payload: payload.clone(), qos, index, at };
        if message.payload.is_empty() {
            self.messages.remove(&space, &entity, &message.topic);
        } else {
            self.messages.check_room(&space, &entity, &message, &self.limits)?;
            self.messages.insert(&space, &entity, message);
        }
        events.push(Event::PermanentSet { space, topic: canonical, payload, qos, index, at, origin });
        Ok(Outcome::Done)
    }

    /// Puts back a message of a snapshot.
    pub(super) fn insert_message(
        &mut self,
        space: &SpaceId,
        message: StoredMessage,
    ) -> Result<(), Rejection> {
        let (entity, _) = self.permanent_topic(space, &message.topic)?;
        self.messages.insert(space, &entity, message);
        Ok(())
    }

    /// Reads the topic and names the device, or the registry itself, whose topics it counts among.
    fn permanent_topic(
        &self,
        space: &SpaceId,
        topic: &Arc<str>,
    ) -> Result<(SmolStr, CanonicalTopic), Rejection> {
        let refused = || Rejection::NotPermanent { topic: Arc::clone(topic) };
        let SpaceId::Registry(registry) = space else { return Err(refused()) };
        self.existing_registry(registry)?;
        let canonical = CanonicalTopic::parse(topic, registry).map_err(|_| refused())?;
        if !canonical.is_permanent() {
            return Err(refused());
        }
        let entity = match canonical.class() {
            TopicClass::Device { device, .. } => {
                let device = self.device_of_registry(registry, device.as_str());
                let missing = || not_found(Resource::Device, canonical.device().map_or("", DeviceId::as_str));
                SmolStr::new(device.ok_or_else(missing)?.id.as_str())
            }
            _ => SmolStr::new(registry.as_str()),
        };
        Ok((entity, canonical))
    }
}

impl Messages {
    /// Every message with its space, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&SpaceId, &Arc<StoredMessage>)> {
        self.by_space.iter().flat_map(|(space, topics)| topics.values().map(move |message| (space, message)))
    }

    fn get(&self, space: &SpaceId, topic: &str) -> Option<&Arc<StoredMessage>> {
        self.by_space.get(space)?.get(topic)
    }

    fn check_room(
        &self,
        space: &SpaceId,
        entity: &SmolStr,
        message: &StoredMessage,
        limits: &CatalogLimits,
    ) -> Result<(), Rejection> {
        let old = self.get(space, &message.topic);
        let count = self.counts.get(entity).copied().unwrap_or_default();
        let max = limits.permanent_topics_per_entity_max;
        if old.is_none() && count >= max {
            return Err(Rejection::TooMany { limit: Limit::PermanentTopicsPerEntity, max });
        }
        let bytes = self.bytes - old.map_or(0, |old| old.counted_bytes()) + message.counted_bytes();
        let max = limits.permanent_bytes_max;
        if bytes > max {
            return Err(Rejection::TooMany { limit: Limit::PermanentBytes, max });
        }
        Ok(())
    }

    fn insert(&mut self, space: &SpaceId, entity: &SmolStr, message: StoredMessage) {
        self.bytes += message.counted_bytes();
        let topics = self.by_space.entry(space.clone()).or_default();
        match topics.insert(Arc::clone(&message.topic), Arc::new(message)) {
            Some(old) => self.bytes -= old.counted_bytes(),
            None => *self.counts.entry(entity.clone()).or_insert(0) += 1,
        }
    }

    fn remove(&mut self, space: &SpaceId, entity: &SmolStr, topic: &str) {
        let Some(topics) = self.by_space.get_mut(space) else { return };
        let Some(old) = topics.remove(topic) else { return };
        if topics.is_empty() {
            self.by_space.remove(space);
        }
        self.bytes -= old.counted_bytes();
        match self.counts.get(entity).copied() {
            Some(count) if count > 1 => self.counts.insert(entity.clone(), count - 1),
            _ => self.counts.remove(entity),
        };
    }

    /// Forgets what is stored under the topics of a device that goes away (U-T21).
    pub(super) fn remove_device(&mut self, registry: &RegistryId, device: &DeviceId) {
        let space = SpaceId::Registry(registry.clone());
        let prefix = format!("{DEVICES}/{device}/");
        let Some(topics) = self.by_space.get(&space) else { return };
        let range = topics.range::<_, str>((Bound::Included(prefix.as_str()), Bound::Unbounded));
        let doomed = range.map(|(topic, _)| topic).take_while(|topic| topic.starts_with(&prefix));
        let doomed: Vec<Arc<str>> = doomed.cloned().collect();
        let entity = SmolStr::new(device.as_str());
        for topic in doomed {
            self.remove(&space, &entity, &topic);
        }
    }

    /// Forgets the whole space of a registry that goes away; its devices are gone already.
    pub(super) fn remove_space(&mut self, space: &SpaceId) {
        let Some(topics) = self.by_space.remove(space) else { return };
        self.bytes -= topics.values().map(|message| message.counted_bytes()).sum::<u64>();
        self.counts.remove(space.as_str());
    }
}

impl StoredMessage {
    /// What the message counts for in the limit of bytes.
    pub fn counted_bytes(&self) -> u64 {
        (self.topic.len() + self.payload.len()) as u64 + MESSAGE_OVERHEAD_BYTES
    }
}

/// The messages whose topics a filter matches, in string order.
///
/// Looks at one topic after the other, and where a topic differs from the filter at some level, continues at the next
/// place where a match could stand. So topics under other names cost nothing, however many there are.
fn matches<'a>(topics: &'a SpaceMessages, filter: &str) -> impl Iterator<Item = &'a Arc<StoredMessage>> {
    let levels: Vec<String> = filter.split('/').map(str::to_owned).collect();
    let mut position = Bound::Included(String::new());
    std::iter::from_fn(move || {
        loop {
            let from = position.as_ref().map(String::as_str);
            let (topic, message) = topics.range::<_, str>((from, Bound::Unbounded)).next()?;
            match compare(topic, &levels) {
                Step::Match => {
                    position = Bound::Excluded(String::from(&**topic));
                    return Some(message);
                }
                Step::Continue(next) => position = next,
                Step::End => return None,
            }
        }
    })
}

/// What a topic that the search came to means for it.
enum Step {
    /// It is one.
    Match,
    /// It is none; the next could stand here.
    Continue(Bound<String>),
    /// It is none, and none follows.
    End,
}

fn compare(topic: &str, levels: &[String]) -> Step {
    let mut start = 0;
    let mut rest = Some(topic);
    for level in levels {
        if level == "#" {
            return Step::Match;
        }
        let Some(text) = rest else { return Step::Continue(Bound::Excluded(topic.to_owned())) };
        let (own, after) = text.split_once('/').map_or((text, None), |(own, after)| (own, Some(after)));
        if level != "+" && own != level {
            return seek(topic, &topic[..start], level);
        }
        start += own.len() + 1;
        rest = after;
    }
    match rest {
        None => Step::Match,
        // Inside the subtree below a match.
        Some(_) => Step::Continue(behind_subtree(&topic[..start])),
    }
}

/// Where, after `topic`, a topic with `level` below `parent` (with its slash) could stand.
fn seek(topic: &str, parent: &str, level: &str) -> Step {
    let exact = format!("{parent}{level}");
    if topic < exact.as_str() {
        return Step::Continue(Bound::Included(exact));
    }
    let subtree = format!("{exact}/");
    if topic < subtree.as_str() {
        return Step::Continue(Bound::Included(subtree));
    }
    if parent.is_empty() { Step::End } else { Step::Continue(behind_subtree(parent)) }
}

/// The first string behind all that start with `prefix`, which ends with a slash: `0` follows `/` in ASCII.
fn behind_subtree(prefix: &str) -> Bound<String> {
    Bound::Included(format!("{}0", &prefix[..prefix.len() - 1]))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::{Strategy, prop_assert_eq, proptest};

    use super::*;
    use crate::domain::timestamp::Timestamp;
    use crate::mqtt::qos::QoS;
    use crate::mqtt::topic::filter::levels_match;

    fn space_of<'a>(topics: impl IntoIterator<Item = &'a str>) -> SpaceMessages {
        let message = |topic: &str| StoredMessage {
            topic: Arc::from(topic),
            payload: Bytes::from_static(b"x"),
            qos: QoS::AtLeastOnce,
            index: 1,
            at: Timestamp::default(),
        };
        topics.into_iter().map(|topic| (Arc::from(topic), Arc::new(message(topic)))).collect()
    }

    fn selected(topics: &SpaceMessages, filter: &str) -> Vec<String> {
        matches(topics, filter).map(|message| message.topic.to_string()).collect()
    }

    #[test]
    fn case_122_and_123_wildcards_find_stored_topics() {
        let topics = space_of([
            "$devices/d1/state",
            "$devices/d1/state/a",
            "$devices/d1/state-x",
            "$devices/d1/state/b",
            "$devices/d1/config",
            "$devices/d2/state",
            "$devices/d2/state/",
            "$registries/r/config",
        ]);
        let under_d1 = ["$devices/d1/state", "$devices/d1/state/a", "$devices/d1/state/b"];
        assert_eq!(selected(&topics, "$devices/d1/state/#"), under_d1);
        assert_eq!(selected(&topics, "$devices/+/state"), ["$devices/d1/state", "$devices/d2/state"]);
        assert_eq!(selected(&topics, "$devices/d2/state/+"), ["$devices/d2/state/"]);
        assert_eq!(selected(&topics, "$registries/r/config/#"), ["$registries/r/config"]);
        assert!(selected(&topics, "$registries/r/state").is_empty());
    }

    #[test]
    fn a_literal_level_behind_a_plus_is_found_by_seeking() {
        // A28: many topics, wildcard over all of them. The steps are bounded by the devices, not by the topics.
        let many: Vec<String> =
            (0..50).flat_map(|d| (0..200).map(move |t| format!("$devices/d{d}/state/{t}"))).collect();
        let topics = space_of(many.iter().map(String::as_str));
        assert_eq!(selected(&topics, "$devices/+/state/7").len(), 50);
        assert_eq!(selected(&topics, "$devices/+/config/7").len(), 0);
    }

    fn text(levels: &'static [&'static str]) -> impl Strategy<Value = String> {
        proptest::collection::vec(proptest::sample::select(levels), 1..5).prop_map(|levels| levels.join("/"))
    }

    proptest! {
        #[test]
        fn selection_equals_matching_one_by_one(
            topics in proptest::collection::btree_set(text(&["", "a", "a-", "a0", "b", "~", "é"]), 0..40),
            head in text(&["", "a", "a-", "+", "b", "~"]),
            hash in proptest::bool::ANY,
        ) {
            let filter = if hash { format!("{head}/#") } else { head };
            let space = space_of(topics.iter().map(String::as_str));
            let expected: Vec<String> =
                topics.iter().filter(|topic| levels_match(&filter, topic)).cloned().collect();
            prop_assert_eq!(selected(&space, &filter), expected);
        }
    }
}
