//! Begins an epoch of this process when it can serve.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Inner, Propose};
use crate::lease::REMOVED;
use crate::lease::now_ns;
use crate::nodes::{Nodes, last_epoch};
use crate::record::{RegisterNode, SystemChange};

/// What a leader said longer ago than this does not count.
const HEARD_MAX_NS: u64 = 2_000_000_000;
/// After a change was proposed, it is applied here within this time, or looked at again.
const APPLIED_MAX: Duration = Duration::from_secs(2);
/// What is waited for is looked at again after this time.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// An epoch that ended sooner counts as a failure.
const EPOCH_MIN_NS: u64 = 60_000_000_000;
/// The waiting time after the first such failure, and the longest.
const BACKOFF_MIN_NS: u64 = 1_000_000_000;
const BACKOFF_MAX_NS: u64 = 30_000_000_000;

/// Keeps a node that is given up again and again from disturbing the others each time.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// The epoch that was seen last, and when it was seen first.
    epoch: Option<(u64, u64)>,
    delay_ns: u64,
    not_before: u64,
}

impl Backoff {
    /// Takes note of the epoch of this process.
    pub(super) fn note(&mut self, epoch: Option<u64>, now: u64) {
        match (self.epoch, epoch) {
            (Some((known, _)), Some(epoch)) if known == epoch => {}
            (_, Some(epoch)) => self.epoch = Some((epoch, now)),
            (Some((_, began)), None) => {
                self.epoch = None;
                let is_short = now.saturating_sub(began) < EPOCH_MIN_NS;
                let longer = (self.delay_ns * 2).clamp(BACKOFF_MIN_NS, BACKOFF_MAX_NS);
                self.delay_ns = if is_short { longer } else { 0 };
                self.not_before = now + self.delay_ns;
            }
            (None, None) => {}
        }
    }

    pub(super) fn is_over(&self, now: u64) -> bool {
        now >= self.not_before
    }
}

/// What registration has to do next.
enum Next {
    /// This process has an epoch, or does not know who it is yet, or is ending.
    Nothing,
    /// It will never have one.
    Over,
    Wait(String),
    Propose(RegisterNode),
}

/// Registers this process whenever it has no epoch, as long as the Raft core runs.
pub(super) async fn run(inner: Arc<Inner>, propose: Propose) {
    let mut nodes = inner.applied.watch_nodes();
    let mut heard = inner.heard.subscribe();
    let mut told_removed = inner.applied.watch_told_removed();
    loop {
        nodes.mark_unchanged();
        heard.mark_unchanged();
        match inner.next() {
            // The senders live in `inner`.
            Next::Nothing => tokio::select! {
                _ = nodes.changed() => {}
                _ = told_removed.changed() => {}
            },
            Next::Over => {
                inner.applied.lease.explain(REMOVED);
                tracing::error!(
                    "this node was removed from its cluster and is not heard any more; \
                     to join again it needs an empty data directory"
                );
                return;
            }
            Next::Wait(reason) => {
                inner.applied.lease.explain(&reason);
                tokio::select! {
                    _ = nodes.changed() => {}
                    _ = heard.changed() => {}
                    () = sleep(LOOK_AGAIN) => {}
                }
            }
            Next::Propose(register) => {
                inner.applied.lease.explain("the node is joining those that serve");
                if let Err(error) = propose(SystemChange::Register(register)).await {
                    tracing::warn!(%error, "the node could not be registered yet");
                    sleep(LOOK_AGAIN).await;
                    continue;
                }
                let RegisterNode { node_id, incarnation, .. } = register;
                let is_applied = |nodes: &Arc<Nodes>| nodes.epoch_of(node_id, incarnation).is_some();
                // Committed, so it is applied here before long; or it came too late, which the next look shows.
                let _elapsed = timeout(APPLIED_MAX, nodes.wait_for(is_applied)).await;
            }
        }
    }
}

impl Inner {
    fn next(&self) -> Next {
        let now = now_ns();
        let own = self.applied.own_epoch();
        let mut backoff = self.backoff.lock();
        backoff.note(own, now);
        let nodes = self.applied.nodes();
        let Some(origin) = self.applied.origin() else { return Next::Nothing };
        if self.applied.is_removed() {
            return Next::Over;
        }
        if own.is_some() || self.is_retired() {
            return Next::Nothing;
        }
        let known = nodes.get(origin.node_id);
        let after_epoch = known.map_or(0, last_epoch);
        let given_up = known.is_some_and(|node| node.incarnation == origin.incarnation);
        let prefix = match given_up {
            true => format!("given up by the cluster at index {after_epoch}; joining again"),
            false => "starting".to_owned(),
        };
        let wait = |reason: &str| Next::Wait(format!("{prefix}: {reason}"));
        let heard = self.heard.borrow();
        if now.saturating_sub(heard.at_ns) > HEARD_MAX_NS {
            return wait("no leader is known");
        }
        if !heard.has_caught_up {
            return wait("catching up with the leader");
        }
        if self.applied.effects.effective() < after_epoch {
            return wait("connections of the last epoch are still being closed");
        }
        let unreachable: Vec<u64> =
            nodes.registered().intersection(&self.unreachable.borrow()).copied().collect();
        if !unreachable.is_empty() {
            return wait(&format!("cannot reach {unreachable:?}"));
        }
        if !heard.may_register {
            return wait(
                "the leader cannot admit it yet: a quorum is missing, or a node cannot reach this one",
            );
        }
        if !backoff.is_over(now) {
            return wait("it was given up soon after it began to serve, so it waits a while");
        }
        Next::Propose(RegisterNode { node_id: origin.node_id, incarnation: origin.incarnation, after_epoch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_given_up_again_and_again_waits_longer() {
        let mut backoff = Backoff::default();
        let mut now = 1;
        assert!(backoff.is_over(now), "a process that starts does not wait");
        let mut waited = Vec::new();
        for epoch in 1..=7 {
            backoff.note(Some(epoch), now);
            now += 5_000_000_000;
            backoff.note(Some(epoch), now);
            backoff.note(None, now);
            backoff.note(None, now + 1);
            waited.push((backoff.not_before - now) / 1_000_000_000);
            assert!(!backoff.is_over(now));
            now = backoff.not_before;
            assert!(backoff.is_over(now));
        }
        assert_eq!(waited, [1, 2, 4, 8, 16, 30, 30]);
        backoff.note(Some(8), now);
        backoff.note(None, now + EPOCH_MIN_NS);
        assert!(backoff.is_over(now + EPOCH_MIN_NS), "it served for a while");
    }
}
