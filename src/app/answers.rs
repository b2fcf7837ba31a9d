//! What this node answers when another asks it on behalf of an operator.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use rookery_proto::rookery::admin::v1::{
    DrainNodeResponse, LinkDetails, NodeDetails, NodeStatus, SessionQueues, ShedNodeResponse, StateHash,
};
use rookery_proto::rookery::node::v1::{Answer, Done, Question, answer, question};
use tokio::time::timeout;

use super::connection_log;
use super::drain::Drain;
use crate::actors::close::CloseReason;
use crate::actors::environment::Environment;
use crate::actors::lane::{Control, Inspection};
use crate::actors::slot::Slot;
use crate::clock;
use crate::domain::session::SessionId;
use crate::observe::logging;
use crate::store::{MemberRole, Release, Store};

/// How long a lane may take to look at one of its connections.
const INSPECTION_MAX: Duration = Duration::from_secs(2);

/// How long a status waits for the hash of a large state.
const HASH_WAIT_MAX: Duration = Duration::from_secs(2);

/// Answers questions about this node.
pub struct Answers {
    release: Release,
    store: Arc<Store>,
    environment: Arc<Environment>,
    drain: Arc<Drain>,
    started: Instant,
    /// The newest state hash; locked while the next one is computed, so that this happens once at a time.
    hash: Arc<tokio::sync::Mutex<Option<StateHash>>>,
    /// The newest state hash, for calls that cannot wait for the next one.
    last_hash: Arc<Mutex<StateHash>>,
}

impl Answers {
    /// For a node of this release that has just begun to run.
    pub fn new(
        release: Release,
        store: Arc<Store>,
        environment: Arc<Environment>,
        drain: Arc<Drain>,
    ) -> Self {
        let (hash, last_hash) = (Arc::default(), Arc::default());
        Self { release, store, environment, drain, started: clock::monotonic(), hash, last_hash }
    }

    /// Answers an encoded question by an encoded answer.
    ///
    /// # Errors
    /// If the question cannot be read.
    pub async fn answer(&self, question: Bytes) -> Result<Bytes, String> {
        let question =
            Question::decode(question).map_err(|error| format!("the question cannot be read: {error}"))?;
        let answer = match question.question {
            Some(question) => Some(
                self.decide(question).await.unwrap_or_else(|Refusal(text)| answer::Answer::Refused(text)),
            ),
            // A newer version asks something that this one does not know: no answer says so.
            None => None,
        };
        Ok(Bytes::from(Answer { answer }.encode_to_vec()))
    }
}

/// Why a question cannot be answered: a code, a colon and the reason.
struct Refusal(String);

fn refused(code: &str, reason: impl std::fmt::Display) -> Refusal {
    Refusal(format!("{code}: {reason}"))
}

impl Answers {
    async fn decide(&self, question: question::Question) -> Result<answer::Answer, Refusal> {
        Ok(match question {
            question::Question::Details(_) => answer::Answer::Details(self.details().await),
            question::Question::Drain(request) => {
                let sessions_left = self.drain.start(request.sessions_per_second);
                answer::Answer::Drain(DrainNodeResponse { sessions_left })
            }
            question::Question::Shed(request) => {
                let sessions = self.drain.shed(request.sessions, request.sessions_per_second);
                answer::Answer::Shed(ShedNodeResponse { sessions })
            }
            question::Question::Undrain(_) => {
                self.drain.end();
                answer::Answer::Done(Done {})
            }
            question::Question::CreateSnapshot(_) => {
                let made = self.store.snapshot_now().await;
                answer::Answer::SnapshotIndex(made.map_err(|error| refused("UNAVAILABLE", error))?)
            }
            question::Question::LogFilter(filter) => {
                logging::set_filter(&filter).map_err(|error| refused("INVALID_ARGUMENT", error))?;
                tracing::info!(filter, "the log filter was changed");
                answer::Answer::Done(Done {})
            }
            question::Question::SessionQueues(id) => {
                let slot = self.own_slot(&id)?;
                answer::Answer::SessionQueues(self.queues(slot).await?)
            }
            question::Question::ConnectionLog(request) => {
                let found = connection_log::list(&self.environment, &request).await;
                answer::Answer::ConnectionLog(found.map_err(|error| refused("UNAVAILABLE", error))?)
            }
            question::Question::Kick(id) => {
                let slot = self.own_slot(&id)?;
                let lane = &self.environment.lanes[usize::from(slot.lane)];
                lane.control(Control::Close(slot.into(), CloseReason::Kicked));
                answer::Answer::Done(Done {})
            }
        })
    }

