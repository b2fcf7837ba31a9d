//! Sessions: admission, takeover, subscriptions, and everything that ends them.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Fixture, add_certificate, add_password, certificate, create_registry, owner};
use crate::domain::admission::NotAdmitted;
use crate::domain::catalog::{
    Change, ChangeSubscriptions, CloseSession, Command, Event, Limit, OpenSession, Outcome, PageRequest,
    Rejection, SessionFilter,
};
use crate::domain::credential::CredentialReference;
use crate::domain::id::{BrokerId, DeviceId, PasswordId, RegistryId};
use crate::domain::principal::{Principal, SpaceId};
use crate::domain::quota::CatalogLimits;
use crate::domain::session::{CloseCause, Session, SessionId};
use crate::mqtt::packet::subscribe::SubackCode;
use crate::mqtt::qos::QoS;

const EPOCH: u64 = 1_000;

fn id(node: u32, index: u32) -> SessionId {
    SessionId { node, lane: 0, index, generation: 1 }
}

fn by_password() -> CredentialReference {
    CredentialReference::Password(PasswordId::new("p"))
}

fn open(fixture: &Fixture, id: SessionId, entity: &str, client_id: &str) -> OpenSession {
    OpenSession {
        id,
        epoch: EPOCH,
        principal: fixture.catalog.principal(entity).expect("in the fixture"),
        client_id: client_id.into(),
        credential: by_password(),
        peer: Some([192, 0, 2, 1].into()),
        at: fixture.now(),
    }
}

/// The fixture with a password `p` for everybody, and nodes 1 and 2 that serve.
fn fixture() -> Fixture {
    let mut fixture = Fixture::new();
    for entity in ["r", "r2", "d1", "d2", "d3", "b"] {
        fixture.done(add_password(entity, "p"));
    }
    for node in [1, 2] {
        fixture.register(node, Some(EPOCH));
    }
    fixture.events.clear();
    fixture
}

impl Fixture {
    fn register(&mut self, node: u32, epoch: Option<u64>) {
        self.step += 1;
        self.catalog.node_changed(self.step, node, epoch, &mut self.events);
    }

    fn open(&mut self, id: SessionId, entity: &str, client_id: &str) -> Option<SessionId> {
        let command = Command::OpenSession(open(self, id, entity, client_id));
        match self.apply(command) {
            Ok(Outcome::SessionOpened { index, replaced }) if index == self.step => replaced,
            other => panic!("the session must be opened, got {other:?}"),
        }
    }

    fn close(&mut self, id: SessionId, epoch: u64) {
        let at = self.now();
        let result = self.apply(Command::CloseSession(CloseSession { id, epoch, at }));
        assert_eq!(result, Ok(Outcome::Done));
    }

    fn change(
        &mut self,
        id: SessionId,
        added: &[(&str, QoS)],
        removed: &[&str],
        subscriptions_max: u32,
    ) -> Result<Vec<SubackCode>, Rejection> {
        let change = ChangeSubscriptions {
            id,
            epoch: EPOCH,
            added: added.iter().map(|(filter, qos)| ((*filter).into(), *qos)).collect(),
            removed: removed.iter().map(|filter| (*filter).into()).collect(),
            subscriptions_max,
        };
        match self.apply(Command::ChangeSubscriptions(change))? {
            Outcome::SubscriptionsChanged { index, codes } if index == self.step => Ok(codes),
            other => panic!("unexpected outcome {other:?}"),
        }
    }

    fn subscriptions(&self, id: SessionId) -> Vec<(String, QoS)> {
        let session = self.catalog.session(id).expect("open");
        session.subscriptions.iter().map(|(filter, qos)| (filter.to_owned(), qos)).collect()
    }

    /// The sessions that ended since the last call, with their causes, in order.
    fn ended(&mut self) -> Vec<(SessionId, CloseCause)> {
        let ended = self.events.drain(..).filter_map(|event| match event {
            Event::SessionClosed { session, cause } => Some((session.id, cause)),
            _ => None,
        });
        ended.collect()
    }

    fn listed(&self, filter: &SessionFilter) -> Vec<SessionId> {
        let page = self.catalog.sessions(filter, &PageRequest::first(1_000));
        assert_eq!(page.next, None);
        page.items.iter().map(|session| session.id).collect()
    }
}

