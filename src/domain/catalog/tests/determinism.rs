//! Any sequence of commands gives the same state everywhere, and the records carry all of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;

use super::{
    Fixture, add_certificate, add_password, aliases, certificate, create_broker, create_registry, device,
    owner, password,
};
use crate::domain::catalog::{
    AttributesPatch, Catalog, Change, ChangeSubscriptions, CloseSession, Command, CreateDevice, Event,
    IdempotencyKey, Mutation, NewCredentials, OpenSession, Rejection, UpdateDevice,
};
use crate::domain::credential::CredentialReference;
use crate::domain::id::{BrokerId, DeviceId, OperationId, PasswordId, RegistryId};
use crate::domain::quota::CatalogLimits;
use crate::domain::session::{Session, SessionId};
use crate::domain::timestamp::Timestamp;
use crate::mqtt::qos::QoS;

const REGISTRIES: &[&str] = &["r1", "r2"];
const DEVICES: &[&str] = &["d1", "d2", "d3"];
const OWNERS: &[&str] = &["r1", "r2", "d1", "d2", "b1"];
const NAMES: &[&str] = &["", "n1", "n2"];
const ALIASES: &[&str] = &["a", "ab", "b/", "c"];
const TOPICS: &[&str] =
    &["$devices/d1/state", "$devices/d2/config/x", "$registries/r1/state", "$devices/d1/events"];

fn change() -> impl Strategy<Value = Change> {
    let alias_pairs = proptest::collection::vec((select(ALIASES), any::<bool>()), 0..4);
    let alias_map = alias_pairs.prop_map(|pairs| {
        let target = |exact| if exact { "$devices/{id}/state" } else { "$devices/{id}/" };
        aliases(&pairs.iter().map(|(alias, exact)| (*alias, target(*exact))).collect::<Vec<_>>())
    });
    let alias_map = std::sync::Arc::new(alias_map);
    prop_oneof![
        (select(REGISTRIES), select(NAMES)).prop_map(|(id, name)| create_registry(id, name)),
        select(NAMES).prop_map(|name| create_broker("b1", name)),
        (select(DEVICES), select(REGISTRIES), select(NAMES), alias_map.clone(), any::<bool>()).prop_map(
            |(id, registry, name, topic_aliases, with_credentials)| {
                let credentials = if with_credentials {
                    NewCredentials { certificates: vec![certificate(1)], password: Some(password("p")) }
                } else {
                    NewCredentials::default()
                };
                let name = name.into();
                Change::CreateDevice(CreateDevice {
                    name,
                    topic_aliases,
                    credentials,
                    ..device(id, registry)
                })
            }
        ),
        (select(DEVICES), select(NAMES), proptest::option::of(alias_map)).prop_map(
            |(id, name, topic_aliases)| {
                let attributes = AttributesPatch { name: Some(name.into()), ..AttributesPatch::default() };
                Change::UpdateDevice(UpdateDevice { id: DeviceId::new(id), attributes, topic_aliases })
            }
        ),
        select(DEVICES).prop_map(|id| Change::DeleteDevice { id: DeviceId::new(id) }),
        select(REGISTRIES).prop_map(|id| Change::DeleteRegistry { id: RegistryId::new(id) }),
        select(REGISTRIES).prop_map(|id| Change::DisableRegistry { id: RegistryId::new(id) }),
        select(&["b1"][..]).prop_map(|id| Change::DeleteBroker { id: BrokerId::new(id) }),
        (select(OWNERS), 0_u8..3).prop_map(|(id, number)| add_certificate(id, number)),
        (select(OWNERS), select(&["p", "q"][..])).prop_map(|(id, password)| add_password(id, password)),
        (select(OWNERS), 0_u8..3).prop_map(|(id, number)| Change::DeleteCertificate {
            owner: owner(id),
            fingerprint: certificate(number).fingerprint,
        }),
        select(OWNERS).prop_map(|id| Change::DeletePassword { owner: owner(id), id: PasswordId::new("p") }),
    ]
}

/// What happens next.
#[allow(clippy::large_enum_variant, reason = "a few dozen steps per case")]
#[derive(Debug, Clone)]
enum Step {
    /// A change, with an idempotency key or none, some hours after the last.
    Change(Change, Option<u8>, u64),
    /// A message for a topic, or its end.
    Message(&'static str, bool),
    /// A node begins an epoch or ends it.
    Node(u32, Option<u64>),
    /// A session of an entity with a client identifier, in an epoch, by certificate or password.
    Open(SessionId, u64, &'static str, &'static str, bool),
    /// Its end.
    Close(SessionId, u64),
    /// Its subscriptions.
    Subscribe(SessionId, u64, Vec<&'static str>, Vec<&'static str>),
}

fn session_id() -> impl Strategy<Value = SessionId> {
    (1_u32..3, 0_u32..3).prop_map(|(node, index)| SessionId { node, lane: 0, index, generation: 0 })
}

fn filters() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::collection::vec(select(&["a", "b/#", "$devices/+/events/of/some/length"][..]), 0..3)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (change(), proptest::option::of(0_u8..3), 0_u64..40)
            .prop_map(|(change, key, hours)| Step::Change(change, key, hours)),
        2 => (select(TOPICS), any::<bool>()).prop_map(|(topic, clear)| Step::Message(topic, clear)),
        2 => (1_u32..3, proptest::option::weighted(0.8, 1_u64..3))
            .prop_map(|(node, epoch)| Step::Node(node, epoch)),
        6 => (session_id(), 1_u64..3, select(OWNERS), select(&["", "c"][..]), any::<bool>()).prop_map(
            |(id, epoch, entity, client_id, by_certificate)| {
                Step::Open(id, epoch, entity, client_id, by_certificate)
            }
        ),
        2 => (session_id(), 1_u64..3).prop_map(|(id, epoch)| Step::Close(id, epoch)),
        3 => (session_id(), 1_u64..3, filters(), filters())
            .prop_map(|(id, epoch, added, removed)| Step::Subscribe(id, epoch, added, removed)),
    ]
}

