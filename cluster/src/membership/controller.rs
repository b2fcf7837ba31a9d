//! What happens to the membership without an operator: unfinished changes are finished, learners become
//! voters, and a member that was started with another name or address tells the others.

use std::time::Duration;

use rookery_proto::rookery::cluster::v1::SetAddress;
use rookery_proto::rookery::cluster::v1::change_request::Change;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::service::Router;
use crate::raft::Peer;

/// How often the node looks whether there is something to do.
const TICK: Duration = Duration::from_millis(250);
/// After a failure, this long until the next attempt.
const RETRY: Duration = Duration::from_secs(1);
/// An error that persists is logged this often.
const REPORT: Duration = Duration::from_secs(10);

/// Runs until it is aborted, or the node was removed. `me` is what the node was started with; there are to be `wanted`
/// voters, as far as there are nodes.
pub(crate) async fn run(router: Router, me: Peer, wanted: usize) {
    let mut problems = Problems::default();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if problems.hold() {
            continue;
        }
        let changer = router.changer();
        if changer.is_removed() {
            return;
        }
        if changer.is_untidy(wanted)
            && let Err(error) = changer.tidy(wanted).await
        {
            problems.note("the membership could not be brought in order", &error);
        }
        if changer.peers().get(&changer.node_id()).is_some_and(|known| *known != me)
            && let Err(error) = router.ask_anybody(announcement(changer.node_id(), &me)).await
        {
            problems.note("the cluster did not take this node's new name or address", &error);
        }
    }
}

fn announcement(node_id: u64, me: &Peer) -> Change {
    let Peer { name, address, never_votes } = me.clone();
    Change::SetAddress(SetAddress { node_id, name, address, never_votes })
}

/// Spaces attempts and log lines.
#[derive(Default)]
struct Problems {
    last: Option<Instant>,
    logged: Option<Instant>,
}

impl Problems {
    fn hold(&self) -> bool {
        self.last.is_some_and(|last| last.elapsed() < RETRY)
    }

    fn note(&mut self, what: &str, error: &dyn std::fmt::Display) {
        let now = Instant::now();
        self.last = Some(now);
        if self.logged.is_none_or(|logged| now - logged >= REPORT) {
            tracing::warn!(%error, "{what}; it is tried again");
            self.logged = Some(now);
        }
    }
}
