//! Uniqueness, limits, credentials, operations and tokens.

use super::{
    Fixture, add_certificate, add_password, certificate, create_broker, create_registry, device, owner,
    password,
};
use crate::domain::catalog::{
    AttributesPatch, Change, Command, CreateDevice, Event, IdempotencyKey, LastSeen, Limit, Mutation,
    NewCredentials, NewExport, NewToken, OperationResponse, Outcome, PageRequest, Refused, RegistryStatus,
    Rejection, Resource, TokenCondition, UpdateRegistry,
};
use crate::domain::credential::{CredentialReference, Fingerprint};
use crate::domain::id::{
    BrokerId, DeviceId, ExportId, FolderId, OperationId, PasswordId, RegistryId, TokenId,
};
use crate::domain::log_options::LogOptions;
use crate::domain::monitoring::MonitoringRecord;
use crate::domain::principal::Principal;
use crate::domain::quota::CatalogLimits;
use crate::domain::timestamp::Timestamp;
use crate::domain::token::{ApiToken, Role};

fn device_principal(device: &str, registry: &str) -> Principal {
    Principal::Device { device: DeviceId::new(device), registry: RegistryId::new(registry) }
}

#[test]
fn ids_are_unique_across_kinds() {
    let mut fixture = Fixture::new();
    for (id, resource) in [("r", Resource::Registry), ("d1", Resource::Device), ("b", Resource::Broker)] {
        let taken = || Rejection::IdTaken { resource, id: id.into() };
        assert_eq!(fixture.mutate(create_registry(id, "")), Err(taken()));
        assert_eq!(fixture.mutate(create_broker(id, "")), Err(taken()));
        assert_eq!(fixture.mutate(Change::CreateDevice(device(id, "r2"))), Err(taken()));
    }
}

#[test]
fn names_are_unique_in_their_scope_and_empty_names_are_exempt() {
    let mut fixture = Fixture::new();
    fixture.done(create_registry("r3", "n"));
    fixture.done(create_broker("b2", "n"));
    let taken = Rejection::NameTaken { resource: Resource::Registry, name: "n".into(), id: "r3".into() };
    assert_eq!(fixture.mutate(create_registry("r4", "n")), Err(taken.clone()));
    let rename = |id: &str, name: &str| {
        Change::UpdateRegistry(UpdateRegistry {
            id: RegistryId::new(id),
            attributes: AttributesPatch { name: Some(name.into()), ..AttributesPatch::default() },
            log_options: None,
        })
    };
    assert_eq!(fixture.mutate(rename("r", "n")), Err(taken));
    fixture.done(rename("r3", "n"));
    fixture.done(rename("r3", "other"));
    fixture.done(rename("r", "n"));
    let folder = FolderId::new("f");
    assert_eq!(fixture.catalog.registry_by_name(&folder, "n").map(|found| found.id.as_str()), Some("r"));
    assert!(fixture.catalog.registry_by_name(&folder, "").is_none());

    let named = |id: &str, registry: &str| {
        Change::CreateDevice(CreateDevice { name: "dev".into(), ..device(id, registry) })
    };
    fixture.done(named("d5", "r"));
    fixture.done(named("d6", "r2"));
    assert!(matches!(fixture.mutate(named("d7", "r")), Err(Rejection::NameTaken { .. })));
}

#[test]
fn a_certificate_belongs_to_one_entity_of_the_whole_server() {
    let mut fixture = Fixture::new();
    fixture.done(add_certificate("d1", 1));
    let taken = Rejection::CertificateTaken { fingerprint: Fingerprint::from_sha1(&[1; 20]) };
    for other in ["d1", "d2", "r", "b"] {
        assert_eq!(fixture.mutate(add_certificate(other, 1)), Err(taken.clone()), "{other}");
    }
    let found = fixture.catalog.by_certificate(&[1; 32]).expect("registered");
    assert_eq!(found.principal, device_principal("d1", "r"));
    let stored = &fixture.catalog.certificates_of(&owner("d1")).expect("exists")[0];
    assert_eq!(&*stored.certificate_data, "-----BEGIN CERTIFICATE-----\r\n1\n", "byte for byte");

    let twice = NewCredentials { certificates: vec![certificate(2), certificate(2)], password: None };
    let create = Change::CreateDevice(CreateDevice { credentials: twice, ..device("d9", "r") });
    assert!(matches!(fixture.mutate(create), Err(Rejection::CertificateTaken { .. })));
}