fn open(
    fixture: &mut Fixture,
    id: SessionId,
    epoch: u64,
    entity: &'static str,
    client_id: &'static str,
    by_certificate: bool,
) -> Result<(), Rejection> {
    let Some(principal) = fixture.catalog.principal(entity) else { return Ok(()) };
    let credential = if by_certificate {
        CredentialReference::Certificate(certificate(1).digest)
    } else {
        CredentialReference::Password(PasswordId::new("p"))
    };
    let (client_id, at) = (client_id.into(), fixture.now());
    let session = OpenSession { id, epoch, principal, client_id, credential, peer: None, at };
    fixture.apply(Command::OpenSession(session)).map(|_| ())
}

/// What an observer knows of the sessions from events alone.
fn heard(events: &[Event]) -> BTreeMap<SessionId, Arc<Session>> {
    let mut known = BTreeMap::new();
    for event in events {
        match event {
            Event::SessionOpened { session } => {
                assert_eq!(known.insert(session.id, Arc::clone(session)), None, "it was not there");
            }
            Event::SubscriptionsChanged { session, added, removed } => {
                let before = known.insert(session.id, Arc::clone(session)).expect("it was there");
                for (filter, qos) in removed {
                    assert_eq!(before.subscriptions.qos(filter), Some(*qos));
                }
                let mut after: BTreeMap<_, _> = before.subscriptions.iter().collect();
                removed.iter().for_each(|(filter, _)| assert!(after.remove(filter.as_str()).is_some()));
                after.extend(added.iter().map(|(filter, qos)| (filter.as_str(), *qos)));
                assert_eq!(after, session.subscriptions.iter().collect());
            }
            Event::SessionClosed { session, .. } => {
                assert_eq!(known.remove(&session.id).as_ref(), Some(session), "it is told as it was");
            }
            _ => {}
        }
    }
    known
}

fn run(steps: &[Step]) -> Fixture {
    const HOUR: u64 = 60 * 60 * 1_000_000_000;
    let mut fixture = Fixture::empty();
    let limits = CatalogLimits {
        operations_per_resource_max: 3,
        operations_max: 10,
        idempotency_keys_max: 2,
        ..CatalogLimits::default()
    };
    fixture.apply(Command::SetLimits(limits)).expect("always allowed");
    let mut now = 0;
    for (number, step) in steps.iter().enumerate() {
        // Refusals are part of the game; the fixture checks that they change nothing.
        let _ = match step.clone() {
            Step::Message(topic, clear) => {
                fixture.set_permanent(topic, if clear { "" } else { "x" }).map(|_| ())
            }
            Step::Node(node, epoch) => {
                fixture.step += 1;
                fixture.catalog.node_changed(fixture.step, node, epoch, &mut fixture.events);
                Ok(())
            }
            Step::Open(id, epoch, entity, client_id, by_certificate) => {
                open(&mut fixture, id, epoch, entity, client_id, by_certificate)
            }
            Step::Close(id, epoch) => {
                let at = fixture.now();
                fixture.apply(Command::CloseSession(CloseSession { id, epoch, at })).map(|_| ())
            }
            Step::Subscribe(id, epoch, added, removed) => {
                let added = added.into_iter().map(|filter| (filter.into(), QoS::AtLeastOnce)).collect();
                let removed = removed.into_iter().map(Into::into).collect();
                let change = ChangeSubscriptions { id, epoch, added, removed, subscriptions_max: 2 };
                fixture.apply(Command::ChangeSubscriptions(change)).map(|_| ())
            }
            Step::Change(change, key, hours) => {
                now += hours * HOUR;
                let mutation = Mutation {
                    at: Timestamp::from_nanoseconds(now),
                    operation_id: OperationId::new(format!("o{number}")),
                    subject: "tester".into(),
                    idempotency_key: key
                        .map(|key| IdempotencyKey { method: "m".into(), key: key.to_string().into() }),
                    change,
                };
                fixture.apply(Command::Mutate(mutation)).map(|_| ())
            }
        };
    }
    fixture
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn same_commands_same_state_and_records_carry_all_of_it(steps in proptest::collection::vec(step(), 0..60)) {
        let fixture = run(&steps);
        let again = run(&steps);
        prop_assert_eq!(&fixture.catalog, &again.catalog);
        prop_assert_eq!(&fixture.events, &again.events);
        let sessions = fixture.catalog.all_sessions().map(|session| (session.id, Arc::clone(session)));
        prop_assert_eq!(heard(&fixture.events), sessions.collect());
        // Tables and every index, rebuilt from the records alone.
        let rebuilt = Catalog::from_records(fixture.catalog.applied_index(), fixture.catalog.records());
        prop_assert_eq!(rebuilt.as_ref(), Ok(&fixture.catalog));
        let records = |catalog: &Catalog| catalog.records().collect::<Vec<_>>();
        prop_assert_eq!(records(&rebuilt.expect("checked")), records(&again.catalog));
    }
}
