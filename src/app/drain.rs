//! Taking the node out of service: no new sessions, leadership to another node, and its sessions ended at a bounded rate,
//! so that a fleet moves without a storm.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::actors::close::CloseReason;
use crate::actors::environment::Environment;
use crate::actors::lane::Control;
use crate::actors::slot::Slot;
use crate::domain::catalog::{PageRequest, SessionFilter};
use crate::store::{MemberRole, Store};

/// Sessions ended per second when nothing else is said.
const SESSIONS_PER_SECOND: u32 = 500;

/// Sessions are ended in steps of this length.
const STEP: Duration = Duration::from_millis(100);

/// Drains a node, once at a time.
pub struct Drain {
    store: Arc<Store>,
    environment: Arc<Environment>,
    runtime: Handle,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl Drain {
    /// For a running node; works on `runtime`.
    pub fn new(store: Arc<Store>, environment: Arc<Environment>, runtime: Handle) -> Self {
        Self { store, environment, runtime, running: Mutex::default() }
    }

    /// Starts draining unless that is under way, and returns how many sessions are left.
    pub fn start(&self, sessions_per_second: u32) -> u64 {
        let rate = if sessions_per_second == 0 { SESSIONS_PER_SECOND } else { sessions_per_second };
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

/// Ends the node's sessions, some in each step, until none is left.
async fn end_sessions(environment: &Environment, rate: u32) {
    let steps_per_second = 1000 / u32::try_from(STEP.as_millis()).unwrap_or(1000);
    let per_step = usize::try_from(rate.div_ceil(steps_per_second)).unwrap_or(1);
    let filter = SessionFilter { node: Some(own_node(environment)), ..SessionFilter::default() };
    let mut ticks = tokio::time::interval(STEP);
    while sessions_left(environment) > 0 {
        ticks.tick().await;
        // Those of earlier steps have left the catalog by now, or are asked again.
        let page = PageRequest::first(per_step);
        for session in environment.catalog.view().sessions(&filter, &page).items {
            let slot = Slot::from(session.id);
            if let Some(lane) = environment.lanes.get(usize::from(slot.lane)) {
                lane.control(Control::Close(slot.into(), CloseReason::ShuttingDown));
            }
        }
    }
    tracing::info!("the node is drained");
}