#[test]
fn removing_credentials_says_which_and_frees_them() {
    let mut fixture = Fixture::new();
    fixture.done(add_certificate("b", 1));
    fixture.done(add_password("b", "p1"));
    fixture.events.clear();
    let fingerprint = Fingerprint::from_sha1(&[1; 20]);
    let wrong_owner = Change::DeleteCertificate { owner: owner("r"), fingerprint: fingerprint.clone() };
    assert!(matches!(fixture.mutate(wrong_owner), Err(Rejection::NotFound { .. })));
    fixture.done(Change::DeleteCertificate { owner: owner("b"), fingerprint });
    fixture.done(Change::DeletePassword { owner: owner("b"), id: PasswordId::new("p1") });
    let removed = |credential| Event::CredentialRemoved { owner: owner("b"), credential };
    assert_eq!(
        fixture.events,
        [
            removed(CredentialReference::Certificate([1; 32])),
            removed(CredentialReference::Password(PasswordId::new("p1"))),
        ]
    );
    assert_eq!(fixture.catalog.login("b").expect("exists").passwords.len(), 0);
    fixture.done(add_certificate("r", 1));
}

#[test]
fn five_certificates_and_five_passwords_by_default() {
    let mut fixture = Fixture::new();
    for number in 0..5 {
        fixture.done(add_certificate("r", number));
        fixture.done(add_password("r", &format!("p{number}")));
    }
    let certificates = Rejection::TooMany { limit: Limit::CertificatesPerEntity, max: 5 };
    assert_eq!(fixture.mutate(add_certificate("r", 9)), Err(certificates));
    let passwords = Rejection::TooMany { limit: Limit::PasswordsPerEntity, max: 5 };
    assert_eq!(fixture.mutate(add_password("r", "p9")), Err(passwords));
    let login = fixture.catalog.login("r").expect("exists");
    assert_eq!((login.principal, login.passwords.len()), (Principal::Registry(RegistryId::new("r")), 5));
    assert!(fixture.catalog.login("nobody").is_none());
}

#[test]
fn quotas_are_part_of_the_state() {
    let mut fixture = Fixture::new();
    let limits = CatalogLimits { devices_max: Some(3), brokers_max: Some(1), ..CatalogLimits::default() };
    assert_eq!(fixture.apply(Command::SetLimits(limits)), Ok(Outcome::Done));
    let refused = |limit, max| Err(Rejection::TooMany { limit, max });
    assert_eq!(fixture.mutate(Change::CreateDevice(device("d4", "r"))), refused(Limit::Devices, 3));
    assert_eq!(fixture.mutate(create_broker("b2", "")), refused(Limit::Brokers, 1));
    fixture.done(create_registry("r3", ""));
}

#[test]
fn a_registry_with_devices_stays_and_an_empty_one_goes_with_everything() {
    let mut fixture = Fixture::new();
    let delete = || Change::DeleteRegistry { id: RegistryId::new("r") };
    let not_empty = Rejection::RegistryNotEmpty { id: RegistryId::new("r"), devices: 2 };
    assert_eq!(fixture.mutate(delete()), Err(not_empty));
    fixture.done(add_certificate("r", 1));
    fixture.done(add_password("r", "p"));
    fixture.done(add_export("r", "x", "n"));
    fixture.set_permanent("$registries/r/config", "c").expect("allowed");
    for id in ["d1", "d2"] {
        fixture.done(Change::DeleteDevice { id: DeviceId::new(id) });
    }
    fixture.events.clear();
    fixture.done(delete());
    let principal = Principal::Registry(RegistryId::new("r"));
    assert_eq!(fixture.events, [Event::EntityDeleted { principal: principal.clone() }]);
    assert_eq!(fixture.catalog.admits(&principal), Err(Refused::Deleted));
    assert_eq!(fixture.catalog.stored_message_totals(), (0, 0));
    fixture.done(create_registry("r", ""));
    fixture.done(add_certificate("r", 1));
    fixture.done(add_export("r", "x", "n"));
}

fn add_export(registry: &str, id: &str, name: &str) -> Change {
    Change::AddExport(NewExport {
        id: ExportId::new(id),
        name: name.into(),
        registry_id: RegistryId::new(registry),
        mqtt_topic_filter: "".into(),
        database: "/db".into(),
        stream: "s".into(),
        service_account_id: "aje1".into(),
    })
}