#[test]
fn a_session_is_opened_in_the_epoch_of_its_node_only() {
    let mut fixture = fixture();
    let command =
        |epoch, node| Command::OpenSession(OpenSession { epoch, ..open(&fixture, id(node, 1), "d1", "c") });
    let late = [command(EPOCH - 1, 1), command(EPOCH + 1, 1), command(EPOCH, 3)];
    for (command, node) in late.into_iter().zip([1, 1, 3]) {
        assert_eq!(fixture.apply(command), Err(Rejection::EpochOver { node }));
    }
    assert_eq!(fixture.open(id(1, 1), "d1", "c"), None);
    let opened = Arc::clone(fixture.catalog.session(id(1, 1)).expect("open"));
    assert_eq!(opened.principal.id(), "d1");
    assert!(opened.subscriptions.is_empty());
    assert_eq!(fixture.events, [Event::SessionOpened { session: opened }]);
}

#[test]
fn what_was_revoked_meanwhile_gets_no_session() {
    let mut fixture = fixture();
    let (device, stranger) = (open(&fixture, id(1, 1), "d1", ""), open(&fixture, id(1, 2), "d2", ""));
    let principal = stranger.principal.clone();
    let refused = |why| Err(Rejection::NotAdmitted(why));
    // The password of another entity, and a certificate that nobody has.
    let foreign = OpenSession { credential: CredentialReference::Certificate([1; 32]), ..stranger };
    assert_eq!(fixture.apply(Command::OpenSession(foreign.clone())), refused(NotAdmitted::CredentialRemoved));
    fixture.done(add_certificate("d1", 1));
    assert_eq!(fixture.apply(Command::OpenSession(foreign)), refused(NotAdmitted::CredentialRemoved));
    let wrong_space = Principal::Device { device: DeviceId::new("d1"), registry: RegistryId::new("r2") };
    let moved = OpenSession { principal: wrong_space, ..device.clone() };
    assert_eq!(fixture.apply(Command::OpenSession(moved)), refused(NotAdmitted::CredentialRemoved));

    fixture.done(Change::DisableRegistry { id: RegistryId::new("r") });
    assert_eq!(fixture.apply(Command::OpenSession(device.clone())), refused(NotAdmitted::RegistryDisabled));
    fixture.done(Change::EnableRegistry { id: RegistryId::new("r") });
    fixture.done(Change::DeletePassword { owner: owner("d1"), id: PasswordId::new("p") });
    assert_eq!(fixture.apply(Command::OpenSession(device)), refused(NotAdmitted::CredentialRemoved));
    fixture.done(Change::DeleteDevice { id: DeviceId::new("d2") });
    let deleted = OpenSession { principal, ..open(&fixture, id(1, 2), "d3", "") };
    assert_eq!(fixture.apply(Command::OpenSession(deleted)), refused(NotAdmitted::CredentialRemoved));
    assert_eq!(fixture.catalog.session_count(), 0);
}

#[test]
fn a_device_has_one_session_per_client_identifier_and_others_have_many() {
    let mut fixture = fixture();
    fixture.open(id(1, 1), "d1", "c");
    fixture.open(id(1, 2), "d1", "other");
    fixture.open(id(1, 3), "d2", "c");
    let older = Arc::clone(fixture.catalog.session(id(1, 1)).expect("open"));
    fixture.events.clear();
    assert_eq!(fixture.open(id(2, 1), "d1", "c"), Some(id(1, 1)));
    let newer = Arc::clone(fixture.catalog.session(id(2, 1)).expect("open"));
    let cause = CloseCause::TakenOver { by: id(2, 1) };
    let expected =
        [Event::SessionClosed { session: older, cause }, Event::SessionOpened { session: newer.clone() }];
    assert_eq!(fixture.events, expected, "the older one ends first");
    assert_eq!(fixture.catalog.session_of_client(&newer.principal, "c"), Some(&newer));
    assert_eq!(fixture.catalog.session_of_client(&newer.principal, ""), None);

    // Without a client identifier, and for registries and brokers, there is no takeover (U-M6).
    for (index, (entity, client_id)) in (10..).zip([("d1", ""), ("d1", ""), ("r", "c"), ("b", "c")]) {
        assert_eq!(fixture.open(id(1, index), entity, client_id), None);
        assert_eq!(fixture.open(id(2, index), entity, client_id), None);
    }
    assert_eq!(fixture.catalog.session_count(), 3 + 8);
    // What a session had is free again when it ends.
    fixture.close(id(2, 1), EPOCH);
    assert_eq!(fixture.open(id(1, 1), "d1", "c"), None);
}

