//! A history that uses every command and leaves something of every kind in the state.

use bytes::Bytes;

use crate::domain::catalog::{
    AttributesPatch, Catalog, Change, ChangeSubscriptions, CloseSession, Command, CreateBroker, CreateDevice,
    CreateRegistry, IdempotencyKey, LastSeen, Mutation, NewCertificate, NewCredentials, NewExport,
    NewPassword, NewToken, OpenSession, Origin, Owner, SetPermanent, TokenCondition, UpdateBroker,
    UpdateDevice, UpdateRegistry,
};
use crate::domain::credential::{CredentialReference, Fingerprint};
use crate::domain::id::{
    BrokerId, DeviceId, ExportId, FolderId, OperationId, PasswordId, RegistryId, TokenId,
};
use crate::domain::labels::Labels;
use crate::domain::log_options::{LogDestination, LogLevel, LogOptions};
use crate::domain::monitoring::{Access, MonitoringRecord};
use crate::domain::principal::{Principal, SpaceId};
use crate::domain::quota::CatalogLimits;
use crate::domain::session::SessionId;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::{ApiToken, Role};
use crate::mqtt::qos::QoS;
use crate::store::wire::{self, WireError};

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanoseconds(1_774_346_121_757_092_800 + seconds * 1_000_000_000)
}

fn registry(id: &str) -> Owner {
    Owner::Registry(RegistryId::new(id))
}

fn certificate(number: u8) -> NewCertificate {
    NewCertificate {
        digest: [number; 32],
        fingerprint: Fingerprint::from_sha1(&[number; 20]),
        certificate_data: format!("-----BEGIN CERTIFICATE-----\r\nж{number}\n").into(),
    }
}

fn password(id: &str) -> NewPassword {
    NewPassword { id: PasswordId::new(id), hash: "$argon2id$v=19$m=8$c2FsdA$aGFzaA".into() }
}

fn labels() -> Labels {
    Labels::parse([("key", "value"), ("empty", "")]).expect("valid")
}

fn log_options() -> LogOptions {
    let destination = Some(LogDestination::LogGroup("ckg1".into()));
    LogOptions { disabled: true, destination, min_level: LogLevel::Warn }
}

fn credentials(number: u8) -> NewCredentials {
    NewCredentials { certificates: vec![certificate(number)], password: Some(password("first")) }
}

fn patch() -> AttributesPatch {
    AttributesPatch {
        name: Some("renamed".into()),
        description: Some("described".into()),
        labels: Some(labels()),
    }
}

pub(super) fn create_registry(id: &str) -> Change {
    Change::CreateRegistry(CreateRegistry {
        id: RegistryId::new(id),
        folder_id: FolderId::new("b1gfolder"),
        name: "".into(),
        description: "".into(),
        labels: Labels::default(),
        log_options: None,
        credentials: NewCredentials::default(),
    })
}

fn create_device(id: &str, registry: &str, certificate: u8) -> Change {
    let aliases = [("alias/", "$devices/{id}/"), ("state", "$devices/{id}/state/x")];
    Change::CreateDevice(CreateDevice {
        id: DeviceId::new(id),
        registry_id: RegistryId::new(registry),
        name: "device".into(),
        description: "a device".into(),
        labels: labels(),
        topic_aliases: aliases.into_iter().map(|(alias, target)| (alias.into(), target.into())).collect(),
        credentials: credentials(certificate),
    })
}

fn creations() -> Vec<Change> {
    vec![
        create_registry("r0"),
        Change::CreateRegistry(CreateRegistry {
            id: RegistryId::new("r1"),
            folder_id: FolderId::new("b1gfolder"),
            name: "registry".into(),
            description: "a registry".into(),
            labels: labels(),
            log_options: Some(log_options()),
            credentials: credentials(2),
        }),
        create_device("d1", "r1", 1),
        Change::CreateBroker(CreateBroker {
            id: BrokerId::new("b1"),
            folder_id: FolderId::new("b1gfolder"),
            name: "broker".into(),
            description: "a broker".into(),
            labels: labels(),
            log_options: Some(log_options()),
            credentials: credentials(3),
        }),
        Change::AddExport(NewExport {
            id: ExportId::new("x1"),
            name: "export".into(),
            registry_id: RegistryId::new("r1"),
            mqtt_topic_filter: "$devices/+/events".into(),
            database: "/db".into(),
            stream: "stream".into(),
            service_account_id: "aje1".into(),
        }),
    ]
}

