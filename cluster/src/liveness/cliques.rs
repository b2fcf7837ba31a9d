//! Registered nodes must all reach each other. Finds those that must go when some do not.

use std::collections::{BTreeMap, BTreeSet};

/// Pairs of nodes that cannot talk, each named with its lower identifier first, and since when.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cliques {
    broken: BTreeMap<(u64, u64), u64>,
}

impl Cliques {
    /// Takes note of what the nodes say that serve and are heard. A pair is broken when one of the two says so: it can
    /// send nothing to the other. A node that is not heard is no part of a pair: its end is decided by its silence, and
    /// whoever cannot reach it is not to blame.
    pub(crate) fn note(&mut self, unreachable_by_node: &BTreeMap<u64, &BTreeSet<u64>>, now: u64) {
        let mut broken = BTreeMap::new();
        for (reporter, unreachable) in unreachable_by_node {
            for other in unreachable.iter().filter(|other| unreachable_by_node.contains_key(other)) {
                if other != reporter {
                    let pair = (*reporter.min(other), *reporter.max(other));
                    broken.insert(pair, self.broken.get(&pair).copied().unwrap_or(now));
                }
            }
        }
        self.broken = broken;
    }

    /// The nodes to give up so that no pair remains that was broken for `patience_ns`: never the leader; first the node
    /// with most broken pairs, because it is the likely culprit; of equals the one with the highest identifier.
    pub(crate) fn victims(&self, leader_id: u64, patience_ns: u64, now: u64) -> BTreeSet<u64> {
        let mut pairs: Vec<(u64, u64)> = self
            .broken
            .iter()
            .filter(|(_, since)| now.saturating_sub(**since) >= patience_ns)
            .map(|(pair, _)| *pair)
            .collect();
        let mut victims = BTreeSet::new();
        while !pairs.is_empty() {
            let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
            for node_id in pairs.iter().flat_map(|(a, b)| [*a, *b]).filter(|node_id| *node_id != leader_id) {
                *counts.entry(node_id).or_default() += 1;
            }
            let worst = counts.into_iter().max_by_key(|(node_id, count)| (*count, *node_id));
            let Some((victim, _)) = worst else { break };
            pairs.retain(|(a, b)| *a != victim && *b != victim);
            victims.insert(victim);
        }
        victims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn victims(leader_id: u64, reports: &[(u64, &[u64])]) -> Vec<u64> {
        let sets: BTreeMap<u64, BTreeSet<u64>> =
            reports.iter().map(|(node_id, others)| (*node_id, others.iter().copied().collect())).collect();
        let reports = sets.iter().map(|(node_id, others)| (*node_id, others)).collect();
        let mut cliques = Cliques::default();
        cliques.note(&reports, 10);
        assert!(cliques.victims(leader_id, 5, 14).is_empty(), "not at once");
        cliques.note(&reports, 15);
        cliques.victims(leader_id, 5, 15).into_iter().collect()
    }

    #[test]
    fn of_a_pair_the_higher_goes_but_never_the_leader() {
        assert_eq!(victims(1, &[(1, &[]), (2, &[3]), (3, &[2])]), [3]);
        assert_eq!(victims(3, &[(1, &[]), (2, &[3]), (3, &[2])]), [2]);
        assert_eq!(victims(3, &[(1, &[2]), (2, &[]), (3, &[])]), [2], "one direction is enough");
    }

    #[test]
    fn whoever_reaches_nobody_goes_alone() {
        assert_eq!(victims(1, &[(1, &[]), (2, &[3, 4]), (3, &[]), (4, &[])]), [2]);
        assert_eq!(victims(1, &[(1, &[]), (2, &[3]), (3, &[]), (4, &[5]), (5, &[])]), [3, 5]);
    }

    #[test]
    fn who_is_not_heard_is_nobody_s_fault() {
        assert!(victims(1, &[(1, &[3]), (2, &[3])]).is_empty());
    }

    #[test]
    fn a_pair_that_talks_again_starts_anew() {
        let (one, none) = (BTreeSet::from([3]), BTreeSet::new());
        let mut cliques = Cliques::default();
        cliques.note(&BTreeMap::from([(2, &one), (3, &none)]), 0);
        cliques.note(&BTreeMap::from([(2, &none), (3, &none)]), 4);
        cliques.note(&BTreeMap::from([(2, &one), (3, &none)]), 5);
        assert!(cliques.victims(1, 5, 9).is_empty());
        assert_eq!(cliques.victims(1, 5, 10), BTreeSet::from([3]));
    }
}
