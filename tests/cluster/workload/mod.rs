//! A small fleet that never rests while nodes fail: devices report, back ends command, some clients come and go, some
//! fight for one identifier, and the catalog is written. Everything is noted in the history.

mod client;
mod fleet;
mod script;
mod writers;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use rookery_harness::{
    api::Entity,
    cluster::Cluster,
    runtime::{WAIT, holds_within, until},
};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    checker::{
        Violation,
        catalog::{self, Reading},
        check,
        states::{check_connected_once, check_last},
    },
    history::{Deed, Event, History, Key, Recorder, What},
};

pub use script::Topics;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Everything.
    Running,
    /// No client publishes or leaves any more; all receive what is owed to them.
    Quiet,
    /// All end.
    Ended,
}

/// Acknowledgements that show that the fleet is at work.
const FLOW: usize = 200;

/// What all clients share.
pub struct Shared {
    /// The nodes.
    pub cluster: Arc<Cluster>,
    /// The history.
    pub recorder: Recorder,
    /// All topics of messages that are counted.
    pub topics: Topics,
    /// What to do now.
    pub phase: watch::Receiver<Phase>,
    /// PUBLISH packets without their PUBACK on open sessions.
    pub unacknowledged: AtomicUsize,
    /// What each key of the catalog is.
    registers: Mutex<Vec<Register>>,
}

/// Something in the catalog that is written during the run.
#[derive(Clone, Debug)]
enum Register {
    /// A device that was created; its value is 1.
    Device(Entity),
    /// The alias of a device; the value is part of the topic.
    Alias(Entity),
    /// A permanent topic; the value is the payload.
    Permanent(String),
}

impl Shared {
    fn registers(&self) -> MutexGuard<'_, Vec<Register>> {
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names a new register.
    fn key(&self, register: Register) -> Key {
        let mut registers = self.registers();
        registers.push(register);
        Key::try_from(registers.len() - 1).expect("there are few")
    }

    /// Whether clients still publish.
    fn is_running(&self) -> bool {
        *self.phase.borrow() == Phase::Running
    }
}

/// A running fleet.
pub struct Workload {
    shared: Arc<Shared>,
    phase: watch::Sender<Phase>,
    clients: JoinSet<()>,
    writers: JoinSet<()>,
    registry: Entity,
}

impl Workload {
    /// Creates entities and starts all clients. `seed` decides what they do by chance.
    pub async fn start(cluster: Arc<Cluster>, seed: u64) -> Self {
        let entities = fleet::Entities::create(&cluster).await;
        let (scripts, topics) = fleet::scripts(&entities, cluster.size());
        let (phase, watched) = watch::channel(Phase::Running);
        let shared = Arc::new(Shared {
            cluster,
            recorder: Recorder::new(),
            topics,
            phase: watched,
            unacknowledged: AtomicUsize::new(0),
            registers: Mutex::default(),
        });
        let mut clients = JoinSet::new();
        for script in scripts {
            clients.spawn(client::live(Arc::clone(&shared), script, seed));
        }
        let writers = writers::spawn(&shared, &entities);
        Self { shared, phase, clients, writers, registry: entities.registry }
    }

    /// The history and what else is shared.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Waits until something was acknowledged many times from now on: the fleet is at work.
    pub async fn flows(&self) {
        let acknowledged = |event: &Event| {
            matches!(event.what, What::Session(_, Deed::Acknowledged(_)) | What::Written { .. })
        };
        let count = || self.shared.recorder.count(acknowledged);
        let enough = count() + FLOW;
        until("the fleet is at work", || count() >= enough).await;
    }

    /// Ends publishing on a healed cluster, waits until what is owed has arrived, reads the catalog on every node, ends
    /// all clients, and returns the history with all that is wrong with it.
    pub async fn finish(mut self) -> (History, Vec<Violation>) {
        self.phase.send_replace(Phase::Quiet);
        ended(&mut self.writers).await;
        // The last word is the check below; this only gives everything the time it may take.
        let unacknowledged = || self.shared.unacknowledged.load(Ordering::Relaxed);
        let is_settled = || unacknowledged() == 0 && check(&self.shared.recorder.history()).is_empty();
        if !holds_within(WAIT, is_settled).await {
            eprintln!("not settled in {WAIT:?}; {} publishes are unanswered", unacknowledged());
        }
        // A read may be a moment older than a write through another node, so all nodes come to the same point first.
        let states = self.shared.cluster.equal_states();
        let sessions = self.shared.cluster.device_sessions(0);
        let readings = writers::read_all(&self.shared, &self.registry).await;
        let history = self.shared.recorder.history();
        self.phase.send_replace(Phase::Ended);
        ended(&mut self.clients).await;
        let mut violations = check(&history);
        violations.extend(check_last(&states));
        violations.extend(check_connected_once(&sessions));
        violations.extend(self.check_catalog(&history, &readings));
        (history, violations)
    }

    fn check_catalog(&self, history: &History, readings: &[Reading]) -> Vec<Violation> {
        let registers = self.shared.registers();
        let mut violations = catalog::check(history, self.shared.cluster.size(), readings);
        for violation in &mut violations {
            violation.text +=
                &format!("; the keys are {:?}", registers.iter().enumerate().collect::<Vec<_>>());
        }
        violations
    }
}

async fn ended(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        ended.expect("nobody in the fleet has made a mistake");
    }
}