#[test]
fn one_export_per_registry_with_a_name_unique_in_the_folder() {
    let mut fixture = Fixture::new();
    fixture.done(add_export("r", "x1", "n"));
    let exists = Rejection::ExportExists { registry: RegistryId::new("r") };
    assert_eq!(fixture.mutate(add_export("r", "x2", "")), Err(exists));
    assert!(matches!(fixture.mutate(add_export("r2", "x2", "n")), Err(Rejection::NameTaken { .. })));
    let registry = RegistryId::new("r");
    assert_eq!(
        fixture.catalog.export_of(&registry).expect("exists").map(|found| found.id.as_str()),
        Some("x1")
    );
    let delete = |registry: &str| Change::DeleteExport {
        registry_id: RegistryId::new(registry),
        id: ExportId::new("x1"),
    };
    assert!(matches!(fixture.mutate(delete("r2")), Err(Rejection::NotFound { .. })));
    fixture.done(delete("r"));
    fixture.done(add_export("r2", "x2", "n"));
}

#[test]
fn a_disabled_registry_refuses_its_clients_and_says_so_once() {
    let mut fixture = Fixture::new();
    let id = || RegistryId::new("r");
    let principal = device_principal("d1", "r");
    assert_eq!(fixture.catalog.admits(&principal), Ok(()));
    for _ in 0..2 {
        let operation = fixture.done(Change::DisableRegistry { id: id() });
        let OperationResponse::Registry(registry) = &operation.response else { panic!("{operation:?}") };
        assert_eq!(registry.status, RegistryStatus::Disabled);
    }
    assert_eq!(fixture.events, [Event::RegistryDisabled { id: id() }]);
    assert_eq!(fixture.catalog.admits(&principal), Err(Refused::RegistryDisabled));
    assert_eq!(fixture.catalog.admits(&Principal::Registry(id())), Err(Refused::RegistryDisabled));
    assert_eq!(fixture.catalog.admits(&device_principal("d3", "r2")), Ok(()));
    assert_eq!(fixture.catalog.admits(&device_principal("d3", "r")), Err(Refused::Deleted));
    assert_eq!(fixture.catalog.admits(&Principal::Broker(BrokerId::new("b"))), Ok(()));
    // Management and storage stay available (U-D3).
    fixture.done(Change::CreateDevice(device("d4", "r")));
    assert!(fixture.set_permanent("$devices/d1/state", "s").is_ok());
    fixture.done(Change::EnableRegistry { id: id() });
    assert_eq!(fixture.catalog.admits(&principal), Ok(()));
}

#[test]
fn log_options_default_to_the_own_folder_and_can_be_reset() {
    let mut fixture = Fixture::new();
    let default = LogOptions::default_for(&FolderId::new("f"));
    assert_eq!(fixture.catalog.registry("r").expect("there").log_options, default);
    let off = LogOptions { disabled: true, ..LogOptions::default() };
    for (change, expected) in [(Some(Some(off.clone())), &off), (None, &off), (Some(None), &default)] {
        fixture.done(Change::UpdateRegistry(UpdateRegistry {
            id: RegistryId::new("r"),
            attributes: AttributesPatch::default(),
            log_options: change,
        }));
        assert_eq!(fixture.catalog.registry("r").expect("there").log_options, *expected);
    }
}

#[test]
fn operations_are_listed_under_their_entity_also_after_its_deletion() {
    let mut fixture = Fixture::new();
    fixture.done(add_password("d1", "p"));
    fixture.done(Change::DeleteDevice { id: DeviceId::new("d1") });
    let page = fixture.catalog.operations_of(&owner("d1"), &PageRequest::first(10));
    let descriptions: Vec<_> = page.items.iter().map(|operation| operation.metadata.description()).collect();
    assert_eq!(descriptions, ["Create device", "Add password", "Delete device"]);
    assert_eq!(page.items[2].response, OperationResponse::Empty);
    assert_eq!(page.items[2].created_by, "tester");
    assert!(fixture.catalog.operation(&page.items[0].id).is_some());
}

