//! How a connection ends: once, whoever wants it, and even if its actor panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::{ActorContext, Context};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{ConnectionActor, Flow, Phase, Session};
use crate::actors::close::CloseReason;
use crate::actors::lane::link::Link;
use crate::actors::lane::{self, LaneState, flusher};
use crate::actors::log;
use crate::actors::post::post_always;
use crate::actors::registry::DeviceDisconnected;
use crate::actors::tenure::Tenure;
use crate::mqtt::frame::{FrameLimits, next_frame};
use crate::mqtt::packet::{ClientPacket, decode_client_packet};

/// How long a closed connection may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a closed connection may still send; it is read and dropped, because closing a socket with unread bytes would
/// reset it and could destroy the CONNACK that says why.
const GOODBYE_BYTES_MAX: u64 = 64 * 1024;

impl ConnectionActor {
    /// Ends the connection.
    pub(super) fn close(&mut self, reason: &CloseReason, context: &mut Context<Self>) {
        let found = self.finish_received(reason);
        self.end(found.as_ref().unwrap_or(reason));
        context.stop();
    }

    /// Publishes what had arrived complete before the client left: some send CONNECT, SUBSCRIBE and PUBLISH in one go
    /// and are gone before the SUBACK, which the PUBLISH waited for. Returns how the connection ended if that, too,
    /// was among it.
    fn finish_received(&mut self, reason: &CloseReason) -> Option<CloseReason> {
        let Phase::Live(session) = &mut self.phase else { return None };
        if !matches!(reason, CloseReason::StreamEnded | CloseReason::ConnectionLost) {
            return None;
        }
        let lane = lane::current();
        if !lane.borrow_mut().check_lease() {
            return None;
        }
        let tail = self.link.tail.take();
        let limits = FrameLimits { packet_bytes_max: self.packet_bytes_max };
        let mut rest = &tail[..];
        while let Ok(Some(frame)) = next_frame(rest, limits) {
            rest = &rest[frame.len..];
            match decode_client_packet(&frame) {
                Ok(ClientPacket::Publish(packet)) => {
                    let mut lane = lane.borrow_mut();
                    match session.publish(&self.environment, &mut lane, self.slot, &packet) {
                        Flow::Close(reason) => return Some(reason),
                        // Nobody is left who could wait for room: the rest is lost, as if it had not arrived.
                        Flow::Later => break,
                        Flow::Continue | Flow::Pause => {}
                    }
                }
                Ok(ClientPacket::Disconnect) => return Some(CloseReason::Disconnected),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        None
    }

    fn end(&mut self, reason: &CloseReason) {
        let lane = lane::current();
        let mut lane = lane.borrow_mut();
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Closed => return,
            Phase::Live(mut session) => {
                // Whatever goes wrong with it, the session must leave the log and the lane.
                let will = AssertUnwindSafe(|| self.fire_will(&mut session, &mut lane, reason));
                if catch_unwind(will).is_err() {
                    lane.handle().counters.panics.add(1);
                }
                log::disconnected(&self.environment, &session.identity, reason);
                self.leave(&session.tenure);
                session.space.forget(session.tenure.id);
                if let Some(device) = session.identity.principal.device().cloned() {
                    post_always(&session.registry, DeviceDisconnected { device });
                }
            }
            Phase::Connecting(connecting) => {
                if let Some(tenure) = &connecting.tenure {
                    self.leave(tenure);
                }
                log::ended_before_connect(self.peer, reason);
            }
            Phase::Opened => log::ended_before_connect(self.peer, reason),
        }
        flusher::write_now(&mut lane, self.slot);
        lane.remove(self.slot);
        drop(lane);
        if !matches!(reason, CloseReason::ConnectionLost) {
            say_goodbye(&self.link);
        }
    }

    /// The session ends in the log, unless the log itself has ended it.
    fn leave(&self, tenure: &Tenure) {
        if !self.link.is_ended.get() {
            self.environment.tenures.leave(tenure);
        }
    }

    fn fire_will(&self, session: &mut Session, lane: &mut LaneState, reason: &CloseReason) {
        let Some(will) = session.will.take() else { return };
        if matches!(reason, CloseReason::NodeGone | CloseReason::Fenced)
            || reason.fires_will() && !lane.check_lease()
        {
            lane.handle().counters.wills_lost.add(1);
        } else if reason.fires_will() {
            session.publish_will(&self.environment, lane, &will);
        }
    }
}

/// Shuts the stream down politely, in the background.
fn say_goodbye(link: &Rc<Link>) {
    let nothing = Box::new(tokio::io::join(tokio::io::empty(), tokio::io::sink()));
    let mut transport = link.transport.replace(nothing);
    actix_rt::spawn(async move {
        let goodbye = async {
            if transport.shutdown().await.is_ok() {
                let mut rest = transport.take(GOODBYE_BYTES_MAX);
                let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
            }
        };
        // A peer that does not take the goodbye is dropped without one.
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    });
}

impl Drop for ConnectionActor {
    /// A panic ends an actor silently. Its place is freed, its subscriptions go, its will fires.
    fn drop(&mut self) {
        if matches!(self.phase, Phase::Closed) || !std::thread::panicking() {
            return;
        }
        // Unwinding has ended every borrow of the lane; a second panic here would end the process.
        if let Ok(lane) = lane::current().try_borrow_mut() {
            lane.handle().counters.panics.add(1);
        } else {
            return;
        }
        tracing::error!(peer = %self.peer, "a connection ended by a panic");
        self.end(&CloseReason::Internal);
    }
}
