//! Sessions and the commands about them.

use std::net::IpAddr;

use bytes::Bytes;
use rookery_proto::rookery::storage::v1 as pb;
use smol_str::SmolStr;

use super::resource::{digest, qos_from_wire, space_from_wire, space_to_wire, time};
use super::{WireError, required};
use crate::domain::catalog::{ChangeSubscriptions, CloseSession, OpenSession};
use crate::domain::credential::CredentialReference;
use crate::domain::id::{DeviceId, PasswordId};
use crate::domain::principal::{Principal, SpaceId};
use crate::domain::session::{Session, SessionId, Subscriptions};
use crate::mqtt::qos::QoS;
use pb::session::Credential;

fn id_to_wire(id: SessionId) -> pb::SessionId {
    let SessionId { node, lane, index, generation } = id;
    pb::SessionId { node, lane: lane.into(), index, generation }
}

fn id_from_wire(id: Option<pb::SessionId>) -> Result<SessionId, WireError> {
    let pb::SessionId { node, lane, index, generation } = required(id, "session id")?;
    let lane = u16::try_from(lane).map_err(|_| WireError::Malformed { field: "lane" })?;
    Ok(SessionId { node, lane, index, generation })
}

fn subscription_to_wire(filter: &str, qos: QoS) -> pb::Subscription {
    // What cannot be decoded again stops the node when it is applied, at every start anew.
    pb::Subscription { filter: filter.to_owned(), qos: qos.min(QoS::AtLeastOnce).bits().into() }
}

fn principal_from_wire(space: SpaceId, device_id: String) -> Result<Principal, WireError> {
    match (space, device_id.is_empty()) {
        (SpaceId::Registry(registry), false) => {
            Ok(Principal::Device { device: DeviceId::new(device_id), registry })
        }
        (SpaceId::Registry(registry), true) => Ok(Principal::Registry(registry)),
        (SpaceId::Broker(broker), true) => Ok(Principal::Broker(broker)),
        (SpaceId::Broker(_), false) => Err(WireError::Malformed { field: "device_id" }),
    }
}

fn credential_to_wire(credential: &CredentialReference) -> Credential {
    match credential {
        CredentialReference::Certificate(digest) => {
            Credential::CertificateDigest(Bytes::copy_from_slice(digest))
        }
        CredentialReference::Password(id) => Credential::PasswordId(id.to_string()),
    }
}

fn credential_from_wire(credential: Credential) -> Result<CredentialReference, WireError> {
    Ok(match credential {
        Credential::CertificateDigest(bytes) => {
            CredentialReference::Certificate(digest(&bytes, "certificate digest")?)
        }
        Credential::PasswordId(id) => CredentialReference::Password(PasswordId::new(id)),
    })
}

fn address_to_wire(address: IpAddr) -> Bytes {
    match address {
        IpAddr::V4(address) => Bytes::copy_from_slice(&address.octets()),
        IpAddr::V6(address) => Bytes::copy_from_slice(&address.octets()),
    }
}

fn address_from_wire(bytes: &[u8]) -> Result<Option<IpAddr>, WireError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    address.map(Some).map_err(|_| WireError::Malformed { field: "peer" })
}

pub(super) fn open_to_wire(open: &OpenSession) -> pb::OpenSession {
    let session = pb::Session {
        id: Some(id_to_wire(open.id)),
        epoch: open.epoch,
        space: Some(space_to_wire(&open.principal.space())),
        device_id: open.principal.device().map(ToString::to_string).unwrap_or_default(),
        client_id: open.client_id.to_string(),
        credential: Some(credential_to_wire(&open.credential)),
        peer: open.peer.map(address_to_wire).unwrap_or_default(),
        opened_at: open.at.nanoseconds,
        subscriptions: Vec::new(),
    };
    pb::OpenSession { session: Some(session) }
}

pub(super) fn open_from_wire(open: pb::OpenSession) -> Result<OpenSession, WireError> {
    let session = session_from_wire(required(open.session, "session")?)?;
    if !session.subscriptions.is_empty() {
        return Err(WireError::Malformed { field: "subscriptions" });
    }
    let Session { id, epoch, principal, client_id, credential, peer, opened_at, .. } = session;
    Ok(OpenSession { id, epoch, principal, client_id, credential, peer, at: opened_at })
}

pub(super) fn close_to_wire(close: &CloseSession) -> pb::CloseSession {
    pb::CloseSession { id: Some(id_to_wire(close.id)), epoch: close.epoch, at: close.at.nanoseconds }
}

pub(super) fn close_from_wire(close: pb::CloseSession) -> Result<CloseSession, WireError> {
    Ok(CloseSession { id: id_from_wire(close.id)?, epoch: close.epoch, at: time(close.at) })
}

pub(super) fn subscriptions_to_wire(change: &ChangeSubscriptions) -> pb::ChangeSubscriptions {
    pb::ChangeSubscriptions {
        id: Some(id_to_wire(change.id)),
        epoch: change.epoch,
        added: change.added.iter().map(|(filter, qos)| subscription_to_wire(filter, *qos)).collect(),
        removed: change.removed.iter().map(SmolStr::to_string).collect(),
        subscriptions_max: change.subscriptions_max,
    }
}

pub(super) fn subscriptions_from_wire(
    change: pb::ChangeSubscriptions,
) -> Result<ChangeSubscriptions, WireError> {
    let added = change.added.into_iter().map(|added| Ok((added.filter.into(), qos_from_wire(added.qos)?)));
    Ok(ChangeSubscriptions {
        id: id_from_wire(change.id)?,
        epoch: change.epoch,
        added: added.collect::<Result<_, WireError>>()?,
        removed: change.removed.into_iter().map(SmolStr::from).collect(),
        subscriptions_max: change.subscriptions_max,
    })
}

pub(super) fn session_to_wire(session: &Session) -> pb::Session {
    pb::Session {
        id: Some(id_to_wire(session.id)),
        epoch: session.epoch,
        space: Some(space_to_wire(&session.principal.space())),
        device_id: session.principal.device().map(ToString::to_string).unwrap_or_default(),
        client_id: session.client_id.to_string(),
        credential: Some(credential_to_wire(&session.credential)),
        peer: session.peer.map(address_to_wire).unwrap_or_default(),
        opened_at: session.opened_at.nanoseconds,
        subscriptions: session
            .subscriptions
            .iter()
            .map(|(filter, qos)| subscription_to_wire(filter, qos))
            .collect(),
    }
}

pub(super) fn session_from_wire(session: pb::Session) -> Result<Session, WireError> {
    let mut filters = std::collections::HashSet::new();
    if !session.subscriptions.iter().all(|subscription| filters.insert(subscription.filter.as_str())) {
        return Err(WireError::Malformed { field: "subscriptions" });
    }
    let list = session.subscriptions.iter();
    let list = list.map(|entry| Ok((entry.filter.as_str(), qos_from_wire(entry.qos)?)));
    let list = list.collect::<Result<Vec<_>, WireError>>()?;
    let subscriptions =
        Subscriptions::new(list).map_err(|_| WireError::Malformed { field: "subscriptions" })?;
    Ok(Session {
        id: id_from_wire(session.id)?,
        epoch: session.epoch,
        principal: principal_from_wire(space_from_wire(session.space)?, session.device_id)?,
        client_id: session.client_id.into(),
        credential: credential_from_wire(required(session.credential, "credential")?)?,
        peer: address_from_wire(&session.peer)?,
        opened_at: time(session.opened_at),
        subscriptions,
    })
}
