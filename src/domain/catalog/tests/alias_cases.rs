//! The cases of `spec/topics.md`, section 11.5, by number.

use super::{Fixture, aliases, create_registry, device};
use crate::domain::alias::Names as _;
use crate::domain::catalog::{
    AttributesPatch, Change, CreateDevice, Event, PageRequest, Rejection, UpdateDevice,
};
use crate::domain::id::{DeviceId, RegistryId};

fn conflict(alias: &str, with: &str, device: &str) -> Rejection {
    Rejection::AliasConflict { alias: alias.into(), with: with.into(), device: DeviceId::new(device) }
}

#[test]
fn case_131_to_133_an_alias_that_is_a_prefix_or_has_one_is_refused_with_the_other_named() {
    let mut fixture = Fixture::new();
    for alias in ["my/", "my/alias/2/", "my/ali", "my/alias/"] {
        let result = fixture.add_alias("d2", alias, "$devices/d2/");
        assert_eq!(result, Err(conflict(alias, "my/alias/", "d1")), "{alias}");
    }
}

#[test]
fn case_134_and_135_neighbours_are_allowed_and_the_id_is_substituted() {
    let mut fixture = Fixture::new();
    let stored = fixture.add_alias("d2", "my/alias1/", "$devices/{id}/").expect("allowed");
    assert_eq!(stored.get("my/alias1/").map(AsRef::as_ref), Some("$devices/d2/"));
    assert!(fixture.add_alias("d2", "my/ali/", "$devices/d2/").is_ok());
}

#[test]
fn case_136_own_aliases_conflict_too() {
    let mut fixture = Fixture::new();
    let result = fixture.add_alias("d1", "my/ali", "$devices/d1/");
    // Of two new aliases in one map either may be named.
    assert!(matches!(result, Err(Rejection::AliasConflict { .. })), "{result:?}");
}

#[test]
fn case_137_registries_do_not_share_aliases() {
    assert!(Fixture::new().add_alias("d3", "my/alias/", "$devices/d3/").is_ok());
}

#[test]
fn case_138_the_placeholder_is_replaced_on_create() {
    let mut fixture = Fixture::new();
    let topic_aliases = aliases(&[("some-alias1/subtopic", "$devices/{id}/events/somesubtopic")]);
    fixture.done(Change::CreateDevice(CreateDevice { topic_aliases, ..device("d4", "r") }));
    let stored = &fixture.catalog.device("d4").expect("created").topic_aliases;
    assert_eq!(*stored, aliases(&[("some-alias1/subtopic", "$devices/d4/events/somesubtopic")]));
}

#[test]
fn case_139_to_141_targets_outside_the_own_device_are_invalid() {
    let mut fixture = Fixture::new();
    for target in ["$devices/d2/events", "$registries/r/events", "$monitoring/d1/json"] {
        let result = fixture.add_alias("d1", "new", target);
        assert!(matches!(result, Err(Rejection::InvalidAlias(_))), "{target}: {result:?}");
    }
}

#[test]
fn case_142_six_aliases_are_invalid() {
    let mut fixture = Fixture::new();
    assert!(fixture.add_alias("d1", "fifth", "$devices/d1/").is_ok());
    assert_eq!(
        fixture.add_alias("d1", "sixth", "$devices/d1/"),
        Err(Rejection::TooManyAliases { entries: 6 })
    );
}

#[test]
fn case_143_an_update_replaces_the_whole_map() {
    let mut fixture = Fixture::new();
    let only = [("events", "$devices/d1/events")];
    assert_eq!(fixture.set_aliases("d1", &only), Ok(aliases(&only)));
    assert_eq!(fixture.events, [Event::NamesChanged { registry: RegistryId::new("r") }]);
    assert_eq!(fixture.catalog.alias_covering(&RegistryId::new("r"), "my/alias/events"), None);
    // The device may take its own old alias back, also with a prefix of it.
    assert!(fixture.set_aliases("d1", &[("my/", "$devices/d1/")]).is_ok());
}

#[test]
fn case_144_an_update_of_the_name_leaves_the_aliases() {
    let mut fixture = Fixture::new();
    let attributes = AttributesPatch { name: Some("new_name".into()), ..AttributesPatch::default() };
    let id = DeviceId::new("d1");
    fixture.done(Change::UpdateDevice(UpdateDevice { id, attributes, topic_aliases: None }));
    assert_eq!(fixture.catalog.device("d1").expect("there").topic_aliases.len(), 4);
    assert_eq!(fixture.events, [], "no name of a topic changed");
}

#[test]
fn case_145_deleting_a_device_frees_its_aliases() {
    let mut fixture = Fixture::new();
    fixture.done(Change::DeleteDevice { id: DeviceId::new("d1") });
    assert!(fixture.add_alias("d2", "my/", "$devices/d2/").is_ok());
}

#[test]
fn names_are_answered_from_the_index() {
    let fixture = Fixture::new();
    let (catalog, registry) = (&fixture.catalog, RegistryId::new("r"));
    for (topic, expected) in [
        ("my/alias/events", Some(("my/alias/", "$devices/d1/"))),
        ("temperature", Some(("temp", "$devices/d1/events/temp"))),
        ("cmd", Some(("cmd", "$devices/d2/commands"))),
        ("my/alias", None),
        ("unknown", None),
        ("", None),
    ] {
        assert_eq!(catalog.alias_covering(&registry, topic), expected, "{topic}");
        assert_eq!(catalog.alias_covering(&RegistryId::new("r2"), topic), None, "{topic}");
    }
    assert!(catalog.device_in_registry(&registry, "d1"));
    assert!(!catalog.device_in_registry(&registry, "d3"));
    assert_eq!(catalog.aliases_of(&DeviceId::new("d2")), [("cmd", "$devices/d2/commands")]);
}

#[test]
fn alias_pages_continue_within_a_device() {
    let mut fixture = Fixture::new();
    fixture.done(create_registry("r3", ""));
    let registry = RegistryId::new("r");
    let all = ["cfg", "my/alias/", "st", "temp", "cmd"];
    for size in 1..=6 {
        let mut seen = Vec::new();
        let mut request = PageRequest::first(size);
        loop {
            let page = fixture.catalog.aliases_page(&registry, &request);
            seen.extend(page.items.iter().map(|found| found.alias.to_owned()));
            let token = page.next_token_text();
            if token.is_empty() {
                break;
            }
            request = PageRequest::parse(request.size as i64, 1000, &token).expect("our own token");
        }
        assert_eq!(seen, all, "page size {size}");
    }
    assert!(fixture.catalog.aliases_page(&RegistryId::new("r3"), &PageRequest::first(9)).items.is_empty());
}
