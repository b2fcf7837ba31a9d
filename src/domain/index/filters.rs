//! All filters below one scope: of one device, of the registry, of the aliases, of a broker.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use super::subscribers::{Subscriber, SubscriberSet};
use super::trie::Trie;
use crate::mqtt::qos::QoS;
use crate::mqtt::topic::{has_wildcard, levels_match};

/// Up to this many filters are a plain list: a device has one to four, and comparing them is faster than any search.
const FEW_MAX: usize = 8;

/// Filters and who stands behind them.
#[derive(Debug)]
pub(super) enum FilterIndex<K> {
    /// At most [`FEW_MAX`] filters.
    Few(Vec<(SmolStr, SubscriberSet<K>)>),
    Many(Box<ManyFilters<K>>),
}

/// Exact filters by text, the others by level.
#[derive(Debug)]
pub(super) struct ManyFilters<K> {
    exact: BTreeMap<SmolStr, SubscriberSet<K>>,
    wild: Trie<K>,
}

impl<K> Default for FilterIndex<K> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<K: Copy + Ord> FilterIndex<K> {
    /// Adds a subscriber behind `filter` or replaces its QoS. Returns whether it is new.
    pub(super) fn insert(&mut self, filter: &SmolStr, own: Subscriber<K>, qos: QoS) -> bool {
        match self {
            Self::Few(few) => {
                if let Some((_, set)) = few.iter_mut().find(|(present, _)| present == filter) {
                    return set.insert(own, qos);
                }
                if few.len() < FEW_MAX {
                    few.reserve_exact(1);
                    few.push((filter.clone(), SubscriberSet::one(own, qos)));
                    return true;
                }
                let mut many = ManyFilters { exact: BTreeMap::new(), wild: Trie::default() };
                for (filter, set) in few.drain(..) {
                    set.for_each(|subscriber, granted| {
                        many.insert(&filter, subscriber, granted);
                    });
                }
                let is_new = many.insert(filter, own, qos);
                *self = Self::Many(Box::new(many));
                is_new
            }
            Self::Many(many) => many.insert(filter, own, qos),
        }
    }

    /// Removes a subscriber behind `filter`. Returns whether it was there.
    pub(super) fn remove(&mut self, filter: &SmolStr, own: Subscriber<K>) -> bool {
        match self {
            Self::Few(few) => {
                let Some(at) = few.iter().position(|(present, _)| present == filter) else {
                    return false;
                };
                let found = few[at].1.remove(own);
                if few[at].1.is_empty() {
                    few.swap_remove(at);
                    few.shrink_to_fit();
                }
                found
            }
            Self::Many(many) => {
                let found = many.remove(filter, own);
                if many.is_empty() {
                    *self = Self::default();
                }
                found
            }
        }
    }

    /// Calls `visit` with the subscribers of each filter that selects `name`.
    pub(super) fn visit<'a>(&'a self, name: &str, visit: &mut impl FnMut(&'a SubscriberSet<K>)) {
        match self {
            Self::Few(few) => {
                for (filter, set) in few {
                    if levels_match(filter, name) {
                        visit(set);
                    }
                }
            }
            Self::Many(many) => {
                if let Some(set) = many.exact.get(name) {
                    visit(set);
                }
                many.wild.visit(name, visit);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }
}

impl<K: Copy + Ord> ManyFilters<K> {
    fn insert(&mut self, filter: &SmolStr, own: Subscriber<K>, qos: QoS) -> bool {
        if has_wildcard(filter) {
            self.wild.insert(filter, own, qos)
        } else {
            self.exact.entry(filter.clone()).or_default().insert(own, qos)
        }
    }

    fn remove(&mut self, filter: &SmolStr, own: Subscriber<K>) -> bool {
        if has_wildcard(filter) {
            return self.wild.remove(filter, own);
        }
        let Some(set) = self.exact.get_mut(filter) else {
            return false;
        };
        let found = set.remove(own);
        if set.is_empty() {
            self.exact.remove(filter);
        }
        found
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wild.is_empty()
    }
}
