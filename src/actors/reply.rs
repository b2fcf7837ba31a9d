//! The answer that a waiting connection is owed.

use std::sync::Arc;

use actix::prelude::{Addr, Handler, Message};

use super::close::CloseReason;
use super::connection::ConnectionActor;
use super::lane::{Control, LaneHandle, Lanes, Target};
use super::post::post_always;
use super::slot::Slot;

/// The right and duty to answer a connection that reads nothing until then. Whatever becomes of the request (an actor that
/// ends by a defect, a node that stops), the connection does not wait for ever: if this is dropped it is closed.
pub struct Reply {
    connection: Addr<ConnectionActor>,
    lane: Arc<LaneHandle>,
    target: Target,
    is_given: bool,
}

impl Reply {
    /// For the connection in `slot`.
    pub fn new(connection: Addr<ConnectionActor>, lanes: &Lanes, slot: Slot) -> Self {
        let lane = Arc::clone(&lanes[usize::from(slot.lane)]);
        Self { connection, lane, target: slot.into(), is_given: false }
    }

    /// Gives the answer.
    pub fn send<M>(mut self, answer: M)
    where
        ConnectionActor: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        self.is_given = true;
        post_always(&self.connection, answer);
    }

    /// Gives the duty back: the request was not taken.
    pub fn release(mut self) {
        self.is_given = true;
    }

    /// Closes the connection instead.
    pub fn close(mut self, reason: CloseReason) {
        self.is_given = true;
        self.lane.control(Control::Close(self.target, reason));
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.is_given {
            self.lane.control(Control::Close(self.target, CloseReason::Internal));
        }
    }
}
