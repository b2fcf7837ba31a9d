//! What the cluster knows about its nodes beside the Raft membership: identifiers, epochs, tombstones. Part of the
//! replicated state; changed by [`SystemCommand`]s in log order.

use std::collections::{BTreeMap, BTreeSet};

use crate::proposer::Origin;
use crate::record::{NodeRecord, NodesRecord, SystemChange, SystemCommand};
use crate::replica::NodeChange;

/// Raft identifier of the node that founds a cluster.
pub(crate) const FOUNDER_NODE_ID: u64 = 1;

/// The table of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nodes {
    entries: BTreeMap<u64, NodeRecord>,
    next_node_id: u64,
    /// 0 if none is on record.
    format: u32,
}

impl Default for Nodes {
    fn default() -> Nodes {
        Nodes { entries: BTreeMap::new(), next_node_id: FOUNDER_NODE_ID + 1, format: 0 }
    }
}

impl Nodes {
    /// The table of a snapshot.
    pub(crate) fn from_record(record: &NodesRecord) -> Nodes {
        let entries = record.nodes.iter().map(|node| (node.node_id, node.clone())).collect();
        let next_node_id = record.next_node_id.max(FOUNDER_NODE_ID + 1);
        Nodes { entries, next_node_id, format: record.format }
    }

    /// The table for a snapshot.
    pub(crate) fn to_record(&self) -> NodesRecord {
        let nodes = self.entries.values().cloned().collect();
        NodesRecord { nodes, next_node_id: self.next_node_id, format: self.format }
    }

    /// The format that the cluster writes; 0 if none is on record.
    pub(crate) fn format(&self) -> u32 {
        self.format
    }

    /// The nodes with an epoch.
    pub(crate) fn registered(&self) -> BTreeSet<u64> {
        self.entries.values().filter(|node| node.epoch != 0).map(|node| node.node_id).collect()
    }

    /// The nodes that have served and were not removed, with the epoch in which they serve now; 0 for none. That of this
    /// node counts only if this process has registered: until then the table shows the epoch of the process before.
    pub(crate) fn epochs(&self, own: Origin) -> BTreeMap<u64, u64> {
        let is_former =
            |node: &NodeRecord| node.node_id == own.node_id && node.incarnation != own.incarnation;
        let epoch = |node: &NodeRecord| if is_former(node) { 0 } else { node.epoch };
        let has_served = self
            .entries
            .values()
            .filter(|node| node.changed_index != 0 && (!node.removed || node.epoch != 0));
        has_served.map(|node| (node.node_id, epoch(node))).collect()
    }

    /// The node's epoch, if it has one.
    pub(crate) fn epoch(&self, node_id: u64) -> Option<u64> {
        self.entries.get(&node_id).map(|node| node.epoch).filter(|epoch| *epoch != 0)
    }

    /// The node's epoch, if it was begun by this process of it.
    pub(crate) fn epoch_of(&self, node_id: u64, incarnation: u64) -> Option<u64> {
        let node = self.entries.get(&node_id)?;
        // A process that reads that it was removed stops at once.
        (node.epoch != 0 && !node.removed && node.incarnation == incarnation).then_some(node.epoch)
    }

    /// What is known about the node.
    pub(crate) fn get(&self, node_id: u64) -> Option<&NodeRecord> {
        self.entries.get(&node_id)
    }

    /// Whether the identifier may never be heard again.
    pub(crate) fn is_removed(&self, node_id: u64) -> bool {
        self.entries.get(&node_id).is_some_and(|node| node.removed)
    }

    /// The identifiers that may never be heard again.
    pub(crate) fn removed(&self) -> BTreeSet<u64> {
        self.entries.values().filter(|node| node.removed).map(|node| node.node_id).collect()
    }

    /// Every identifier of which something is known.
    pub(crate) fn all(&self) -> impl Iterator<Item = u64> + '_ {
        self.entries.keys().copied()
    }

    /// The identifier that a request to join was given.
    pub(crate) fn admitted(&self, request_id: &[u8]) -> Option<u64> {
        let given = |node: &&NodeRecord| !request_id.is_empty() && node.request_id == request_id;
        self.entries.values().find(given).map(|node| node.node_id)
    }

    /// Applies a command; returns what it means for the replica.
    pub(crate) fn apply(&mut self, index: u64, command: &SystemCommand) -> Option<NodeChange> {
        match command.change.as_ref()? {
            SystemChange::Register(register) => {
                let node = self.entry(register.node_id);
                // An older process, or a repetition of what has taken effect.
                let is_late = register.incarnation < node.incarnation
                    || register.incarnation == node.incarnation && register.after_epoch != last_epoch(node);
                if node.removed || is_late {
                    return None;
                }
                node.incarnation = register.incarnation;
                node.epoch = index;
                node.changed_index = index;
                Some(NodeChange::Registered { node_id: register.node_id, epoch: index })
            }
            SystemChange::GiveUp(given_up) => {
                let node = self.entries.get_mut(&given_up.node_id)?;
                if node.epoch == 0 || node.epoch != given_up.epoch {
                    return None;
                }
                Some(end(node, index))
            }
            SystemChange::Admit(admit) => {
                if self.admitted(&admit.request_id).is_none() {
                    let node_id = self.next_node_id;
                    self.next_node_id += 1;
                    let node = self.entry(node_id);
                    node.request_id = admit.request_id.clone();
                    node.name.clone_from(&admit.name);
                }
                None
            }
            SystemChange::Remove(remove) => {
                let node = self.entry(remove.node_id);
                node.removed = true;
                // It may hold a lease. It gets no other, and is given up when this one is over.
                (node.epoch != 0 && remove.is_dead).then(|| end(node, index))
            }
            SystemChange::SetFormat(set) => {
                self.format = self.format.max(set.format);
                None
            }
        }
    }

    fn entry(&mut self, node_id: u64) -> &mut NodeRecord {
        self.next_node_id = self.next_node_id.max(node_id + 1);
        self.entries.entry(node_id).or_insert_with(|| NodeRecord { node_id, ..NodeRecord::default() })
    }
}

