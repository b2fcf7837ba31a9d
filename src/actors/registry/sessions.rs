//! CONNECT: the session is opened in the log, which ends the older one of the same client (U-M6).

use std::sync::Arc;

use actix::prelude::{AsyncContext, Context, Handler};

use super::{Attach, Attached, DeviceConnected, DeviceDisconnected, RegistryActor};
use crate::actors::authenticator::{Identity, Refusal};
use crate::actors::post::post_always;
use crate::actors::takeovers::{Admitted, TooMany};
use crate::clock;
use crate::domain::catalog::command::OpenSession;
use crate::domain::catalog::{Limit, Rejection};
use crate::mqtt::packet::connect::ConnectReturnCode;
use crate::store::StoreError;

impl RegistryActor {
    fn attach(&self, attach: Attach, context: &Context<Self>) {
        let Attach { tenure, client_id, identity, peer, reply } = attach;
        if tenure.is_over() {
            // The connection is gone: nobody is to be ended for its sake.
            return reply.release();
        }
        let registry = context.address();
        let admitted = match self.admit(&identity, &client_id) {
            Ok(admitted) => admitted,
            Err(TooMany) => {
                let refusal = refusal(&identity, ConnectReturnCode::ServerUnavailable, TAKEN_OVER_TOO_OFTEN);
                return reply.send(Attached { result: Err(refusal), registry });
            }
        };
        let command = OpenSession {
            id: tenure.id,
            epoch: tenure.epoch,
            principal: identity.principal.clone(),
            client_id,
            credential: identity.credential.clone(),
            peer: Some(peer.ip().to_canonical()),
            at: clock::now(),
        };
        let space = Arc::clone(&self.space);
        self.environment.tenures.open(&tenure, command, move |result| {
            drop(admitted);
            let result = match result {
                Ok(()) => {
                    if let Some(device) = identity.principal.device().cloned() {
                        post_always(&registry, DeviceConnected { device, peer: peer.ip(), at: clock::now() });
                    }
                    Ok(space)
                }
                Err(error) => Err(not_opened(&identity, &error)),
            };
            reply.send(Attached { result, registry });
        });
    }

    /// Whether the client may open a session, if that takes over from another.
    fn admit(&self, identity: &Identity, client_id: &str) -> Result<Option<Admitted>, TooMany> {
        let Some(device) = identity.principal.device().filter(|_| !client_id.is_empty()) else {
            return Ok(None);
        };
        let (catalog, tenures) = (&self.environment.catalog, &self.environment.tenures);
        let rival = catalog.read(|catalog| {
            catalog.session_of_client(&identity.principal, client_id).map(|session| session.id)
        });
        // Who has left is no rival, though the log may not know it yet.
        let has_rival = rival.is_some_and(|rival| !tenures.is_closing(rival));
        tenures.takeovers.admit(device, client_id, has_rival, clock::monotonic()).map(Some)
    }
}

/// Why a session is refused that takes over too often; the connection counts these.
pub const TAKEN_OVER_TOO_OFTEN: &str =
    "sessions with this client identifier take over from each other too often";

fn refusal(identity: &Identity, code: ConnectReturnCode, reason: &'static str) -> Refusal {
    Refusal { code, reason, known_entity: Some(identity.principal.id().to_owned()) }
}

fn not_opened(identity: &Identity, error: &StoreError) -> Refusal {
    match error {
        StoreError::Rejected(Rejection::NotAdmitted(not_admitted)) => {
            Refusal::not_admitted(identity, *not_admitted)
        }
        StoreError::Rejected(Rejection::TooMany { limit: Limit::ClientsPerBroker, .. }) => refusal(
            identity,
            ConnectReturnCode::ServerUnavailable,
            "the broker has as many clients as its quota allows",
        ),
        StoreError::Overloaded { .. } => {
            refusal(identity, ConnectReturnCode::ServerUnavailable, "too many changes wait for the log")
        }
        StoreError::StorageFull { .. } => {
            refusal(identity, ConnectReturnCode::ServerUnavailable, "the disk is full")
        }
        _ => refusal(identity, ConnectReturnCode::ServerUnavailable, "no session could be opened in the log"),
    }
}

impl Handler<Attach> for RegistryActor {
    type Result = ();

    fn handle(&mut self, message: Attach, context: &mut Self::Context) {
        self.attach(message, context);
    }
}

impl Handler<DeviceConnected> for RegistryActor {
    type Result = ();

    fn handle(&mut self, message: DeviceConnected, _context: &mut Self::Context) {
        self.note_login(message.device, message.peer, message.at);
    }
}

impl Handler<DeviceDisconnected> for RegistryActor {
    type Result = ();

    fn handle(&mut self, message: DeviceDisconnected, _context: &mut Self::Context) {
        self.note_disconnect(message.device, clock::now());
    }
}
