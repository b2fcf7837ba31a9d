//! A replica for the tests: a list of numbers, each set at most once.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rookery_cluster::{
    Effects, NoPeers, Node, NodeChange, NodeOptions, NodeStatus, Replica, RestoreError, SnapshotView,
};

/// A command is 8 bytes, a number, and any filling. The state is how often and in which place of the whole order each
/// number was applied.
#[derive(Default)]
pub struct Register {
    state: Mutex<State>,
}

#[derive(Default, Clone)]
struct State {
    places: BTreeMap<u64, Vec<u64>>,
    next_place: u64,
}

/// A command with `number` of `bytes` bytes.
pub fn command(number: u64, bytes: usize) -> Bytes {
    let mut command = number.to_le_bytes().to_vec();
    command.resize(bytes.max(8), b'x');
    command.into()
}

impl Register {
    /// How many different numbers were applied.
    pub fn len(&self) -> usize {
        self.state.lock().places.len()
    }

    pub fn contains(&self, number: u64) -> bool {
        self.state.lock().places.contains_key(&number)
    }

    /// Numbers that were applied more than once.
    pub fn repeated(&self) -> Vec<u64> {
        let state = self.state.lock();
        state.places.iter().filter(|(_, places)| places.len() > 1).map(|(number, _)| *number).collect()
    }
}

impl Replica for Register {
    fn node_changed(&self, _index: u64, _change: NodeChange) {}

    /// The place of the command in the order of all.
    type Response = u64;

    fn apply(&self, _index: u64, commands: &[Bytes]) -> Vec<u64> {
        let mut state = self.state.lock();
        let apply = |command: &Bytes| {
            let number = u64::from_le_bytes(command[..8].try_into().unwrap());
            assert_ne!(number, POISON, "told to panic");
            let place = state.next_place;
            state.next_place += 1;
            state.places.entry(number).or_default().push(place);
            place
        };
        commands.iter().map(apply).collect()
    }

    fn view(&self, _format: u32) -> Box<dyn SnapshotView> {
        Box::new(self.state.lock().clone())
    }

    fn restore(&self, source: &mut dyn Read) -> Result<(), RestoreError> {
        let mut text = String::new();
        source.read_to_string(&mut text)?;
        let mut state = State::default();
        for line in text.lines() {
            let mut numbers = line.split(' ').map(|word| word.parse::<u64>().unwrap());
            let places: Vec<u64> = numbers.by_ref().skip(1).collect();
            let number = line.split(' ').next().unwrap().parse().unwrap();
            state.next_place = state.next_place.max(places.iter().max().unwrap() + 1);
            state.places.insert(number, places);
        }
        *self.state.lock() = state;
        Ok(())
    }
}

/// The number that makes the replica panic.
pub const POISON: u64 = u64::MAX;

impl SnapshotView for State {
    fn write(&self, sink: &mut dyn Write) -> std::io::Result<()> {
        for (number, places) in &self.places {
            write!(sink, "{number}")?;
            for place in places {
                write!(sink, " {place}")?;
            }
            writeln!(sink)?;
        }
        Ok(())
    }
}

/// Starts a node with a fresh replica.
pub async fn start(options: NodeOptions) -> (Node<Register>, Arc<Register>) {
    let register = Arc::new(Register::default());
    let node = Node::start(options, Arc::clone(&register), Effects::new(), Arc::new(NoPeers)).await.unwrap();
    (node, register)
}

/// Options for a directory, without a disk reserve.
pub fn options(dir: &Path) -> NodeOptions {
    let mut options = NodeOptions::new(dir.join("data"));
    options.reserve_bytes = Some(0);
    options
}

/// Waits until the status is as wanted and returns it.
pub async fn until(node: &Node<Register>, wanted: impl FnMut(&NodeStatus) -> bool) -> NodeStatus {
    node.status().wait_for(wanted).await.unwrap().clone()
}
