//! Who stands behind one filter: mostly nobody or one session, sometimes a hundred thousand.

use std::collections::BTreeMap;

use crate::domain::interest::Form;
use crate::mqtt::qos::QoS;

/// One subscription below a filter: the session, and which of its filters was narrowed to this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Subscriber<K> {
    pub(super) key: K,
    pub(super) form: Form,
}

/// Sets up to this size are sorted vectors; the move of one element costs no more than a tree would.
const FEW_MAX: usize = 16;

/// A subscriber with its granted QoS, laid out so that a set of one needs no memory beyond it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member<K> {
    key: K,
    form: Form,
    qos: QoS,
}

impl<K: Copy> Member<K> {
    fn new(subscriber: Subscriber<K>, qos: QoS) -> Self {
        Self { key: subscriber.key, form: subscriber.form, qos }
    }

    fn subscriber(&self) -> Subscriber<K> {
        Subscriber { key: self.key, form: self.form }
    }
}

/// A set of subscribers with their granted QoS, ordered by subscriber.
#[derive(Debug, Default)]
#[expect(clippy::box_collection, reason = "most sets have one member and must stay at two words")]
pub(super) enum SubscriberSet<K> {
    #[default]
    Empty,
    One(Member<K>),
    /// Sorted, 2 to [`FEW_MAX`] subscribers.
    Few(Box<Vec<Member<K>>>),
    Many(Box<BTreeMap<Subscriber<K>, QoS>>),
}

impl<K: Copy + Ord> SubscriberSet<K> {
    /// A set of one.
    pub(super) fn one(own: Subscriber<K>, qos: QoS) -> Self {
        Self::One(Member::new(own, qos))
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Adds a subscriber or replaces its QoS. Returns whether it is new.
    pub(super) fn insert(&mut self, own: Subscriber<K>, qos: QoS) -> bool {
        match self {
            Self::Empty => {
                *self = Self::one(own, qos);
                true
            }
            Self::One(present) if present.subscriber() == own => {
                present.qos = qos;
                false
            }
            Self::One(present) => {
                let mut few = vec![*present, Member::new(own, qos)];
                few.sort_unstable_by_key(Member::subscriber);
                *self = Self::Few(Box::new(few));
                true
            }
            Self::Few(few) => match few.binary_search_by_key(&own, Member::subscriber) {
                Ok(at) => {
                    few[at].qos = qos;
                    false
                }
                Err(at) => {
                    few.insert(at, Member::new(own, qos));
                    if few.len() > FEW_MAX {
                        let many = few.iter().map(|member| (member.subscriber(), member.qos)).collect();
                        *self = Self::Many(Box::new(many));
                    }
                    true
                }
            },
            Self::Many(many) => many.insert(own, qos).is_none(),
        }
    }

    /// Removes a subscriber. Returns whether it was there.
    pub(super) fn remove(&mut self, own: Subscriber<K>) -> bool {
        match self {
            Self::Empty => false,
            Self::One(present) => {
                let found = present.subscriber() == own;
                if found {
                    *self = Self::Empty;
                }
                found
            }
            Self::Few(few) => {
                let Ok(at) = few.binary_search_by_key(&own, Member::subscriber) else {
                    return false;
                };
                few.remove(at);
                if let [last] = few[..] {
                    *self = Self::One(last);
                }
                true
            }
            Self::Many(many) => {
                let found = many.remove(&own).is_some();
                if many.len() <= FEW_MAX / 2 {
                    let few = many.iter().map(|(subscriber, qos)| Member::new(*subscriber, *qos)).collect();
                    *self = Self::Few(Box::new(few));
                }
                found
            }
        }
    }

    /// Calls `visit` for each subscriber, in order.
    pub(super) fn for_each(&self, mut visit: impl FnMut(Subscriber<K>, QoS)) {
        match self {
            Self::Empty => {}
            Self::One(member) => visit(member.subscriber(), member.qos),
            Self::Few(few) => few.iter().for_each(|member| visit(member.subscriber(), member.qos)),
            Self::Many(many) => many.iter().for_each(|(subscriber, qos)| visit(*subscriber, *qos)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(key: u64) -> Subscriber<u64> {
        Subscriber { key, form: Form::PLAIN }
    }

    fn keys(set: &SubscriberSet<u64>) -> Vec<u64> {
        let mut keys = Vec::new();
        set.for_each(|subscriber, _| keys.push(subscriber.key));
        keys
    }

    #[test]
    fn grows_and_shrinks_through_all_its_shapes() {
        let mut set = SubscriberSet::default();
        for key in (0..40).rev() {
            assert!(set.insert(subscriber(key), QoS::AtMostOnce));
            assert!(!set.insert(subscriber(key), QoS::AtLeastOnce), "same subscriber again");
        }
        assert_eq!(keys(&set), (0..40).collect::<Vec<_>>());
        assert!(matches!(set, SubscriberSet::Many(_)));
        set.for_each(|_, qos| assert_eq!(qos, QoS::AtLeastOnce));
        for key in 0..40 {
            assert!(set.remove(subscriber(key)));
            assert!(!set.remove(subscriber(key)));
            assert_eq!(keys(&set), (key + 1..40).collect::<Vec<_>>());
        }
        assert!(set.is_empty());
    }

    #[test]
    fn a_lone_subscriber_costs_two_words() {
        assert_eq!(size_of::<SubscriberSet<u64>>(), 16);
    }
}
