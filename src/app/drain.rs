//! Taking the node out of service: no new sessions, leadership to another node, and its sessions ended at a bounded rate,
//! so that a fleet moves without a storm. And ending some of them only, so that clients spread over new nodes.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::actors::close::CloseReason;
use crate::actors::environment::Environment;
use crate::actors::lane::Control;
use crate::actors::slot::Slot;
use crate::domain::catalog::{PageRequest, SessionFilter};
use crate::domain::session::{Session, SessionId};
use crate::store::{Member, MemberRole, Store};

/// How long a node that stops tries to hand leadership over.
const LEADERSHIP_MAX: Duration = Duration::from_secs(3);

/// Sessions ended per second to spread clients, if nothing else is said: nobody is in a hurry.
const SHED_RATE: u32 = 50;

/// Sessions are ended in steps of this length.
const STEP: Duration = Duration::from_millis(100);

/// Drains a node, once at a time.
pub struct Drain {
    store: Arc<Store>,
    environment: Arc<Environment>,
    runtime: Handle,
    /// Sessions ended per second when nothing else is said.
    rate: u32,
    running: Mutex<Option<JoinHandle<()>>>,
    shedding: Mutex<Option<JoinHandle<()>>>,
}

impl Drain {
    /// For a running node; works on `runtime`, and ends `rate` sessions per second if nothing else is said.
    pub fn new(store: Arc<Store>, environment: Arc<Environment>, runtime: Handle, rate: u32) -> Self {
        Self { store, environment, runtime, rate, running: Mutex::default(), shedding: Mutex::default() }
    }

    /// Starts draining unless that is under way, and returns how many sessions are left.
    pub fn start(&self, sessions_per_second: u32) -> u64 {
        let rate = if sessions_per_second == 0 { self.rate } else { sessions_per_second };
        let mut running = self.running.lock();
        if running.is_none() {
            self.environment.start_draining();
            let (store, environment) = (Arc::clone(&self.store), Arc::clone(&self.environment));
            *running = Some(self.runtime.spawn(async move {
                give_up_leadership(&store).await;
                end_sessions(&environment, rate).await;
            }));
        }
        sessions_left(&self.environment)
    }

    /// Drains before the node stops, if there is another node for its clients to go to. Returns when no client is connected any
    /// more, or this node has lost its cluster and can do nothing for them.
    pub async fn finish(&self) {
        let own_node = u64::from(own_node(&self.environment));
        let serves = |member: &Member| member.node_id != own_node && member.epoch.is_some();
        if !self.store.members().borrow().iter().any(serves) || !self.environment.lease.is_valid() {
            return;
        }
        if let Some(running) = self.running.lock().take() {
            running.abort();
        }
        self.environment.start_draining();
        // A leader that ends costs an election; but nobody waits long for a successor.
        let _ = timeout(LEADERSHIP_MAX, give_up_leadership(&self.store)).await;
        tokio::select! {
            () = end_sessions(&self.environment, self.rate) => {}
            () = nobody_is_left(&self.environment) => {}
        }
    }

    /// Ends up to `sessions` sessions, while the node stays in service, and no more of those of the call before. Returns how
    /// many.
    pub fn shed(&self, sessions: u32, sessions_per_second: u32) -> u64 {
        let rate = if sessions_per_second == 0 { SHED_RATE } else { sessions_per_second };
        let mut shedding = self.shedding.lock();
        if let Some(before) = shedding.take() {
            before.abort();
        }
        if sessions == 0 {
            return 0;
        }
        let page = PageRequest::first(usize::try_from(sessions).unwrap_or(usize::MAX));
        let ids: Vec<SessionId> =
            sessions_here(&self.environment, &page).iter().map(|session| session.id).collect();
        let (environment, count) = (Arc::clone(&self.environment), ids.len() as u64);
        *shedding = Some(self.runtime.spawn(async move {
            let mut ticks = tokio::time::interval(STEP);
            for some in ids.chunks(per_step(rate)) {
                ticks.tick().await;
                some.iter().for_each(|id| close(&environment, *id, CloseReason::Kicked));
            }
            tracing::info!(sessions = count, "sessions were ended to spread clients");
        }));
        count
    }

    /// Serves again.
    pub fn end(&self) {
        if let Some(running) = self.running.lock().take() {
            running.abort();
            self.environment.end_draining();
        }
    }
}

fn own_node(environment: &Environment) -> u32 {
    environment.directory.own_node().get().unwrap_or_default()
}

fn sessions_left(environment: &Environment) -> u64 {
    environment.catalog.sessions_of_node_count(own_node(environment))
}

/// A drained node should not lead: what follows may be its end. A cluster in which nobody else can lead keeps its leader.
async fn give_up_leadership(store: &Store) {
    let status = store.status().borrow().clone();
    if status.leader_id != Some(status.node_id) {
        return;
    }
    let members = store.members().borrow().as_ref().clone();
    let others = members.iter().filter(|member| {
        member.node_id != status.node_id && member.role == MemberRole::Voter && member.epoch.is_some()
    });
    for member in others {
        match store.transfer_leader(member.node_id).await {
            Ok(_) => return,
            Err(error) => tracing::warn!(%error, node = member.name, "leadership was not transferred"),
        }
    }
}

/// No client is connected, or the node could not even say in the log that one has gone.
async fn nobody_is_left(environment: &Environment) {
    let open = || environment.lanes.iter().map(|lane| lane.counters.connections_open.get()).sum::<u64>();
    while open() > 0 && environment.lease.is_valid() {
        tokio::time::sleep(STEP).await;
    }
}

/// Some sessions of this node.
fn sessions_here(environment: &Environment, page: &PageRequest) -> Vec<Arc<Session>> {
    let filter = SessionFilter { node: Some(own_node(environment)), ..SessionFilter::default() };
    environment.catalog.view().sessions(&filter, page).items
}

fn close(environment: &Environment, id: SessionId, reason: CloseReason) {
    let slot = Slot::from(id);
    if let Some(lane) = environment.lanes.get(usize::from(slot.lane)) {
        lane.control(Control::Close(slot.into(), reason));
    }
}

/// How many sessions to end in a step.
fn per_step(rate: u32) -> usize {
    let steps_per_second = 1000 / u32::try_from(STEP.as_millis()).unwrap_or(1000);
    usize::try_from(rate.div_ceil(steps_per_second)).unwrap_or(1)
}

/// Ends the node's sessions, some in each step, until none is left.
async fn end_sessions(environment: &Environment, rate: u32) {
    let page = PageRequest::first(per_step(rate));
    let mut ticks = tokio::time::interval(STEP);
    while sessions_left(environment) > 0 {
        ticks.tick().await;
        // Those of earlier steps have left the catalog by now, or are asked again.
        for session in sessions_here(environment, &page) {
            close(environment, session.id, CloseReason::ShuttingDown);
        }
    }
    tracing::info!("the node is drained");
}