#[test]
fn operations_are_forgotten_after_thirty_days_and_above_the_limits() {
    const DAY: u64 = 24 * 60 * 60 * 1_000_000_000;
    let mut fixture = Fixture::new();
    let at = |days: u64| Timestamp::from_nanoseconds(days * DAY + 10_000);
    let mutation = |id: &str, days: u64| Mutation {
        at: at(days),
        operation_id: OperationId::new(id),
        subject: "tester".into(),
        idempotency_key: None,
        change: Change::EnableRegistry { id: RegistryId::new("r") },
    };
    fixture.apply(Command::Mutate(mutation("a", 29))).expect("allowed");
    let first = OperationId::new("op0");
    assert!(fixture.catalog.operation(&first).is_some());
    fixture.apply(Command::Mutate(mutation("b", 31))).expect("allowed");
    assert!(fixture.catalog.operation(&first).is_none());
    assert!(fixture.catalog.operation(&OperationId::new("a")).is_some());

    let limits = CatalogLimits { operations_per_resource_max: 2, ..CatalogLimits::default() };
    fixture.apply(Command::SetLimits(limits)).expect("allowed");
    fixture.apply(Command::Mutate(mutation("c", 31))).expect("allowed");
    let page = fixture.catalog.operations_of(&owner("r"), &PageRequest::first(10));
    assert_eq!(page.items.iter().map(|found| found.id.as_str()).collect::<Vec<_>>(), ["b", "c"]);
}

#[test]
fn a44_an_operation_outlives_its_own_making_when_the_clock_went_back() {
    // With the limits reached, the oldest record goes for the new one. After a step back of the clock the new one was
    // the oldest, so it went itself: the Python SDK, which always reads the operation again, got NOT_FOUND for a change
    // that had been made, and a retry with the same key made the change twice.
    let mut fixture = Fixture::new();
    let limits =
        CatalogLimits { operations_per_resource_max: 2, idempotency_keys_max: 1, ..CatalogLimits::default() };
    fixture.apply(Command::SetLimits(limits)).expect("allowed");
    let key = |key: &str| IdempotencyKey { method: "Enable".into(), key: key.into() };
    let enable = |operation: &str, nanoseconds: u64| Mutation {
        at: Timestamp::from_nanoseconds(nanoseconds),
        operation_id: OperationId::new(operation),
        subject: "tester".into(),
        idempotency_key: Some(key(operation)),
        change: Change::EnableRegistry { id: RegistryId::new("r") },
    };
    for (operation, at) in [("a", 1_000_000), ("b", 2_000_000), ("c", 10), ("d", 20)] {
        fixture.apply(Command::Mutate(enable(operation, at))).expect("allowed");
        let found = fixture.catalog.operation(&OperationId::new(operation));
        assert!(found.is_some(), "{operation}");
        let retried =
            fixture.catalog.operation_of_key("tester", &key(operation), found.expect("checked").created_at);
        assert!(retried.is_some(), "{operation}");
    }
    let page = fixture.catalog.operations_of(&owner("r"), &PageRequest::first(10));
    assert_eq!(page.items.len(), 2);
}

