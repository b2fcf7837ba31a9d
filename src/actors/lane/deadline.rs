//! What is looked at when a connection's tick has come round.

use super::inbox::Target;
use super::state::LaneState;
use crate::actors::close::CloseReason;

/// Every connection is looked at after so many ticks at the latest.
const CHECK_TICKS_MAX: u32 = 30;

impl LaneState {
    /// Looks at one connection when its tick has come, and says when to look again.
    pub(super) fn check_deadlines(&mut self, target: Target) {
        let (tick, congested, fenced) = (self.wheel.now(), self.congested, self.fenced);
        let Some(outbox) = self.get(target) else { return };
        let Some(link) = outbox.link.clone() else { return };
        // Nobody is silent whom we do not listen to.
        if congested || link.is_held_up() || fenced && link.is_live.get() {
            outbox.deadlines.last_read_tick = tick;
        }
        let deadlines = outbox.deadlines;
        let open = tick.wrapping_sub(deadlines.opened_tick);
        let silent = tick.wrapping_sub(deadlines.last_read_tick);
        if deadlines.handshake_ticks_max > 0 && open >= deadlines.handshake_ticks_max {
            link.request_close(CloseReason::ConnectTimeout);
            return;
        }
        if deadlines.silence_ticks_max > 0 && silent >= deadlines.silence_ticks_max {
            self.handle().counters.keep_alive_timeouts.add(1);
            link.request_close(CloseReason::KeepAliveTimeout);
            return;
        }
        self.redeliver(target);
        let next = [
            deadlines.handshake_ticks_max.checked_sub(open),
            deadlines.silence_ticks_max.checked_sub(silent).filter(|_| deadlines.silence_ticks_max > 0),
            Some(CHECK_TICKS_MAX),
        ];
        let next = next.into_iter().flatten().filter(|ticks| *ticks > 0).min().unwrap_or(1);
        self.wheel.schedule((target.index, target.generation), next);
    }
}
