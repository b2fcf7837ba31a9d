//! What becomes of the clients of a node that has lost its cluster: they wait, and after a while they are dropped, so that
//! they look for another node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rookery_cluster::Standing;

use super::close::CloseReason;
use super::environment::Environment;
use super::lane::Control;
use crate::clock;

/// How often the lease is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// Drops all clients when the node has not served for `drop_after`; runs as long as the node.
pub async fn watch(environment: Arc<Environment>, drop_after: Duration) {
    let mut fence = Fence::default();
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        match fence.look(environment.lease.is_valid(), clock::monotonic(), drop_after) {
            Change::None => {}
            Change::Fenced => {
                let reason = reason(&environment);
                tracing::warn!(reason, "this node serves no clients: it has lost its cluster");
            }
            Change::Serves => tracing::info!("this node serves clients again"),
            Change::Drop => {
                tracing::warn!(
                    after_s = drop_after.as_secs(),
                    "all clients are dropped: the cluster is gone"
                );
                for lane in environment.lanes.iter() {
                    lane.control(Control::CloseAll(CloseReason::Fenced));
                }
            }
        }
    }
}

/// Why the node does not serve, for operators; empty if it does.
pub fn reason(environment: &Environment) -> String {
    match &*environment.lease.standing().borrow() {
        Standing::Fenced { reason, .. } => reason.clone(),
        // The lease has run out, and nobody has said so yet.
        Standing::Serving { .. } if !environment.lease.is_valid() => {
            "no word from a quorum for one lease".to_owned()
        }
        Standing::Serving { .. } => String::new(),
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    Fenced,
    Serves,
    Drop,
}

/// Since when the node does not serve.
#[derive(Debug, Default)]
struct Fence {
    has_served: bool,
    since: Option<Instant>,
    has_dropped: bool,
}

impl Fence {
    fn look(&mut self, serves: bool, now: Instant, drop_after: Duration) -> Change {
        if serves {
            let was_fenced = self.since.take().is_some() && self.has_served;
            *self = Self { has_served: true, ..Self::default() };
            return if was_fenced { Change::Serves } else { Change::None };
        }
        let Some(since) = self.since else {
            self.since = Some(now);
            // A node that starts has no clients yet.
            return if self.has_served { Change::Fenced } else { Change::None };
        };
        if self.has_dropped || now.saturating_duration_since(since) < drop_after {
            return Change::None;
        }
        self.has_dropped = true;
        Change::Drop
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_dropped_once_for_each_time_that_the_cluster_is_gone() {
        let (mut fence, start) = (Fence::default(), clock::monotonic());
        let mut look =
            |serves, second| fence.look(serves, start + Duration::from_secs(second), Duration::from_secs(30));
        let starting = [look(false, 0), look(false, 1), look(true, 2)];
        assert_eq!(starting, [Change::None, Change::None, Change::None]);
        let short = [look(false, 10), look(false, 39), look(true, 40)];
        assert_eq!(short, [Change::Fenced, Change::None, Change::Serves]);
        let long = [look(false, 50), look(false, 79), look(false, 80), look(false, 200), look(true, 201)];
        assert_eq!(long, [Change::Fenced, Change::None, Change::Drop, Change::None, Change::Serves]);
        assert_eq!([look(false, 300), look(false, 330)], [Change::Fenced, Change::Drop]);
    }
}