#[test]
fn a_place_that_is_used_again_ends_the_session_before() {
    let mut fixture = fixture();
    fixture.open(id(1, 1), "d1", "c");
    fixture.events.clear();
    assert_eq!(fixture.open(id(1, 1), "d2", "c"), None);
    assert_eq!(fixture.ended(), [(id(1, 1), CloseCause::Closed)]);
    assert_eq!(fixture.catalog.session_count(), 1);
}

#[test]
fn closing_is_for_the_session_of_the_epoch_and_repeats_do_nothing() {
    let mut fixture = fixture();
    fixture.open(id(1, 1), "d1", "c");
    fixture.change(id(1, 1), &[("a", QoS::AtMostOnce)], &[], 10).expect("open");
    let session = Arc::clone(fixture.catalog.session(id(1, 1)).expect("open"));
    fixture.events.clear();
    fixture.close(id(1, 1), EPOCH - 1);
    fixture.close(id(1, 2), EPOCH);
    assert_eq!(fixture.events, []);
    fixture.close(id(1, 1), EPOCH);
    assert_eq!(fixture.events, [Event::SessionClosed { session, cause: CloseCause::Closed }]);
    fixture.close(id(1, 1), EPOCH);
    assert_eq!(fixture.events.len(), 1);
    assert_eq!(fixture.change(id(1, 1), &[], &[], 10), Err(Rejection::SessionOver { id: id(1, 1) }));
}

#[test]
fn subscriptions_keep_their_order_and_a_filter_is_there_once() {
    let mut fixture = fixture();
    fixture.open(id(1, 1), "d1", "c");
    let (zero, one) = (QoS::AtMostOnce, QoS::AtLeastOnce);
    let long = "$devices/d1/commands/a/filter/that/is/not/short";
    let codes = fixture.change(id(1, 1), &[("a", zero), (long, one), ("b", one)], &[], 3).expect("open");
    assert_eq!(codes, [zero, one, one].map(SubackCode::Granted));
    fixture.events.clear();

    // The same filter again: new QoS, same place, even at the limit; the old one is reported as removed.
    assert_eq!(fixture.change(id(1, 1), &[(long, zero)], &[], 3), Ok(vec![SubackCode::Granted(zero)]));
    assert_eq!(fixture.subscriptions(id(1, 1)), [("a", zero), (long, zero), ("b", one)].map(own));
    let session = Arc::clone(fixture.catalog.session(id(1, 1)).expect("open"));
    let (added, removed) = (vec![(long.into(), zero)], vec![(long.into(), one)]);
    assert_eq!(fixture.events, [Event::SubscriptionsChanged { session, added, removed }]);
    fixture.events.clear();

    // Removal first, then addition; unknown filters are skipped; QoS 2 is never granted.
    let changes = [("a", QoS::ExactlyOnce), ("c", zero), ("c", one)];
    let codes = fixture.change(id(1, 1), &changes, &["a", "nowhere", "a"], 4).expect("open");
    assert_eq!(codes, [one, zero, one].map(SubackCode::Granted));
    assert_eq!(fixture.subscriptions(id(1, 1)), [(long, zero), ("b", one), ("a", one), ("c", one)].map(own));
    let Some(Event::SubscriptionsChanged { added, removed, .. }) = fixture.events.pop() else {
        panic!("the change is told")
    };
    assert_eq!(added, [("a".into(), one), ("c".into(), one)], "each filter once, as it is in the end");
    assert_eq!(removed, [("a".into(), zero)]);
}

fn own((filter, qos): (&str, QoS)) -> (String, QoS) {
    (filter.to_owned(), qos)
}

#[test]
fn too_many_subscriptions_are_refused_one_by_one_and_nothing_new_is_no_event() {
    let mut fixture = fixture();
    fixture.open(id(1, 1), "d1", "c");
    let qos = QoS::AtMostOnce;
    let codes = fixture.change(id(1, 1), &[("a", qos), ("b", qos), ("c", qos), ("a", qos)], &[], 2);
    let (granted, failure) = (SubackCode::Granted(qos), SubackCode::Failure);
    assert_eq!(codes, Ok(vec![granted, granted, failure, granted]));
    fixture.events.clear();
    let huge = "x".repeat(512 * 1024);
    let refused = fixture.change(id(1, 1), &[("d", qos)], &[], 2);
    assert_eq!(refused, Ok(vec![failure]));
    let refused = fixture.change(id(1, 1), &[("a\0b", qos), (&huge, qos)], &[], 10);
    assert_eq!(refused, Ok(vec![failure, failure]), "what cannot be stored");
    assert_eq!(fixture.change(id(1, 1), &[], &["nowhere"], 2), Ok(Vec::new()));
    assert_eq!(fixture.events, []);
    assert_eq!(fixture.change(id(1, 1), &[("d", qos)], &["a"], 2), Ok(vec![granted]));
}

