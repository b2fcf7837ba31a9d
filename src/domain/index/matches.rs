//! What a look-up in the index yields.

use std::sync::Arc;

use super::subscribers::SubscriberSet;
use crate::domain::interest::Rename;
use crate::mqtt::qos::QoS;

/// The receivers of one message, by the name under which they receive it. Reusable from look-up to look-up.
#[derive(Debug)]
pub struct Matches<K> {
    /// One group per name; no two have the same name, none is empty.
    pub groups: Vec<NameGroup<K>>,
    /// Collected since the last naming, by rename rule.
    collected: [Vec<(K, QoS)>; Rename::ALL.len()],
    /// Emptied target lists, kept for their memory.
    spare: Vec<Vec<(K, QoS)>>,
}

/// Those who receive a message under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameGroup<K> {
    /// The topic name to put on the wire.
    pub name: Arc<str>,
    /// The receivers in ascending order, each once, with the highest QoS granted for this name (U-T7).
    pub targets: Vec<(K, QoS)>,
}

impl<K> Default for Matches<K> {
    fn default() -> Self {
        Self { groups: Vec::new(), collected: std::array::from_fn(|_| Vec::new()), spare: Vec::new() }
    }
}

impl<K: Copy + Ord> Matches<K> {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nobody receives the message.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// How many copies of the message are to be delivered.
    pub fn copies(&self) -> usize {
        self.groups.iter().map(|group| group.targets.len()).sum()
    }

    /// Forgets the groups and keeps their memory.
    pub fn clear(&mut self) {
        for group in self.groups.drain(..) {
            let mut targets = group.targets;
            targets.clear();
            self.spare.push(targets);
        }
    }

    /// Adds the subscribers of a filter that matched; [`Self::name_collected`] must follow.
    pub(super) fn collect(&mut self, set: &SubscriberSet<K>) {
        set.for_each(|subscriber, qos| {
            self.collected[subscriber.form.rename() as usize].push((subscriber.key, qos));
        });
    }

    /// Turns what was collected into groups with the names that `name` makes.
    pub(super) fn name_collected(&mut self, name: impl Fn(Rename) -> Arc<str>) {
        for rename in Rename::ALL {
            let collected = &mut self.collected[rename as usize];
            if collected.is_empty() {
                continue;
            }
            let name = name(rename);
            match self.groups.iter_mut().find(|group| group.name == name) {
                Some(group) => {
                    group.targets.append(collected);
                    keep_highest(&mut group.targets);
                }
                None => {
                    keep_highest(collected);
                    let targets = std::mem::replace(collected, self.spare.pop().unwrap_or_default());
                    self.groups.push(NameGroup { name, targets });
                }
            }
        }
    }
}

/// Sorts by subscriber and keeps the highest QoS of each. What came from one filter is in order already.
fn keep_highest<K: Copy + Ord>(targets: &mut Vec<(K, QoS)>) {
    if targets.is_sorted_by(|(left, _), (right, _)| left < right) {
        return;
    }
    targets.sort_unstable_by(|left, right| left.0.cmp(&right.0).then(right.1.cmp(&left.1)));
    targets.dedup_by_key(|(key, _)| *key);
}
