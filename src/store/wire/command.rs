//! Commands.

use bytes::Bytes;
use prost::Message as _;
use rookery_proto::rookery::storage::v1 as pb;

use super::change::{change_from_wire, change_to_wire};
use super::resource::{
    key_from_wire, key_to_wire, limits_from_wire, limits_to_wire, monitoring_from_wire, monitoring_to_wire,
    own, qos_from_wire, space_from_wire, space_to_wire, time, token_from_wire, token_to_wire,
};
use super::session::{
    close_from_wire, close_to_wire, open_from_wire, open_to_wire, subscriptions_from_wire,
    subscriptions_to_wire,
};
use super::{WireError, is_known, required};
use crate::domain::catalog::{Command, LastSeen, Mutation, NewToken, Origin, SetPermanent, TokenCondition};
use crate::domain::id::{DeviceId, OperationId, TokenId};
use crate::mqtt::qos::QoS;
use pb::command::Body;

/// The bytes of a command for the log, in the format that the cluster writes.
pub fn encode_command(command: &Command, format: u32) -> Bytes {
    let body = match command {
        Command::Mutate(mutation) => Body::Mutate(mutation_to_wire(mutation)),
        Command::CreateToken(new) => Body::CreateToken(pb::CreateToken {
            token: Some(token_to_wire(&new.token)),
            condition: condition_to_wire(new.condition).into(),
        }),
        Command::RevokeToken { id } => Body::RevokeToken(pb::RevokeToken { id: id.to_string() }),
        Command::SetPermanent(message) => Body::SetPermanent(permanent_to_wire(message)),
        Command::LastSeen(batch) => {
            Body::LastSeen(pb::LastSeenBatch { entries: batch.iter().map(last_seen_to_wire).collect() })
        }
        Command::SetLimits(limits) => Body::SetLimits(limits_to_wire(limits)),
        Command::OpenSession(open) => Body::OpenSession(open_to_wire(open)),
        Command::CloseSession(close) => Body::CloseSession(close_to_wire(close)),
        Command::ChangeSubscriptions(change) => Body::ChangeSubscriptions(subscriptions_to_wire(change)),
    };
    pb::Command { version: format, body: Some(body) }.encode_to_vec().into()
}

/// Reads a command from the log. `newest` is the newest format that this release knows.
///
/// # Errors
/// [`WireError`] if it was not written by this version of the server or an older one.
pub fn decode_command(bytes: Bytes, newest: u32) -> Result<Command, WireError> {
    let command = pb::Command::decode(bytes)?;
    if !is_known(command.version, newest) {
        return Err(WireError::UnknownVersion { found: command.version, newest_known: newest });
    }
    Ok(match required(command.body, "command body")? {
        Body::Mutate(mutation) => Command::Mutate(mutation_from_wire(mutation)?),
        Body::CreateToken(new) => Command::CreateToken(NewToken {
            condition: condition_from_wire(&new)?,
            token: token_from_wire(required(new.token, "token")?)?,
        }),
        Body::RevokeToken(revoke) => Command::RevokeToken { id: TokenId::new(revoke.id) },
        Body::SetPermanent(message) => Command::SetPermanent(permanent_from_wire(message)?),
        Body::LastSeen(batch) => {
            let entries = batch.entries.into_iter().map(last_seen_from_wire);
            Command::LastSeen(entries.collect::<Result<_, _>>()?)
        }
        Body::SetLimits(limits) => Command::SetLimits(limits_from_wire(limits)),
        Body::OpenSession(open) => Command::OpenSession(open_from_wire(open)?),
        Body::CloseSession(close) => Command::CloseSession(close_from_wire(close)?),
        Body::ChangeSubscriptions(change) => Command::ChangeSubscriptions(subscriptions_from_wire(change)?),
    })
}

fn condition_to_wire(condition: TokenCondition) -> pb::create_token::Condition {
    match condition {
        TokenCondition::Always => pb::create_token::Condition::Always,
        TokenCondition::NoAdministrator => pb::create_token::Condition::NoAdministrator,
        TokenCondition::NewSecret => pb::create_token::Condition::NewSecret,
    }
}

fn condition_from_wire(new: &pb::CreateToken) -> Result<TokenCondition, WireError> {
    match new.condition() {
        pb::create_token::Condition::Always => Ok(TokenCondition::Always),
        pb::create_token::Condition::NoAdministrator => Ok(TokenCondition::NoAdministrator),
        pb::create_token::Condition::NewSecret => Ok(TokenCondition::NewSecret),
        pb::create_token::Condition::Unspecified => {
            Err(WireError::UnknownValue { field: "condition", value: new.condition.into() })
        }
    }
}

fn permanent_to_wire(message: &SetPermanent) -> pb::SetPermanent {
    pb::SetPermanent {
        space: Some(space_to_wire(&message.space)),
        topic: message.topic.to_string(),
        payload: message.payload.clone(),
        // What cannot be decoded again stops the node when it is applied, at every start anew.
        qos: message.qos.min(QoS::AtLeastOnce).bits().into(),
        at: message.at.nanoseconds,
        origin_node: message.origin.node,
        origin_number: message.origin.number,
    }
}

fn permanent_from_wire(message: pb::SetPermanent) -> Result<SetPermanent, WireError> {
    Ok(SetPermanent {
        space: space_from_wire(message.space)?,
        topic: message.topic.into(),
        payload: own(&message.payload),
        qos: qos_from_wire(message.qos)?,
        at: time(message.at),
        origin: Origin { node: message.origin_node, number: message.origin_number },
    })
}

fn last_seen_to_wire(entry: &LastSeen) -> pb::last_seen_batch::Entry {
    pb::last_seen_batch::Entry {
        device_id: entry.device_id.to_string(),
        monitoring: Some(monitoring_to_wire(&entry.monitoring)),
    }
}

fn last_seen_from_wire(entry: pb::last_seen_batch::Entry) -> Result<LastSeen, WireError> {
    let monitoring = monitoring_from_wire(entry.monitoring)?;
    Ok(LastSeen { device_id: DeviceId::new(entry.device_id), monitoring })
}

fn mutation_to_wire(mutation: &Mutation) -> pb::Mutation {
    pb::Mutation {
        at: mutation.at.nanoseconds,
        operation_id: mutation.operation_id.to_string(),
        subject: mutation.subject.to_string(),
        idempotency_key: mutation.idempotency_key.as_ref().map(key_to_wire),
        change: Some(change_to_wire(&mutation.change)),
    }
}

fn mutation_from_wire(mutation: pb::Mutation) -> Result<Mutation, WireError> {
    Ok(Mutation {
        at: time(mutation.at),
        operation_id: OperationId::new(mutation.operation_id),
        subject: mutation.subject.into(),
        idempotency_key: mutation.idempotency_key.map(key_from_wire),
        change: change_from_wire(required(mutation.change, "change")?)?,
    })
}
