//! Carries out what the leader decides: ends the epochs of nodes that are silent, cut off or stalled.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::grants::GiveUp;
use super::{Inner, Propose};
use crate::record::{GiveUpNode, SystemChange};

/// The leader looks at the others this often.
const INTERVAL: Duration = Duration::from_millis(250);
/// A decision that is not committed by then is proposed again later, if it still stands.
const COMMIT_MAX: Duration = Duration::from_secs(2);

/// Decides as long as the Raft core runs; does nothing while this node does not lead.
pub(super) async fn run(inner: Arc<Inner>, propose: Propose) {
    let mut tick = interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let (term, decided) = inner.decide();
        let own_id = inner.own_id();
        let proposals = decided.into_iter().map(|GiveUp { node_id, epoch, reason }| {
            tracing::warn!(node_id, epoch, %reason, "giving a node up");
            let reason = reason.into();
            let given_up = GiveUpNode { node_id, epoch, reason, decided_in_term: term, decided_by: own_id };
            timeout(COMMIT_MAX, propose(SystemChange::GiveUp(given_up)))
        });
        for proposed in join_all(proposals).await {
            match proposed {
                Ok(Ok(_index)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "a node could not be given up yet"),
                Err(_elapsed) => tracing::warn!("a node could not be given up in time"),
            }
        }
    }
}

impl Inner {
    /// Who must go, and the term in which that was decided.
    fn decide(&self) -> (u64, Vec<GiveUp>) {
        let mut grants = self.grants.lock();
        let running = self.running();
        let now = self.refresh(&mut grants, running.as_ref());
        let decided = grants.decide(now);
        (grants.term().unwrap_or_default(), decided)
    }
}