fn updates() -> Vec<Change> {
    vec![
        Change::UpdateRegistry(UpdateRegistry {
            id: RegistryId::new("r1"),
            attributes: patch(),
            log_options: Some(None),
        }),
        Change::UpdateDevice(UpdateDevice {
            id: DeviceId::new("d1"),
            attributes: AttributesPatch::default(),
            topic_aliases: Some([("new".into(), "$devices/{id}".into())].into_iter().collect()),
        }),
        Change::UpdateDevice(UpdateDevice {
            id: DeviceId::new("d1"),
            attributes: patch(),
            topic_aliases: None,
        }),
        Change::UpdateBroker(UpdateBroker {
            id: BrokerId::new("b1"),
            attributes: patch(),
            log_options: Some(Some(log_options())),
        }),
        Change::AddCertificate { owner: registry("r1"), certificate: certificate(4) },
        Change::AddCertificate { owner: Owner::Device(DeviceId::new("d1")), certificate: certificate(5) },
        Change::AddPassword { owner: registry("r1"), password: password("second") },
        Change::AddPassword { owner: Owner::Broker(BrokerId::new("b1")), password: password("third") },
        Change::DeleteCertificate { owner: registry("r1"), fingerprint: Fingerprint::from_sha1(&[2; 20]) },
        Change::DeletePassword { owner: registry("r1"), id: PasswordId::new("first") },
        Change::DisableRegistry { id: RegistryId::new("r1") },
        Change::EnableRegistry { id: RegistryId::new("r1") },
        Change::DisableRegistry { id: RegistryId::new("r0") },
    ]
}

fn deletions() -> Vec<Change> {
    let registry_id = RegistryId::new("r1");
    vec![
        create_registry("r2"),
        create_device("d2", "r2", 6),
        Change::DeleteDevice { id: DeviceId::new("d2") },
        Change::DeleteRegistry { id: RegistryId::new("r2") },
        Change::DeleteExport { registry_id, id: ExportId::new("x1") },
        Change::DeleteBroker { id: BrokerId::new("b1") },
    ]
}

/// The token with this number.
pub(super) fn token(number: u8, role: Role, condition: TokenCondition) -> NewToken {
    let token = ApiToken {
        id: TokenId::new(format!("t{number}")),
        name: "token".into(),
        role,
        hash: [number; 32],
        created_at: at(number.into()),
        created_by: "t1".into(),
    };
    NewToken { token, condition }
}

/// A publish to a permanent topic of registry `r1`.
pub(super) fn permanent(topic: &str, payload: &'static [u8]) -> SetPermanent {
    SetPermanent {
        space: SpaceId::Registry(RegistryId::new("r1")),
        topic: topic.into(),
        payload: Bytes::from_static(payload),
        qos: QoS::AtLeastOnce,
        at: at(77),
        origin: Origin { node: 3, number: u64::MAX },
    }
}

fn others() -> Vec<Command> {
    let mut monitoring = MonitoringRecord::default();
    let address = "192.0.2.45".parse().expect("an address");
    monitoring.note(Access::Connect(address), at(1));
    monitoring.note(Access::Disconnect, at(2));
    let seen = LastSeen { device_id: DeviceId::new("d1"), monitoring };
    let limits = limits();
    vec![
        Command::CreateToken(token(1, Role::Administrator, TokenCondition::NoAdministrator)),
        Command::CreateToken(token(2, Role::Editor, TokenCondition::Always)),
        Command::CreateToken(token(3, Role::Viewer, TokenCondition::NewSecret)),
        Command::RevokeToken { id: TokenId::new("t2") },
        Command::SetPermanent(permanent("$devices/d1/state", b"on")),
        Command::SetPermanent(permanent("$registries/r1/config/x", b"\0\xff")),
        Command::SetPermanent(permanent("$devices/d1/config", b"")),
        Command::LastSeen(vec![seen]),
        Command::SetLimits(limits),
    ]
}

