//! Carries a schedule out on a cluster.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rookery_harness::cluster::{Cluster, disk::SmallDisk, holds_within, name};

use super::schedule::{Fault, Step, Target};
use crate::{history::What, workload::Shared};

/// How long the leader is asked for before a fixed node is taken.
const LEADER_WAIT: Duration = Duration::from_secs(2);
/// Between two questions for the states of all nodes.
const STATE_PAUSE: Duration = Duration::from_secs(3);

/// A running nemesis: one thread that breaks, one that compares states.
pub struct Nemesis {
    breaking: JoinHandle<()>,
    comparing: JoinHandle<()>,
    stop: Sender<()>,
}

impl Nemesis {
    /// Begins with the first step.
    pub fn start(shared: &Arc<Shared>, steps: Vec<Step>) -> Self {
        let (stop, stopped) = channel();
        let (broken, compared) = (Arc::clone(shared), Arc::clone(shared));
        Self {
            breaking: thread::spawn(move || Breaker { shared: &broken }.run(&steps)),
            comparing: thread::spawn(move || compare(&compared, &stopped)),
            stop,
        }
    }

    /// Waits for the last step, then heals everything and waits until all nodes are ready.
    pub fn finish(self, shared: &Shared) {
        self.breaking.join().expect("a fault can be made");
        shared.recorder.note(What::Fault("heal".to_owned()));
        shared.cluster.heal();
        // The other thread may have ended by a mistake, which the next line tells.
        let _ = self.stop.send(());
        self.comparing.join().expect("states can be compared");
    }
}

/// Notes the states of all nodes now and then.
fn compare(shared: &Shared, stopped: &Receiver<()>) {
    for turn in 0.. {
        if stopped.recv_timeout(STATE_PAUSE) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        note_states(shared, turn % shared.cluster.size());
    }
}

/// Notes what a node says about the states of all.
fn note_states(shared: &Shared, asked: usize) {
    let Ok(status) = shared.cluster.status(asked) else { return };
    for node in 0..shared.cluster.size() {
        if let Some((hash, index)) = status.node(&name(node)).and_then(|row| row.state_hash.clone()) {
            shared.recorder.note(What::State { node, index, hash });
        }
    }
}

struct Breaker<'a> {
    shared: &'a Shared,
}

impl Breaker<'_> {
    fn run(&self, steps: &[Step]) {
        for step in steps {
            wait(step.calm);
            self.note(&step.to_string());
            let broken = self.apply(&step.fault);
            wait(step.lasts);
            self.note(&format!("end of {:?}", step.fault));
            self.end(&step.fault, broken);
        }
    }

    fn note(&self, text: &str) {
        let at = self.shared.recorder.note(What::Fault(text.to_owned()));
        eprintln!("{:7.2} s  {text}", Duration::from_nanos(at).as_secs_f64());
    }

    fn cluster(&self) -> &Cluster {
        &self.shared.cluster
    }

    fn find(&self, target: Target) -> usize {
        let Target::Node(node) = target else {
            let mut leader = 0;
            holds_within(LEADER_WAIT, || {
                let status = (0..self.cluster().size()).find_map(|node| self.cluster().status(node).ok());
                let name_of_leader = status.map(|status| status.leader).unwrap_or_default();
                let found = (0..self.cluster().size()).find(|node| name(*node) == name_of_leader);
                leader = found.unwrap_or(leader);
                found.is_some()
            });
            self.note(&format!("the leader is {}", name(leader)));
            return leader;
        };
        node
    }

    /// Makes the fault and returns the node that it hit, if it was one.
    fn apply(&self, fault: &Fault) -> usize {
        let (cluster, network) = (self.cluster(), self.cluster().network());
        match fault {
            Fault::Kill(target) | Fault::Pause(target) | Fault::Restart(target) => {
                let node = self.find(*target);
                match fault {
                    Fault::Kill(_) => cluster.kill(node),
                    Fault::Pause(_) => cluster.pause(node),
                    _ => cluster.stop(node),
                }
                node
            }
            Fault::KillAll => {
                (0..cluster.size()).for_each(|node| cluster.kill(node));
                0
            }
            Fault::Isolate(group) => {
                network.isolate(group);
                group[0]
            }
            Fault::Alone(target) => {
                let node = self.find(*target);
                network.isolate(&[node]);
                node
            }
            Fault::OneWay(from, to) => {
                network.cut(*from, *to);
                *from
            }
            Fault::Mute(target) => {
                let node = self.find(*target);
                (0..cluster.size()).filter(|other| *other != node).for_each(|other| network.cut(node, other));
                node
            }
            Fault::Pair(first, second) => {
                network.cut_both(*first, *second);
                *first
            }
            Fault::FillDisk(target) => {
                let node = self.find(*target);
                cluster.with_disk(node, |disk| disk.fill(0));
                node
            }
        }
    }

    fn end(&self, fault: &Fault, node: usize) {
        let cluster = self.cluster();
        match fault {
            Fault::Kill(_) | Fault::Restart(_) => cluster.restart(node),
            Fault::KillAll => (0..cluster.size()).for_each(|node| cluster.restart(node)),
            Fault::Pause(_) => cluster.resume(node),
            Fault::FillDisk(_) => {
                cluster.with_disk(node, SmallDisk::free);
            }
            _ => cluster.network().heal_all(),
        }
    }
}

/// Passes time between two deeds of the nemesis, which is all that the schedule is: nothing waits by it for a condition.
fn wait(time: Duration) {
    let (_open, never) = channel::<()>();
    // Always ends by the time: the sender lives until then and sends nothing.
    let _ = never.recv_timeout(time);
}
