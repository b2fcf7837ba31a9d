//! Taking the node out of service: no new sessions, leadership to another node, and its sessions ended at a bounded rate,
//! so that a fleet moves without a storm. And ending some of them only, so that clients spread over new nodes.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::actors::close::CloseReason;
use crate::actors::environment::Environment;
use crate::actors::lane::Control;
use crate::actors::slot::Slot;
use crate::domain::catalog::{PageRequest, SessionFilter};
use crate::domain::session::SessionId;
use crate::store::{Member, MemberRole, Store};

/// How long a node that stops tries to hand leadership over.
const LEADERSHIP_MAX: Duration = Duration::from_secs(3);

/// Sessions ended per second to spread clients, if nothing else is said: nobody is in a hurry.
const SHED_RATE: u32 = 50;

/// How often a node that stops looks whether clients are left.
const LOOK: Duration = Duration::from_millis(100);

/// Sessions are ended in this many steps per second, if the rate has enough for them.
const STEPS_PER_SECOND: u32 = 50;

/// Sessions listed at a time, while the catalog can be read only.
const LISTED_MAX: usize = 5_000;

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
            self.stop_shedding();
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
        self.stop_shedding();
        self.environment.start_draining();
        // A leader that ends costs an election; but nobody waits long for a successor.
        let _ = timeout(LEADERSHIP_MAX, give_up_leadership(&self.store)).await;
        tokio::select! {
            () = end_sessions(&self.environment, self.rate) => {}
            () = nobody_is_left(&self.environment) => {}
        }
    }

    /// Ends up to `sessions` sessions, while the node stays in service, and no more of those of the call before. Returns how
    /// many: none while the node drains, which ends all of them.
    pub fn shed(&self, sessions: u32, sessions_per_second: u32) -> u64 {
        let rate = if sessions_per_second == 0 { SHED_RATE } else { sessions_per_second };
        self.stop_shedding();
        if sessions == 0 || self.environment.is_draining() {
            return 0;
        }
        let ids = sessions_here(&self.environment, usize::try_from(sessions).unwrap_or(usize::MAX));
        let (environment, count) = (Arc::clone(&self.environment), ids.len() as u64);
        let shedding = self.runtime.spawn(async move {
            end_these(&environment, &ids, &mut Pace::of(rate), &CloseReason::Kicked).await;
            tracing::info!(sessions = count, "sessions were ended to spread clients");
        });
        if let Some(meanwhile) = self.shedding.lock().replace(shedding) {
            meanwhile.abort();
        }
        count
    }

    /// What was to be spread is drained now, or spread in another way: the two rates must not add up.
    fn stop_shedding(&self) {
        if let Some(shedding) = self.shedding.lock().take() {
            shedding.abort();
        }
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
        tokio::time::sleep(LOOK).await;
    }
}

/// Sessions of this node, up to a number of them.
fn sessions_here(environment: &Environment, max: usize) -> Vec<SessionId> {
    let filter = SessionFilter { node: Some(own_node(environment)), ..SessionFilter::default() };
    let sessions = environment.catalog.view().sessions(&filter, &PageRequest::first(max)).items;
    sessions.iter().map(|session| session.id).collect()
}

fn close(environment: &Environment, id: SessionId, reason: CloseReason) {
    let slot = Slot::from(id);
    if let Some(lane) = environment.lanes.get(usize::from(slot.lane)) {
        lane.control(Control::Close(slot.into(), reason));
    }
}

/// How a rate is kept: some sessions at a time.
struct Pace {
    sessions: usize,
    steps: Interval,
}

impl Pace {
    fn of(rate: u32) -> Pace {
        let (sessions, every) = step(rate);
        let mut steps = interval(every);
        // To catch up on a step that was late would be a burst, which the rate is there to prevent.
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first step waits as well: it may follow the last one of a drain that this one takes over from.
        steps.reset();
        Pace { sessions, steps }
    }
}

/// How many sessions to end in a step, and the time between two steps, so that no second, wherever it begins, has more than
/// `rate` of them. Small rates are kept but for the step that a second may begin with.
fn step(rate: u32) -> (usize, Duration) {
    let rate = rate.max(1);
    let sessions = (rate / STEPS_PER_SECOND).max(1);
    let per_second = if rate < STEPS_PER_SECOND { rate } else { rate - sessions };
    let every = (u64::from(sessions) * 1_000_000_000).div_ceil(u64::from(per_second));
    (usize::try_from(sessions).unwrap_or(usize::MAX), Duration::from_nanos(every))
}

/// Ends these sessions, some in each step. Those that have gone by themselves take no part in a step.
async fn end_these(environment: &Environment, ids: &[SessionId], pace: &mut Pace, reason: &CloseReason) {
    let mut ids = ids.iter();
    loop {
        pace.steps.tick().await;
        let catalog = environment.catalog.view();
        let are_left = ids.by_ref().filter(|id| catalog.session(**id).is_some());
        let step: Vec<SessionId> = are_left.take(pace.sessions).copied().collect();
        drop(catalog);
        if step.is_empty() {
            return;
        }
        step.into_iter().for_each(|id| close(environment, id, reason.clone()));
    }
}

/// Ends the node's sessions, some in each step, until none is left.
async fn end_sessions(environment: &Environment, rate: u32) {
    let mut pace = Pace::of(rate);
    while sessions_left(environment) > 0 {
        // Those that were asked and are still there are asked again.
        let ids = sessions_here(environment, LISTED_MAX);
        end_these(environment, &ids, &mut pace, &CloseReason::ShuttingDown).await;
    }
    tracing::info!("the node is drained");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_more_sessions_than_the_rate_and_few_have_less() {
        assert_eq!(step(500), (10, Duration::from_nanos(20_408_164)));
        assert_eq!(step(4), (1, Duration::from_millis(250)));
        assert_eq!(step(0), step(1), "a rate of nothing would never end");
        for rate in (1..2_000).chain([99_999, u32::MAX]) {
            let (sessions, every) = step(rate);
            let steps_in_a_second = (1.0 / every.as_secs_f64()).floor() + 1.0;
            let most = if rate < STEPS_PER_SECOND { rate + 1 } else { rate };
            assert!(
                steps_in_a_second * sessions as f64 <= f64::from(most),
                "{rate}: {sessions} every {every:?}"
            );
            let on_average = sessions as f64 / every.as_secs_f64();
            assert!(on_average >= f64::from(rate) * 0.95, "{rate}: {on_average}");
        }
    }
}