#[test]
fn an_idempotency_key_returns_the_first_operation_for_a_day() {
    const HOUR: u64 = 60 * 60 * 1_000_000_000;
    let mut fixture = Fixture::new();
    let key = IdempotencyKey { method: "Create".into(), key: "k".into() };
    let mut create = |operation: &str, subject: &str, registry: &str, hours: u64| {
        let mutation = Mutation {
            at: Timestamp::from_nanoseconds(hours * HOUR + 10_000),
            operation_id: OperationId::new(operation),
            subject: subject.into(),
            idempotency_key: Some(key.clone()),
            change: create_registry(registry, ""),
        };
        match fixture.apply(Command::Mutate(mutation)) {
            Ok(Outcome::Operation(operation)) => operation.id.as_str().to_owned(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(create("o1", "alice", "r10", 0), "o1");
    assert_eq!(create("o2", "alice", "r11", 23), "o1", "a retry does not act twice");
    assert_eq!(create("o3", "bob", "r12", 23), "o3", "keys belong to their subject");
    assert_eq!(create("o4", "alice", "r13", 25), "o4", "a key is forgotten after a day");
    assert_eq!(create("o5", "alice", "r14", 26), "o4");
    assert!(fixture.catalog.registry("r11").is_none());
    let other = IdempotencyKey { method: "Delete".into(), key: "k".into() };
    assert!(fixture.catalog.operation_of_key("alice", &other, Timestamp::default()).is_none());
}

#[test]
fn tokens_are_found_by_hash_and_the_last_administrator_stays() {
    let mut fixture = Fixture::empty();
    let token = |id: &str, hash: u8, role, condition| {
        Command::CreateToken(NewToken {
            token: ApiToken {
                id: TokenId::new(id),
                name: "".into(),
                role,
                hash: [hash; 32],
                created_at: Timestamp::default(),
                created_by: "".into(),
            },
            condition,
        })
    };
    let mut id_of = |command| match fixture.apply(command) {
        Ok(Outcome::Token(token)) => Ok(token.id.as_str().to_owned()),
        Ok(other) => panic!("{other:?}"),
        Err(rejection) => Err(rejection),
    };
    let admin = Role::Administrator;
    assert_eq!(id_of(token("a", 1, admin, TokenCondition::NoAdministrator)).as_deref(), Ok("a"));
    assert_eq!(id_of(token("b", 2, admin, TokenCondition::NoAdministrator)).as_deref(), Ok("a"));
    assert_eq!(id_of(token("c", 1, admin, TokenCondition::NewSecret)).as_deref(), Ok("a"));
    assert_eq!(id_of(token("d", 3, Role::Viewer, TokenCondition::NewSecret)).as_deref(), Ok("d"));
    assert_eq!(id_of(token("e", 3, Role::Viewer, TokenCondition::Always)), Err(Rejection::TokenTaken));
    let last = Rejection::LastAdministrator { id: "a".into() };
    assert_eq!(id_of(Command::RevokeToken { id: TokenId::new("a") }), Err(last));
    assert_eq!(id_of(token("f", 4, admin, TokenCondition::Always)).as_deref(), Ok("f"));
    assert_eq!(id_of(Command::RevokeToken { id: TokenId::new("a") }).as_deref(), Ok("a"));
    assert!(fixture.catalog.token_by_hash(&[1; 32]).is_none());
    let found = fixture.catalog.token_by_hash(&[4; 32]).expect("kept");
    assert_eq!((found.id.as_str(), found.role), ("f", admin));
    assert_eq!(fixture.catalog.tokens(&PageRequest::first(10)).items.len(), 2);
}

#[test]
fn last_seen_skips_devices_that_are_gone_and_reports_changes_only() {
    let mut fixture = Fixture::new();
    let seen = |device: &str, at: u64| LastSeen {
        device_id: DeviceId::new(device),
        monitoring: MonitoringRecord {
            last_online_time: Some(Timestamp::from_nanoseconds(at)),
            ..MonitoringRecord::default()
        },
    };
    let batch = vec![seen("d1", 5), seen("gone", 5), seen("d1", 4)];
    assert_eq!(fixture.apply(Command::LastSeen(batch)), Ok(Outcome::Done));
    let (registry, id) = (RegistryId::new("r"), DeviceId::new("d1"));
    assert_eq!(fixture.events, [Event::MonitoringChanged { registry, device: id.clone() }]);
    let known = fixture.catalog.monitoring(&id).expect("seen");
    assert_eq!(known.last_online_time, Some(Timestamp::from_nanoseconds(5)));
    fixture.done(Change::DeleteDevice { id: id.clone() });
    assert!(fixture.catalog.monitoring(&id).is_none());
}

#[test]
fn a_created_device_has_its_credentials_at_once() {
    let mut fixture = Fixture::new();
    let credentials =
        NewCredentials { certificates: vec![certificate(7), certificate(8)], password: Some(password("p")) };
    fixture.done(Change::CreateDevice(CreateDevice { credentials, ..device("d8", "r") }));
    assert_eq!(fixture.catalog.certificates_of(&owner("d8")).map(<[_]>::len), Ok(2));
    assert_eq!(fixture.catalog.passwords_of(&owner("d8")).map(<[_]>::len), Ok(1));
    fixture.done(Change::DeleteDevice { id: DeviceId::new("d8") });
    assert!(matches!(fixture.catalog.certificates_of(&owner("d8")), Err(Rejection::NotFound { .. })));
    assert_eq!(fixture.catalog.by_certificate(&[7; 32]), None);
    let gone = fixture.mutate(Change::DeleteDevice { id: DeviceId::new("d8") });
    assert_eq!(gone, Err(Rejection::NotFound { resource: Resource::Device, id: "d8".into() }));
}
