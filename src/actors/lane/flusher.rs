//! The flusher of a lane: once per turn it takes the inbox, hands over, and writes every dirty connection once.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::inbox::{Control, Target};
use super::state::LaneState;
use super::wheel::TICK_MS;
use crate::actors::close::CloseReason;

/// Starts the flusher and the clock of the lane on the current thread.
pub fn start(state: &Rc<RefCell<LaneState>>) {
    actix_rt::spawn(Flusher { state: Rc::clone(state) });
    let state = Rc::clone(state);
    actix_rt::spawn(async move {
        let mut interval = tokio::time::interval(Duration::from_millis(TICK_MS));
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            tick(&state);
        }
    });
}

fn tick(state: &Rc<RefCell<LaneState>>) {
    let mut lane = state.borrow_mut();
    lane.check_lease();
    for (index, generation) in lane.wheel.advance() {
        lane.check_deadlines(Target { index, generation });
    }
    lane.resume_publishers();
    lane.resume_slowed();
    lane.publish_gauges();
    lane.handle().counters.heartbeat_s.set(crate::clock::now().seconds());
    drop(lane);
    crate::actors::activity::report();
}

struct Flusher {
    state: Rc<RefCell<LaneState>>,
}

impl Future for Flusher {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let mut lane = self.state.borrow_mut();
        lane.set_waker(task.waker());
        lane.handle().register(task.waker());
        lane.woken = true;
        // The flusher serves all connections of the thread, so a mistake in one turn must not be its last.
        if catch_unwind(AssertUnwindSafe(|| turn(&mut lane))).is_err() {
            lane.handle().counters.panics.add(1);
            lane.collect_dirty();
            task.waker().wake_by_ref();
        }
        lane.woken = false;
        Poll::Pending
    }
}

fn turn(lane: &mut LaneState) {
    let received = lane.handle().take();
    lane.tell_refused(&received.refused_lanes);
    for batch in &received.batches {
        lane.deliver_batch(batch);
    }
    for control in received.controls {
        // A defect in one must not lose the others: some of them keep the whole cluster waiting until they are done.
        if catch_unwind(AssertUnwindSafe(|| apply(lane, control))).is_err() {
            lane.handle().counters.panics.add(1);
        }
    }
    let was_congested = lane.congested();
    lane.hand_over();
    lane.ship(&received.settled);
    if was_congested && !lane.congested() {
        lane.wake_all();
    }
    // After everything was handled and before anything of it is acknowledged.
    lane.check_lease();
    let mut dirty = std::mem::take(&mut lane.dirty);
    for index in dirty.drain(..) {
        write(lane, index);
    }
    // The list was empty while it was written from, so this keeps its memory for the next turn.
    if lane.dirty.is_empty() {
        lane.dirty = dirty;
    }
}

fn apply(lane: &mut LaneState, control: Control) {
    match control {
        Control::Close(target, reason) => {
            if let Some(link) = lane.get(target).and_then(|outbox| outbox.link.clone()) {
                link.request_close(reason);
            }
        }
        Control::Stored { owed, result } => match result {
            Ok(()) => lane.settle(owed),
            Err(why) => apply(lane, Control::Close(owed.target, CloseReason::NotStored(why))),
        },
        Control::CloseAll(reason) => {
            for target in lane.targets() {
                apply(lane, Control::Close(target, reason.clone()));
            }
        }
        Control::End { target, epoch, reason, guard } => {
            lane.end_session(target, epoch, reason, guard);
        }
        Control::Keep { kept, guard } => lane.keep_sessions(&kept, &guard),
        // That it came is enough: the turn looks at what can go on.
        Control::Inspect(target, reply) => {
            if let Some(outbox) = lane.get(target) {
                // Who asked may have stopped waiting.
                let _ = reply.send(outbox.inspect());
            }
        }
        Control::Uncongested | Control::LinkChanged => {}
    }
}

/// Writes one connection, unless it may not be told anything now. A panic below ends that connection: what it had to write is lost, and the rest of the lane
/// is still to be written.
fn write(lane: &mut LaneState, index: u32) {
    if lane.is_fenced() && lane.outbox_at(index).is_live() {
        lane.dirty.push(index);
        return;
    }
    let pending_bytes = lane.outbox_at(index).output.pending_bytes();
    if catch_unwind(AssertUnwindSafe(|| write_output(lane, index))).is_err() {
        lane.handle().counters.panics.add(1);
        lane.note_lost(pending_bytes);
        if let Some(link) = &lane.outbox_at(index).link {
            link.request_close(CloseReason::Internal);
        }
    }
}

fn write_output(lane: &mut LaneState, index: u32) {
    let outbox = lane.outbox_at(index);
    outbox.dirty = false;
    let Some(link) = outbox.link.clone() else { return };
    let mut output = std::mem::take(&mut outbox.output);
    let waker = link.waker();
    let mut task = Context::from_waker(&waker);
    let mut written = 0;
    let result = output.write(&mut **link.transport.borrow_mut(), &mut lane.pool, &mut task, &mut written);
    let outbox = lane.outbox_at(index);
    outbox.output = output;
    if let Some(presence) = &outbox.presence {
        presence.sent(written);
    }
    lane.note_written(written);
    lane.sample_written(index, written);
    link.write_blocked.set(result.is_pending());
    if let Poll::Ready(Err(_)) = result {
        link.request_close(CloseReason::ConnectionLost);
    }
}

/// Writes what the outbox of a connection holds, as far as its socket takes it now: for the last bytes before a
/// connection is closed.
pub fn write_now(lane: &mut LaneState, slot: crate::actors::slot::Slot) {
    let may_serve = lane.check_lease();
    if lane.get(Target::from(slot)).is_some_and(|outbox| may_serve || !outbox.is_live()) {
        write(lane, slot.index);
    }
}
