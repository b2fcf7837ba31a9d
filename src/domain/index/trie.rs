//! Filters with wildcards, as a tree of levels.
//!
//! Depth is bounded by the level cap of filters (200, attack A27), so recursion is too.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use super::subscribers::{Subscriber, SubscriberSet};
use crate::mqtt::qos::QoS;

/// A node: the filters that begin with the levels on the path to it.
#[derive(Debug)]
pub(super) struct Trie<K> {
    children: Children<K>,
    plus: Option<Box<Trie<K>>>,
    /// Behind the filter that ends with `#` after this node.
    hash: SubscriberSet<K>,
    /// Behind the filter that ends at this node.
    here: SubscriberSet<K>,
}

/// The literal levels below a node.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "most nodes have no or one child and must stay small")]
enum Children<K> {
    None,
    One(Box<(SmolStr, Trie<K>)>),
    Many(Box<BTreeMap<SmolStr, Trie<K>>>),
}

impl<K> Default for Trie<K> {
    fn default() -> Self {
        Self {
            children: Children::None,
            plus: None,
            hash: SubscriberSet::default(),
            here: SubscriberSet::default(),
        }
    }
}

impl<K: Copy + Ord> Trie<K> {
    /// Adds a subscriber behind `filter` or replaces its QoS. Returns whether it is new.
    pub(super) fn insert(&mut self, filter: &str, own: Subscriber<K>, qos: QoS) -> bool {
        let mut node = self;
        for level in filter.split('/') {
            node = match level {
                "#" => return node.hash.insert(own, qos),
                "+" => node.plus.get_or_insert_default(),
                literal => node.children.get_or_insert(literal),
            };
        }
        node.here.insert(own, qos)
    }

    /// Removes a subscriber behind `filter`, and the nodes that nothing needs any more. Returns whether it was there.
    pub(super) fn remove(&mut self, filter: &str, own: Subscriber<K>) -> bool {
        self.remove_below(Some(filter), own)
    }

    /// Removes behind the levels that are left of the filter; `None` if it ends at this node.
    fn remove_below(&mut self, rest: Option<&str>, own: Subscriber<K>) -> bool {
        let Some(rest) = rest else {
            return self.here.remove(own);
        };
        let (level, rest) = next_level(rest);
        match level {
            "#" => self.hash.remove(own),
            "+" => {
                let Some(plus) = &mut self.plus else {
                    return false;
                };
                let found = plus.remove_below(rest, own);
                if plus.is_empty() {
                    self.plus = None;
                }
                found
            }
            literal => {
                let Some(child) = self.children.get_mut(literal) else {
                    return false;
                };
                let found = child.remove_below(rest, own);
                if child.is_empty() {
                    self.children.remove(literal);
                }
                found
            }
        }
    }

    /// Calls `visit` with the subscribers of each filter that selects `name`.
    pub(super) fn visit<'a>(&'a self, name: &str, visit: &mut impl FnMut(&'a SubscriberSet<K>)) {
        self.visit_below(Some(name), visit);
    }

    fn visit_below<'a>(&'a self, rest: Option<&str>, visit: &mut impl FnMut(&'a SubscriberSet<K>)) {
        // `#` stands for the levels that are left, or for none: `X/#` selects `X`.
        visit(&self.hash);
        let Some(rest) = rest else {
            visit(&self.here);
            return;
        };
        let (level, rest) = next_level(rest);
        if let Some(child) = self.children.get(level) {
            child.visit_below(rest, visit);
        }
        if let Some(plus) = &self.plus {
            plus.visit_below(rest, visit);
        }
    }

    /// Whether no filter is left at or below this node.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.children, Children::None)
            && self.plus.is_none()
            && self.hash.is_empty()
            && self.here.is_empty()
    }
}

impl<K> Children<K> {
    fn get(&self, level: &str) -> Option<&Trie<K>> {
        match self {
            Self::None => None,
            Self::One(one) => (one.0 == level).then_some(&one.1),
            Self::Many(many) => many.get(level),
        }
    }

    fn get_mut(&mut self, level: &str) -> Option<&mut Trie<K>> {
        match self {
            Self::None => None,
            Self::One(one) => (one.0 == level).then_some(&mut one.1),
            Self::Many(many) => many.get_mut(level),
        }
    }

    fn get_or_insert(&mut self, level: &str) -> &mut Trie<K> {
        match std::mem::replace(self, Self::None) {
            Self::None => *self = Self::One(Box::new((SmolStr::new(level), Trie::default()))),
            Self::One(one) if one.0 == level => *self = Self::One(one),
            Self::One(one) => *self = Self::Many(Box::new(BTreeMap::from([*one]))),
            Self::Many(many) => *self = Self::Many(many),
        }
        match self {
            Self::One(one) => &mut one.1,
            Self::Many(many) => {
                if !many.contains_key(level) {
                    many.insert(SmolStr::new(level), Trie::default());
                }
                many.get_mut(level).expect("inserted above")
            }
            Self::None => unreachable!("replaced above"),
        }
    }

    fn remove(&mut self, level: &str) {
        match self {
            Self::None => {}
            Self::One(one) => {
                if one.0 == level {
                    *self = Self::None;
                }
            }
            Self::Many(many) => {
                many.remove(level);
                if many.is_empty() {
                    *self = Self::None;
                }
            }
        }
    }
}

/// The first level of a topic or filter, and the rest if there are more levels.
fn next_level(text: &str) -> (&str, Option<&str>) {
    match text.split_once('/') {
        Some((level, rest)) => (level, Some(rest)),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::interest::Form;

    fn subscriber(key: u32) -> Subscriber<u32> {
        Subscriber { key, form: Form::PLAIN }
    }

    fn found(trie: &Trie<u32>, name: &str) -> Vec<u32> {
        let mut keys = Vec::new();
        trie.visit(name, &mut |set| set.for_each(|subscriber, _| keys.push(subscriber.key)));
        keys.sort_unstable();
        keys
    }

    #[test]
    fn finds_every_filter_that_selects_a_name_and_leaves_no_node_behind() {
        let filters = ["#", "+", "a/#", "a/+", "a/+/c", "+/+", "/+", "+/#", "a/b/#", "+/b/+", "x/#", "y/+"];
        let mut trie = Trie::default();
        for (key, filter) in filters.iter().enumerate() {
            assert!(trie.insert(filter, subscriber(key as u32), QoS::AtMostOnce));
        }
        for name in ["a", "a/", "a/b", "a/b/c", "/x", "/", "x", "y/z", "q/b/r", "a/b/c/d"] {
            let expected: Vec<u32> = (0u32..)
                .zip(filters)
                .filter(|(_, filter)| crate::mqtt::topic::levels_match(filter, name))
                .map(|(key, _)| key)
                .collect();
            assert_eq!(found(&trie, name), expected, "{name}");
        }
        for (key, filter) in filters.iter().enumerate() {
            assert!(!trie.remove(filter, subscriber(99)));
            assert!(trie.remove(filter, subscriber(key as u32)), "{filter}");
        }
        assert!(trie.is_empty());
    }

    #[test]
    fn a27_the_deepest_filter_goes_in_and_out() {
        let filter = ["+/a"; 100].join("/");
        let mut trie = Trie::default();
        assert!(trie.insert(&filter, subscriber(1), QoS::AtMostOnce));
        assert_eq!(found(&trie, &["a/a"; 100].join("/")), [1]);
        assert!(trie.remove(&filter, subscriber(1)));
        assert!(trie.is_empty());
    }
}