    /// Where the connection of a session of this node is.
    fn own_slot(&self, id: &str) -> Result<Slot, Refusal> {
        let not_found = || refused("NOT_FOUND", format!("session_id: there is no session {id:?}"));
        let id = SessionId::parse(id).ok_or_else(not_found)?;
        let known = self.environment.catalog.session(id).is_some();
        let has_lane = usize::from(id.lane) < self.environment.lanes.len();
        let is_own = self.environment.directory.own_node().get() == Some(id.node);
        if known && has_lane && is_own { Ok(Slot::from(id)) } else { Err(not_found()) }
    }

    async fn queues(&self, slot: Slot) -> Result<SessionQueues, Refusal> {
        let (reply, inspected) = tokio::sync::oneshot::channel();
        self.environment.lanes[usize::from(slot.lane)].control(Control::Inspect(slot.into(), reply));
        match timeout(INSPECTION_MAX, inspected).await {
            Ok(Ok(Inspection { in_flight_messages, queued_messages, bytes })) => Ok(SessionQueues {
                in_flight_messages: in_flight_messages as u64,
                queued_messages: queued_messages as u64,
                bytes: bytes as u64,
            }),
            Ok(Err(_)) => Err(refused("NOT_FOUND", "session_id: its connection has just ended")),
            Err(_) => Err(refused("UNAVAILABLE", "the thread of the connection is busy")),
        }
    }

    async fn details(&self) -> NodeDetails {
        let state_hash = self.state_hash().await;
        let status = self.store.status().borrow().clone();
        let lease = self.store.lease();
        let serving = lease.is_valid();
        let draining = self.environment.is_draining();
        let state = match status.role {
            _ if draining => "draining",
            _ if !serving => "fenced",
            _ if status.leader_id == Some(status.node_id) => "leader",
            Some(MemberRole::Learner) => "learner",
            _ => "follower",
        };
        let own_id = u32::try_from(status.node_id).unwrap_or_default();
        let lanes = self.environment.lanes.iter();
        let node_status = NodeStatus {
            id: status.node_id,
            state: state.to_owned(),
            reason: if serving { String::new() } else { self.why_fenced() },
            term: status.term,
            log_index: status.log_index.unwrap_or_default(),
            applied_index: status.applied_index.unwrap_or_default(),
            connections: lanes.map(|lane| lane.counters.connections_open.get()).sum(),
            sessions: self.environment.catalog.sessions_of_node_count(own_id),
            uptime_s: clock::monotonic().duration_since(self.started).as_secs(),
            version: self.release.version.clone(),
            newest_format: self.release.formats.newest(),
            state_hash: Some(state_hash),
            ..NodeStatus::default()
        };
        NodeDetails {
            status: Some(node_status),
            draining,
            serving,
            epoch: lease.epoch().unwrap_or_default(),
            snapshot_index: status.snapshot_index.unwrap_or_default(),
            disk_free_bytes: status.disk_free_bytes,
            disk_reserve_bytes: status.disk_reserve_bytes,
            log_filter: logging::filter(),
            links: self.links(status.node_id),
            removed: !serving && self.why_fenced() == crate::store::REMOVED,
        }
    }

    fn why_fenced(&self) -> String {
        match &*self.store.lease().standing().borrow() {
            crate::store::Standing::Fenced { reason, .. } => reason.clone(),
            crate::store::Standing::Serving { .. } => "the lease has run out".to_owned(),
        }
    }

    fn links(&self, own_id: u64) -> Vec<LinkDetails> {
        let links = self.store.links();
        let members = self.store.members();
        let members = members.borrow();
        let others = members.iter().filter(|member| member.node_id != own_id);
        others
            .map(|member| {
                let load = links.load(member.node_id);
                LinkDetails {
                    node: member.name.clone(),
                    connected: load.is_connected,
                    backlog_bytes: load.backlog_bytes as u64,
                }
            })
            .collect()
    }

    /// The hash of the state of this moment. While another call computes it, or if that takes long, the one before: it
    /// says which index it is of.
    async fn state_hash(&self) -> StateHash {
        let Ok(mut known) = Arc::clone(&self.hash).try_lock_owned() else {
            return self.last_hash.lock().clone();
        };
        let view = self.environment.catalog.view();
        if let Some(known) = known.as_ref().filter(|known| known.index == view.applied_index()) {
            return known.clone();
        }
        let last = Arc::clone(&self.last_hash);
        let computing = tokio::task::spawn_blocking(move || {
            let hash = crate::store::replica::state_hash(&view);
            let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            let computed = StateHash { hash, index: view.applied_index() };
            *last.lock() = computed.clone();
            *known = Some(computed);
        });
        // A panic while hashing is a defect; the rest of the status is still worth showing.
        let _ = timeout(HASH_WAIT_MAX, computing).await;
        self.last_hash.lock().clone()
    }
}