/// The last thing that happened to the node's epoch, as a node quotes it that registers: the epoch itself while it has
/// one, else the index of the entry that ended it.
pub(crate) fn last_epoch(node: &NodeRecord) -> u64 {
    node.changed_index
}

fn end(node: &mut NodeRecord, index: u64) -> NodeChange {
    let epoch = std::mem::take(&mut node.epoch);
    node.changed_index = index;
    NodeChange::GivenUp { node_id: node.node_id, epoch }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::record::{AdmitNode, GiveUpNode, RegisterNode, RemoveNode, SetFormat};

    fn command(change: SystemChange) -> SystemCommand {
        SystemCommand { change: Some(change) }
    }

    fn register(node_id: u64, incarnation: u64, after_epoch: u64) -> SystemCommand {
        command(SystemChange::Register(RegisterNode { node_id, incarnation, after_epoch }))
    }

    #[test]
    fn an_epoch_begins_once_and_ends_once() {
        let mut nodes = Nodes::default();
        assert_eq!(nodes.apply(5, &register(1, 1, 0)), Some(NodeChange::Registered { node_id: 1, epoch: 5 }));
        assert_eq!(nodes.apply(6, &register(1, 1, 0)), None, "a repetition");
        let give_up =
            command(SystemChange::GiveUp(GiveUpNode { node_id: 1, epoch: 5, ..GiveUpNode::default() }));
        assert_eq!(nodes.apply(7, &give_up), Some(NodeChange::GivenUp { node_id: 1, epoch: 5 }));
        assert_eq!(nodes.apply(8, &give_up), None);
        assert_eq!(nodes.apply(9, &register(1, 1, 5)), None, "it must have seen the end of its epoch");
        assert_eq!(
            nodes.apply(10, &register(1, 1, 7)),
            Some(NodeChange::Registered { node_id: 1, epoch: 10 })
        );
        assert_eq!(nodes.apply(11, &give_up), None, "of the epoch before");
        assert_eq!(
            nodes.apply(12, &register(1, 2, 0)),
            Some(NodeChange::Registered { node_id: 1, epoch: 12 })
        );
        assert_eq!(nodes.apply(13, &register(1, 1, 10)), None, "the old process is dead");
        assert_eq!(nodes.registered(), BTreeSet::from([1]));
    }

    #[test]
    fn the_epoch_of_the_process_before_is_not_this_ones() {
        let mut nodes = Nodes::default();
        nodes.apply(5, &register(1, 1, 0));
        nodes.apply(6, &register(2, 1, 0));
        let epochs = |nodes: &Nodes, incarnation| nodes.epochs(Origin { node_id: 1, incarnation });
        assert_eq!(epochs(&nodes, 1), BTreeMap::from([(1, 5), (2, 6)]));
        assert_eq!(epochs(&nodes, 2), BTreeMap::from([(1, 0), (2, 6)]));
        nodes.apply(9, &register(1, 2, 0));
        assert_eq!(epochs(&nodes, 2), BTreeMap::from([(1, 9), (2, 6)]));
        let give_up = SystemChange::GiveUp(GiveUpNode { node_id: 2, epoch: 6, ..GiveUpNode::default() });
        nodes.apply(10, &command(give_up));
        assert_eq!(epochs(&nodes, 2), BTreeMap::from([(1, 9), (2, 0)]));
        nodes.apply(11, &command(SystemChange::Remove(RemoveNode { node_id: 2, is_dead: true })));
        assert_eq!(epochs(&nodes, 2), BTreeMap::from([(1, 9)]));
    }

    #[test]
    fn a_format_is_never_taken_back() {
        let mut nodes = Nodes::default();
        assert_eq!(nodes.format(), 0);
        let set = |format| command(SystemChange::SetFormat(SetFormat { format }));
        assert_eq!(nodes.apply(1, &set(2)), None);
        assert_eq!(nodes.apply(2, &set(1)), None, "a late repetition");
        assert_eq!(Nodes::from_record(&nodes.to_record()).format(), 2);
    }

    #[test]
    fn identifiers_are_never_used_again() {
        let mut nodes = Nodes::default();
        let admit = |request: &'static [u8]| {
            command(SystemChange::Admit(AdmitNode {
                request_id: Bytes::from_static(request),
                name: "n".to_owned(),
            }))
        };
        nodes.apply(1, &register(1, 1, 0));
        nodes.apply(2, &admit(b"a"));
        nodes.apply(3, &admit(b"a"));
        nodes.apply(4, &admit(b"b"));
        assert_eq!((nodes.admitted(b"a"), nodes.admitted(b"b")), (Some(2), Some(3)));
        nodes.apply(5, &command(SystemChange::Remove(RemoveNode { node_id: 3, is_dead: false })));
        assert_eq!(nodes.apply(6, &register(3, 1, 0)), None, "it was removed");
        let mut nodes = Nodes::from_record(&nodes.to_record());
        nodes.apply(7, &admit(b"c"));
        assert_eq!(nodes.admitted(b"c"), Some(4));
        assert!(nodes.is_removed(3));
    }
}