/// Two sessions for everybody, on two nodes; `d1` has one by certificate, too.
fn crowded() -> Fixture {
    let mut fixture = fixture();
    fixture.done(add_certificate("d1", 1));
    for (index, entity) in (0..).zip(["r", "d1", "d2", "r2", "d3", "b"]) {
        fixture.open(id(1, index), entity, "");
        fixture.open(id(2, index), entity, "c");
    }
    let credential = CredentialReference::Certificate(certificate(1).digest);
    let command = OpenSession { credential, ..open(&fixture, id(1, 9), "d1", "") };
    fixture.apply(Command::OpenSession(command)).expect("admitted");
    fixture.events.clear();
    fixture
}

#[test]
fn revocation_ends_exactly_the_sessions_concerned() {
    let both = |index| [id(1, index), id(2, index)];
    let cases: [(Change, Vec<SessionId>); 6] = [
        (Change::DeletePassword { owner: owner("d1"), id: PasswordId::new("p") }, both(1).to_vec()),
        (
            Change::DeleteCertificate { owner: owner("d1"), fingerprint: certificate(1).fingerprint },
            vec![id(1, 9)],
        ),
        (Change::DeletePassword { owner: owner("r"), id: PasswordId::new("p") }, both(0).to_vec()),
        (Change::DeleteDevice { id: DeviceId::new("d1") }, vec![id(1, 1), id(1, 9), id(2, 1)]),
        (Change::DeleteBroker { id: BrokerId::new("b") }, both(5).to_vec()),
        (
            Change::DisableRegistry { id: RegistryId::new("r") },
            vec![id(1, 0), id(1, 1), id(1, 2), id(1, 9), id(2, 0), id(2, 1), id(2, 2)],
        ),
    ];
    for (change, expected) in cases {
        let mut fixture = crowded();
        let before = fixture.catalog.session_count();
        fixture.done(change.clone());
        let is_session = |event: &Event| matches!(event, Event::SessionClosed { .. });
        assert!(
            fixture.events.iter().skip_while(|event| is_session(event)).all(|event| !is_session(event)),
            "sessions end before the rest is told"
        );
        assert!(!fixture.events.iter().all(is_session), "the other events stay");
        let expected: Vec<_> = expected.into_iter().map(|id| (id, CloseCause::Revoked)).collect();
        assert_eq!(fixture.ended(), expected, "{change:?}");
        assert_eq!(fixture.catalog.session_count(), before - expected.len());
    }
}

#[test]
fn a_deleted_registry_takes_its_own_sessions_along() {
    let mut fixture = fixture();
    fixture.done(create_registry("r9", ""));
    fixture.done(add_password("r9", "p"));
    fixture.open(id(1, 1), "r9", "c");
    fixture.open(id(1, 2), "r", "c");
    fixture.events.clear();
    fixture.done(Change::DeleteRegistry { id: RegistryId::new("r9") });
    assert_eq!(fixture.ended(), [(id(1, 1), CloseCause::Revoked)]);
}

#[test]
fn sessions_end_with_the_epoch_of_their_node() {
    let mut fixture = crowded();
    let of_node = |fixture: &Fixture, node| {
        let filter = SessionFilter { node: Some(node), ..SessionFilter::default() };
        fixture.listed(&filter)
    };
    let (first, second) = (of_node(&fixture, 1), of_node(&fixture, 2));
    assert_eq!((first.len(), second.len()), (7, 6));
    fixture.register(2, Some(EPOCH));
    assert_eq!(fixture.events, [], "nothing changed");
    fixture.register(1, Some(EPOCH + 5));
    let gone = |ids: Vec<SessionId>| ids.into_iter().map(|id| (id, CloseCause::NodeGone)).collect::<Vec<_>>();
    assert_eq!(fixture.ended(), gone(first));
    assert_eq!(fixture.catalog.applied_index(), fixture.step);
    assert_eq!(fixture.catalog.epoch_of_node(1), Some(EPOCH + 5));
    fixture.register(2, None);
    assert_eq!(fixture.ended(), gone(second));
    assert_eq!(fixture.catalog.epochs().collect::<Vec<_>>(), [(1, EPOCH + 5)]);
    let command = Command::OpenSession(open(&fixture, id(2, 1), "d1", "c"));
    assert_eq!(fixture.apply(command), Err(Rejection::EpochOver { node: 2 }));
    assert_eq!(fixture.catalog.session_count(), 0);
    assert_eq!(fixture.catalog.sessions_of_node_count(2), 0);
}

