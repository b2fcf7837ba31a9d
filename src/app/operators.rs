//! The node and its cluster as the operators' services see them.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use rookery_proto::rookery::admin::v1::ClusterEvent;
use rookery_proto::rookery::node::v1::{Answer, Question, question};
use tokio::sync::broadcast;
use tonic::async_trait;

use crate::actors::directory::Directory;
use crate::api::convert::timestamp;
use crate::api::operators::{Match, MemberChange, Operators, Overview};
use crate::clock;
use crate::config::Config;
use crate::domain::address::CanonicalTopic;
use crate::domain::alias::Names as _;
use crate::domain::catalog::Catalog;
use crate::domain::index::Matches;
use crate::domain::principal::SpaceId;
use crate::domain::timestamp::Timestamp;
use crate::store::{self, Member, Store};

/// A caller that is further behind misses events.
const EVENTS_BEHIND_MAX: usize = 256;

/// Answers from the store, and asks other nodes through it.
pub struct ClusterOperators {
    store: Arc<Store>,
    directory: Arc<Directory>,
    lease: Duration,
    fenced_drop: Duration,
    events: broadcast::Sender<ClusterEvent>,
}

impl ClusterOperators {
    /// For a running node. Passes events on from then on, on the current runtime.
    pub fn start(store: Arc<Store>, directory: Arc<Directory>, config: &Config) -> Arc<Self> {
        let operators = Arc::new(Self {
            store,
            directory,
            lease: config.cluster.lease,
            fenced_drop: config.cluster.fenced_drop,
            events: broadcast::channel(EVENTS_BEHIND_MAX).0,
        });
        let mut events = operators.store.events().subscribe();
        let passing_on = Arc::downgrade(&operators);
        tokio::spawn(async move {
            loop {
                match events.recv().await {
                    Ok(event) => {
                        let Some(operators) = passing_on.upgrade() else { return };
                        // Nobody may be watching.
                        let _ = operators.events.send(operators.event(&event));
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        });
        operators
    }

    fn event(&self, event: &store::ClusterEvent) -> ClusterEvent {
        let age_ns = store::now_ns().saturating_sub(event.at_ns);
        let at = Timestamp::from_nanoseconds(clock::now().nanoseconds.saturating_sub(age_ns));
        let members = self.store.members();
        let members = members.borrow();
        let member = members.iter().find(|member| member.node_id == event.node_id);
        let node = match member {
            Some(member) => member.name.clone(),
            None if event.node_id == 0 => String::new(),
            None => event.node_id.to_string(),
        };
        ClusterEvent {
            at: Some(timestamp(at)),
            kind: event.kind.as_str().replace(' ', "-"),
            node,
            text: event.text.clone(),
        }
    }
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[async_trait]
impl Operators for ClusterOperators {
    fn overview(&self) -> Overview {
        let status = self.store.status();
        let status = status.borrow();
        let members: Vec<Member> = self.store.members().borrow().as_ref().clone();
        Overview {
            cluster_id: status.cluster_id.clone(),
            own_id: status.node_id,
            leader_id: status.leader_id,
            lease_ms: milliseconds(self.lease),
            fenced_drop_ms: milliseconds(self.fenced_drop),
            format: self.store.format(),
            members,
        }
    }

    async fn ask(&self, node_id: u64, question: question::Question) -> Result<Answer, String> {
        let question = Question { question: Some(question) }.encode_to_vec();
        let answer = self.store.ask(node_id, question.into()).await.map_err(|error| error.to_string())?;
        Answer::decode(answer).map_err(|error| format!("the answer cannot be read: {error}"))
    }

    async fn backup(&self) -> Result<(u64, std::fs::File), String> {
        self.store.backup().await.map_err(|error| error.to_string())
    }

    async fn change(&self, change: MemberChange) -> Result<(), String> {
        let changed = match change {
            MemberChange::Remove(node_id) => self.store.remove_node(node_id).await,
            MemberChange::Promote(node_id) => self.store.promote_node(node_id).await,
            MemberChange::TransferLeadership(node_id) => self.store.transfer_leader(node_id).await,
        };
        changed.map(|_| ()).map_err(|error| error.to_string())
    }

    fn matches(&self, space: &SpaceId, topic: &CanonicalTopic, catalog: &Catalog) -> Vec<Match> {
        let Some(space) = self.directory.find(space) else { return Vec::new() };
        let aliases = topic.device().map(|device| catalog.aliases_of(device)).unwrap_or_default();
        let mut found = Matches::default();
        space.matches(topic, &aliases, &mut found);
        let copies = found.groups.into_iter().flat_map(|group| {
            let name = group.name;
            let copy = move |(session, qos)| Match { session, name: Arc::clone(&name), qos };
            group.targets.into_iter().map(copy)
        });
        copies.collect()
    }

    fn subscriptions(&self, space: &SpaceId) -> u64 {
        self.directory.find(space).map_or(0, |space| space.subscriptions() as u64)
    }

    fn events(&self) -> (Vec<ClusterEvent>, broadcast::Receiver<ClusterEvent>) {
        // Subscribed first: an event in between is told twice rather than never.
        let future = self.events.subscribe();
        let past = self.store.events().since(0).iter().map(|event| self.event(event)).collect();
        (past, future)
    }
}
