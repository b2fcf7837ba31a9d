//! Stored messages of permanent topics.

use std::sync::Arc;

use super::{Fixture, device};
use crate::domain::catalog::{Change, Command, CreateDevice, Event, Limit, Outcome, Rejection, Resource};
use crate::domain::id::{BrokerId, DeviceId, RegistryId};
use crate::domain::principal::SpaceId;
use crate::domain::quota::CatalogLimits;

fn space() -> SpaceId {
    SpaceId::Registry(RegistryId::new("r"))
}

fn payload(fixture: &Fixture, topic: &str) -> Option<String> {
    let message = fixture.catalog.stored_message(&space(), topic)?;
    Some(String::from_utf8_lossy(&message.payload).into_owned())
}

#[test]
fn case_117_the_last_message_is_kept_and_delivered_with_its_index() {
    let mut fixture = Fixture::new();
    for payload in ["1", "2"] {
        assert_eq!(fixture.set_permanent("$devices/d1/state", payload), Ok(Outcome::Done));
    }
    assert_eq!(payload(&fixture, "$devices/d1/state").as_deref(), Some("2"));
    let stored = fixture.catalog.stored_message(&space(), "$devices/d1/state").expect("stored");
    let Some(Event::PermanentSet { topic, index, payload, .. }) = fixture.events.last() else {
        panic!("{:?}", fixture.events)
    };
    assert_eq!((topic.as_str(), *index, payload), ("$devices/d1/state", stored.index, &stored.payload));
    assert_eq!(fixture.events.len(), 2);
}

#[test]
fn case_128_an_empty_payload_clears_and_is_still_delivered() {
    let mut fixture = Fixture::new();
    fixture.set_permanent("$devices/d1/state", "s").expect("allowed");
    fixture.set_permanent("$devices/d1/state", "").expect("allowed");
    assert_eq!(payload(&fixture, "$devices/d1/state"), None);
    assert_eq!(fixture.catalog.stored_message_totals(), (0, 0));
    let last = fixture.events.last();
    assert!(matches!(last, Some(Event::PermanentSet { payload, .. }) if payload.is_empty()));
}

#[test]
fn case_130_a_deleted_device_leaves_nothing_stored() {
    let mut fixture = Fixture::new();
    for topic in ["$devices/d1/state", "$devices/d1/config/a", "$devices/d2/state", "$registries/r/state"] {
        fixture.set_permanent(topic, "s").expect("allowed");
    }
    fixture.done(Change::CreateDevice(device("d10", "r")));
    fixture.set_permanent("$devices/d10/state", "s").expect("allowed");
    fixture.done(Change::DeleteDevice { id: DeviceId::new("d1") });
    let all = fixture.catalog.stored_messages(&space(), "#", 100).messages;
    let topics: Vec<&str> = all.iter().map(|message| &*message.topic).collect();
    assert_eq!(topics, ["$devices/d10/state", "$devices/d2/state", "$registries/r/state"]);
    fixture.done(Change::CreateDevice(CreateDevice { ..device("d1", "r") }));
    assert_eq!(payload(&fixture, "$devices/d1/state"), None);
}

#[test]
fn only_permanent_topics_of_the_own_space_are_stored() {
    let mut fixture = Fixture::new();
    for topic in [
        "$devices/d1/events",
        "$devices/d1/commands/x",
        "$registries/r2/state",
        "$monitoring/d1/json",
        "my/alias/state",
        "$devices/d1",
    ] {
        let refused = Rejection::NotPermanent { topic: Arc::from(topic) };
        assert_eq!(fixture.set_permanent(topic, "s"), Err(refused));
    }
    for id in ["nobody", "d3"] {
        let missing = Rejection::NotFound { resource: Resource::Device, id: id.into() };
        assert_eq!(fixture.set_permanent(&format!("$devices/{id}/state"), "s"), Err(missing));
    }
    assert!(
        fixture.catalog.stored_messages(&SpaceId::Broker(BrokerId::new("b")), "#", 9).messages.is_empty()
    );
}

#[test]
fn the_number_of_topics_of_an_entity_is_limited() {
    let mut fixture = Fixture::new();
    let limits = CatalogLimits { permanent_topics_per_entity_max: 2, ..CatalogLimits::default() };
    fixture.apply(Command::SetLimits(limits)).expect("allowed");
    for topic in ["$devices/d1/state", "$devices/d1/config", "$devices/d2/state", "$registries/r/config"] {
        fixture.set_permanent(topic, "s").expect("allowed");
    }
    let full = Rejection::TooMany { limit: Limit::PermanentTopicsPerEntity, max: 2 };
    assert_eq!(fixture.set_permanent("$devices/d1/state/x", "s"), Err(full));
    fixture.set_permanent("$devices/d1/state", "replaced").expect("no new topic");
    fixture.set_permanent("$devices/d1/state", "").expect("clearing is always allowed");
    fixture.set_permanent("$devices/d1/state/x", "s").expect("there is room again");
}

#[test]
fn the_bytes_of_all_stored_messages_are_limited() {
    let mut fixture = Fixture::new();
    let limits = CatalogLimits { permanent_bytes_max: 300, ..CatalogLimits::default() };
    fixture.apply(Command::SetLimits(limits)).expect("allowed");
    fixture.set_permanent("$devices/d1/state", "s").expect("146 bytes");
    fixture.set_permanent("$devices/d1/config", "s").expect("293 bytes");
    let full = Rejection::TooMany { limit: Limit::PermanentBytes, max: 300 };
    assert_eq!(fixture.set_permanent("$devices/d1/config", "123456789"), Err(full));
    assert_eq!(fixture.catalog.stored_message_totals(), (2, 146 + 147));
}

#[test]
fn a_selection_says_when_it_is_cut_off() {
    let mut fixture = Fixture::new();
    for topic in ["$devices/d1/state/a", "$devices/d1/state/b", "$devices/d1/state/c"] {
        fixture.set_permanent(topic, "s").expect("allowed");
    }
    let select = |max| fixture.catalog.stored_messages(&space(), "$devices/+/state/#", max);
    assert_eq!((select(2).messages.len(), select(2).truncated), (2, true));
    assert_eq!((select(3).messages.len(), select(3).truncated), (3, false));
}