#[test]
fn sessions_are_counted_and_listed_by_space_entity_node_and_client_identifier() {
    let mut fixture = crowded();
    let space = SpaceId::Registry(RegistryId::new("r"));
    assert_eq!(fixture.catalog.sessions_of_space_count(&space), 7);
    assert_eq!(fixture.catalog.sessions_of_node_count(1), 7);
    let all = SessionFilter::default();
    let in_space = SessionFilter { space: Some(space.clone()), ..all.clone() };
    let of_device = SessionFilter { entity: Some("d1".into()), ..all.clone() };
    assert_eq!(fixture.listed(&all).len(), 13);
    assert_eq!(fixture.listed(&in_space).len(), 7);
    assert_eq!(fixture.listed(&of_device), [id(1, 1), id(1, 9), id(2, 1)]);
    let with_client = SessionFilter { client_id_prefix: "c".into(), ..of_device.clone() };
    assert_eq!(fixture.listed(&with_client), [id(2, 1)]);
    let elsewhere = SessionFilter { node: Some(2), ..in_space.clone() };
    assert_eq!(fixture.listed(&elsewhere), [id(2, 0), id(2, 1), id(2, 2)]);
    let nobody = SessionFilter { entity: Some("nobody".into()), ..all.clone() };
    assert_eq!(fixture.listed(&nobody), []);

    // Pages go on behind their token, whatever ends in between, and repeat nothing.
    for filter in [all, in_space, of_device, SessionFilter { node: Some(1), ..SessionFilter::default() }] {
        let expected = fixture.listed(&filter);
        let mut found = Vec::new();
        let mut request = PageRequest::first(2);
        loop {
            let page = fixture.catalog.sessions(&filter, &request);
            found.extend(page.items.iter().map(|session: &Arc<Session>| session.id));
            let text = page.next_token_text();
            if text.is_empty() {
                break;
            }
            request = PageRequest::parse(2, 1_000, &text).expect("a token of ours");
        }
        assert_eq!(found, expected);
    }
    let first = fixture.catalog.sessions(&SessionFilter::default(), &PageRequest::first(3));
    let after = first.next.clone();
    fixture.close(first.items[2].id, EPOCH);
    let rest = fixture.catalog.sessions(&SessionFilter::default(), &PageRequest { size: 100, after });
    assert_eq!(rest.items.len(), 10);
    let ids: HashSet<_> = first.items.iter().chain(&rest.items).map(|session| session.id).collect();
    assert_eq!(ids.len(), 13);
    fixture.done(Change::DeleteDevice { id: DeviceId::new("d1") });
    assert_eq!(fixture.catalog.sessions_of_space_count(&space), 4 - u64::from(first.items[2].id == id(1, 2)));
}

#[test]
fn a_broker_has_as_many_clients_as_its_quota_allows() {
    let mut fixture = fixture();
    let limits = CatalogLimits { clients_per_broker_max: Some(2), ..CatalogLimits::default() };
    assert_eq!(fixture.apply(Command::SetLimits(limits)), Ok(Outcome::Done));
    fixture.open(id(1, 1), "b", "x");
    fixture.open(id(2, 1), "b", "x");
    let third = Command::OpenSession(open(&fixture, id(1, 2), "b", "y"));
    let refused = Err(Rejection::TooMany { limit: Limit::ClientsPerBroker, max: 2 });
    assert_eq!(fixture.apply(third.clone()), refused);
    fixture.open(id(1, 3), "r", "others have no such quota");
    fixture.open(id(1, 1), "b", "the place of one that has ended");
    assert_eq!(fixture.apply(third.clone()), refused);
    fixture.close(id(2, 1), EPOCH);
    assert!(fixture.apply(third).is_ok());
}