/// Every kind of command. The state after them all has lost its broker and its export; see [`state`].
pub(super) fn history() -> Vec<Command> {
    let changes = [creations(), updates(), deletions()].concat();
    let mutations = changes.into_iter().zip(0..).map(|(change, number)| {
        let key = || IdempotencyKey { method: "method".into(), key: format!("key{number}").into() };
        Command::Mutate(Mutation {
            at: at(number),
            operation_id: OperationId::new(format!("o{number:02}")),
            subject: "t1".into(),
            idempotency_key: (number % 3 == 0).then(key),
            change,
        })
    });
    mutations.chain(others()).collect()
}

/// A state with something of every kind in it.
pub(super) fn state() -> Catalog {
    let mut catalog = Catalog::new();
    let kept = history().into_iter().filter(|command| {
        let Command::Mutate(mutation) = command else { return true };
        !matches!(mutation.change, Change::DeleteExport { .. } | Change::DeleteBroker { .. })
    });
    for (command, index) in kept.zip(10..) {
        catalog.apply(index, command, &mut Vec::new()).expect("the history is allowed");
    }
    catalog.node_changed(100, NODE, Some(100), &mut Vec::new());
    for (command, index) in sessions(100).into_iter().zip(101..) {
        catalog.apply(index, command, &mut Vec::new()).expect("the sessions are allowed");
    }
    catalog
}

/// The node of a store that runs alone.
pub(super) const NODE: u32 = 1;

/// A session of registry `r1`, by its only password.
pub(super) fn open_session(index: u32, epoch: u64) -> OpenSession {
    OpenSession {
        id: SessionId { node: NODE, lane: 3, index, generation: 7 },
        epoch,
        principal: Principal::Registry(RegistryId::new("r1")),
        client_id: format!("client {index}").into(),
        credential: CredentialReference::Password(PasswordId::new("second")),
        peer: Some([192, 0, 2, 45].into()),
        at: at(80),
    }
}

/// Two subscriptions of a session.
pub(super) fn subscribe(index: u32, epoch: u64) -> ChangeSubscriptions {
    let filters = [("$devices/d1/events/#", QoS::AtLeastOnce), ("$devices/+/state", QoS::AtMostOnce)];
    ChangeSubscriptions {
        id: open_session(index, epoch).id,
        epoch,
        added: filters.map(|(filter, qos)| (filter.into(), qos)).to_vec(),
        removed: Vec::new(),
        subscriptions_max: 1_000,
    }
}

/// Every command about sessions, with every kind of part; two sessions are left after [`history`] and in [`state`].
pub(super) fn sessions(epoch: u64) -> Vec<Command> {
    let device = OpenSession {
        principal: Principal::Device { device: DeviceId::new("d1"), registry: RegistryId::new("r1") },
        credential: CredentialReference::Certificate([1; 32]),
        client_id: "".into(),
        peer: Some("2001:db8::1".parse().expect("an address")),
        ..open_session(2, epoch)
    };
    let change = ChangeSubscriptions { removed: vec!["$devices/+/state".into()], ..subscribe(1, epoch) };
    let closed = OpenSession { peer: None, ..open_session(3, epoch) };
    let close = CloseSession { id: closed.id, epoch, at: at(81) };
    vec![
        Command::OpenSession(open_session(1, epoch)),
        Command::ChangeSubscriptions(subscribe(1, epoch)),
        Command::ChangeSubscriptions(change),
        Command::OpenSession(device),
        Command::OpenSession(closed),
        Command::CloseSession(close),
    ]
}

/// Limits of which some are not the default.
pub fn limits() -> CatalogLimits {
    CatalogLimits {
        devices_max: Some(1_000),
        clients_per_broker_max: Some(9),
        tokens_max: 7,
        ..CatalogLimits::default()
    }
}

/// The bytes of a command in the first format.
pub fn encode_command(command: &Command) -> Bytes {
    wire::encode_command(command, 1)
}

/// Reads a command as a release that knows the first format only.
pub fn decode_command(bytes: Bytes) -> Result<Command, WireError> {
    wire::decode_command(bytes, 1)
}
