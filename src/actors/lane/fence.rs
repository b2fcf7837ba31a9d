//! What a lane does while its node must not serve, and when the log has ended sessions of its connections.
//!
//! Nothing that a live client has sent is handled without a lease that is valid after it was read, and nothing is written
//! to one without a lease that is valid after it was put into its outbox. So what a node acknowledges, it has handled as a
//! part of its cluster; also when the process was stopped in between, for however long.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use rookery_cluster::{EffectGuard, Lease};

use super::inbox::Target;
use super::link::Link;
use super::state::LaneState;
use crate::actors::close::CloseReason;
use crate::actors::slot::Slot;

impl LaneState {
    /// From now on the connections of the lane are served under `lease`.
    pub fn serve_under(&mut self, lease: &Lease) {
        self.lease.get_or_insert_with(|| lease.clone());
    }

    /// Replaces the lease, as no node ever does.
    #[cfg(test)]
    pub fn replace_lease(&mut self, lease: Lease) -> Option<Lease> {
        self.lease.replace(lease)
    }

    /// Looks whether the node may serve. If it may again, everybody goes on.
    pub fn check_lease(&mut self) -> bool {
        let is_valid = self.lease.as_ref().is_none_or(Lease::is_valid);
        let was_fenced = std::mem::replace(&mut self.fenced, !is_valid);
        if was_fenced && is_valid {
            let tick = self.wheel.now();
            for outbox in &mut self.outboxes {
                let Some(link) = &outbox.link else { continue };
                if link.is_live.get() {
                    // What it has sent meanwhile is still to be read: its keep-alive begins anew.
                    outbox.deadlines.last_read_tick = tick;
                }
                link.go_on();
            }
            // What could not be written is still in the list.
            self.wake_flusher();
        }
        is_valid
    }

    /// Whether the node could not serve when it was looked at last: live clients are neither read nor written.
    pub fn is_fenced(&self) -> bool {
        self.fenced
    }

    /// The log has ended the session that a connection asked for in `epoch`.
    pub(super) fn end_session(
        &mut self,
        target: Target,
        epoch: u64,
        reason: CloseReason,
        guard: EffectGuard,
    ) {
        let is_concerned = |link: &Link| link.epoch.get() == epoch;
        if let Some(link) = self.close_for(target, is_concerned, reason, &Arc::new(guard)) {
            link.is_ended.set(true);
        }
    }

    /// The state was replaced, and connections may only go on whose session is in `kept`. One whose session is still being
    /// opened is told by the answer.
    pub(super) fn keep_sessions(&mut self, kept: &BTreeMap<Slot, u64>, guard: &Arc<EffectGuard>) {
        for target in self.targets() {
            let slot = Slot { lane: self.number, index: target.index, generation: target.generation };
            let epoch = kept.get(&slot).copied();
            let is_concerned = |link: &Link| link.is_live.get() && Some(link.epoch.get()) != epoch;
            self.close_for(target, is_concerned, CloseReason::Behind, guard);
        }
    }

    /// Closes a connection because of an entry of the log, which takes effect when that is done.
    fn close_for(
        &mut self,
        target: Target,
        is_concerned: impl Fn(&Link) -> bool,
        reason: CloseReason,
        guard: &Arc<EffectGuard>,
    ) -> Option<Rc<Link>> {
        let outbox = self.get(target)?;
        let link = outbox.link.clone().filter(|link| is_concerned(link))?;
        outbox.ended_by.push(Arc::clone(guard));
        link.request_close(reason);
        Some(link)
    }
}
