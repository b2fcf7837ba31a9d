//! Which epochs are current, as far as this node has applied the log; and the list of the nodes that it has links to.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::intake::Epochs;
use super::peer::Peer;

/// The epochs that the log names.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Current epochs; 0 for a node that has none at the moment.
    epochs: BTreeMap<u64, u64>,
    /// The latest epoch of each node, ended or not.
    latest: BTreeMap<u64, u64>,
}

/// Whether a link may exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Both epochs are current.
    Current,
    /// One of them has ended, for good.
    Over,
    /// One of them is not known here yet. Epochs are indices of the log, so it will be when the log is applied.
    NotYet,
}

impl Table {
    /// Replaces the current epochs; 0 for a node that has none at the moment.
    pub(crate) fn set_epochs(&mut self, epochs: &BTreeMap<u64, u64>) {
        self.epochs.clone_from(epochs);
        for (node_id, epoch) in epochs {
            let latest = self.latest.entry(*node_id).or_default();
            *latest = (*latest).max(*epoch);
        }
    }

    /// The links that `own` needs, by node.
    pub(crate) fn targets(&self, own: u64) -> BTreeMap<u64, Epochs> {
        let own_epoch = self.epochs.get(&own).copied().unwrap_or_default();
        let others = self.epochs.iter().filter(|(node_id, _)| **node_id != own);
        let target = |receiver| Epochs { sender: if receiver == 0 { 0 } else { own_epoch }, receiver };
        others.map(|(node_id, epoch)| (*node_id, target(*epoch))).collect()
    }

    /// Judges a link from `sender` to `receiver`. A link without epochs is welcome: nothing is delivered over it.
    pub(crate) fn judge(&self, sender: u64, receiver: u64, epochs: Epochs) -> Verdict {
        if epochs == Epochs::default() {
            return Verdict::Current;
        }
        let verdicts = [self.judge_one(receiver, epochs.receiver), self.judge_one(sender, epochs.sender)];
        match (verdicts, epochs.sender) {
            ([of_receiver, _], 0) => of_receiver,
            ([Verdict::Over, _] | [_, Verdict::Over], _) => Verdict::Over,
            ([Verdict::NotYet, _] | [_, Verdict::NotYet], _) => Verdict::NotYet,
            ([Verdict::Current, Verdict::Current], _) => Verdict::Current,
        }
    }

    fn judge_one(&self, node_id: u64, epoch: u64) -> Verdict {
        if epoch != 0 && self.epochs.get(&node_id) == Some(&epoch) {
            Verdict::Current
        } else if self.latest.get(&node_id).is_some_and(|latest| *latest >= epoch) {
            Verdict::Over
        } else {
            Verdict::NotYet
        }
    }
}

/// Every node that ever had a link in this process, readable without a lock. Nodes are few and identifiers are never
/// used again, so nothing is removed and a walk is short.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    first: OnceLock<Box<Entry>>,
}

#[derive(Debug)]
struct Entry {
    peer: Arc<Peer>,
    next: OnceLock<Box<Entry>>,
}

impl Directory {
    /// The node, if it ever had a link.
    pub(crate) fn get(&self, node_id: u64) -> Option<&Arc<Peer>> {
        self.iter().find(|peer| peer.node_id == node_id)
    }

    /// The node; adds it first if necessary. Adding may race with adding.
    pub(crate) fn get_or_add(&self, node_id: u64) -> &Arc<Peer> {
        let mut slot = &self.first;
        loop {
            let new = || Box::new(Entry { peer: Arc::new(Peer::new(node_id)), next: OnceLock::new() });
            let entry = slot.get_or_init(new);
            if entry.peer.node_id == node_id {
                return &entry.peer;
            }
            slot = &entry.next;
        }
    }

    /// All nodes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Peer>> {
        let first = self.first.get().map(Box::as_ref);
        std::iter::successors(first, |entry| entry.next.get().map(Box::as_ref)).map(|entry| &entry.peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_end_for_good_and_begin_when_the_log_says_so() {
        let mut table = Table::default();
        table.set_epochs(&BTreeMap::from([(1, 5), (2, 6)]));
        let judge = |table: &Table, sender, receiver| table.judge(2, 1, Epochs { sender, receiver });
        assert_eq!(judge(&table, 6, 5), Verdict::Current);
        assert_eq!(judge(&table, 0, 5), Verdict::Current, "it only asks whether this node is there");
        assert_eq!(judge(&table, 8, 5), Verdict::NotYet);
        assert_eq!(judge(&table, 8, 4), Verdict::Over);
        table.set_epochs(&BTreeMap::from([(1, 0), (2, 6)]));
        assert_eq!(judge(&table, 0, 0), Verdict::Current);
        assert_eq!(judge(&table, 6, 0), Verdict::Over, "nothing is delivered outside of epochs");
        assert_eq!(judge(&table, 6, 5), Verdict::Over, "given up");
        assert_eq!(judge(&table, 6, 9), Verdict::NotYet);
        table.set_epochs(&BTreeMap::from([(1, 9), (2, 6)]));
        assert_eq!(judge(&table, 6, 9), Verdict::Current);
    }

    #[test]
    fn links_lead_to_all_others_but_deliver_only_between_nodes_that_serve() {
        let mut table = Table::default();
        table.set_epochs(&BTreeMap::from([(1, 5), (2, 6), (3, 0)]));
        let link = |sender, receiver| Epochs { sender, receiver };
        assert_eq!(table.targets(1), BTreeMap::from([(2, link(5, 6)), (3, link(0, 0))]));
        assert_eq!(table.targets(3), BTreeMap::from([(1, link(0, 5)), (2, link(0, 6))]));
    }

    #[test]
    fn a_node_is_added_once() {
        let directory = Directory::default();
        assert!(directory.get(3).is_none());
        let added = Arc::clone(directory.get_or_add(3));
        directory.get_or_add(7);
        assert!(Arc::ptr_eq(&added, directory.get_or_add(3)));
        assert_eq!(directory.iter().map(|peer| peer.node_id).collect::<Vec<_>>(), [3, 7]);
    }
}
