//! How a connection begins.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use actix::prelude::Actor;

use super::{ConnectionActor, Phase};
use crate::actors::environment::Environment;
use crate::actors::lane::buffer::Transport;
use crate::actors::lane::link::Link;
use crate::actors::lane::wheel::TICK_MS;
use crate::actors::lane::{self};
use crate::domain::credential::{CertificateDigest, Fingerprint};

/// The certificate whose key the peer has proven to hold; it is looked up only when CONNECT has no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// What it is looked up by.
    pub digest: CertificateDigest,
    /// What logs and the API call it.
    pub fingerprint: Fingerprint,
}

/// Starts the actor of a connection on the current thread, which must be a lane. While the node stops the connection
/// is closed instead: nobody would end it.
pub fn start(
    environment: &Arc<Environment>,
    transport: Box<dyn Transport>,
    peer: SocketAddr,
    certificate: Option<PeerCertificate>,
) {
    if environment.is_draining() {
        return;
    }
    let link = Rc::new(Link::new(transport));
    link.read_bytes_max.set(environment.settings.connect_bytes_max);
    let lane = lane::current();
    let mut lane = lane.borrow_mut();
    lane.serve_under(&environment.lease);
    let slot = lane.insert(Rc::clone(&link));
    if let Some(outbox) = lane.get(slot.into()) {
        let ticks = environment.settings.connect_timeout.as_millis() / u128::from(TICK_MS);
        outbox.deadlines.handshake_ticks_max = u32::try_from(ticks).unwrap_or(u32::MAX).max(1);
    }
    drop(lane);
    let actor = ConnectionActor {
        environment: Arc::clone(environment),
        link,
        slot,
        peer,
        certificate,
        packet_bytes_max: environment.settings.connect_bytes_max,
        phase: Phase::Opened,
    };
    actor.start();
}
