//! Section 11.5: rules for aliases, through the management API.

use std::collections::BTreeMap;

use rookery_harness::{
    fixture::{ALIASES_OF_D1, ALIASES_OF_D2, Fixture, Role},
    runtime::run,
};
use tonic::Code;

use crate::fixture;

macro_rules! additions {
    ($($name:ident: $role:ident $alias:literal -> $target:literal => $code:ident;)*) => { $(
        #[test]
        fn $name() {
            run(add(Role::$role, $alias, $target, Code::$code));
        }
    )* };
}

additions! {
    case_131_prefix_of_an_alias: D2 "my/" -> "$devices/{id}/" => AlreadyExists;
    case_132_extension_of_an_alias: D2 "my/alias/2/" -> "$devices/{id}/" => AlreadyExists;
    case_133_raw_prefix_of_an_alias: D2 "my/ali" -> "$devices/{id}/" => AlreadyExists;
    case_134_neighbour_of_an_alias: D2 "my/alias1/" -> "$devices/{id}/" => Ok;
    case_135_shorter_neighbour_of_an_alias: D2 "my/ali/" -> "$devices/{D2}/" => Ok;
    case_136_conflict_with_an_own_alias: D1 "my/ali" -> "$devices/{id}/" => AlreadyExists;
    case_137_same_alias_in_another_registry: D3 "my/alias/" -> "$devices/{id}/" => Ok;
    case_139_target_of_another_device: D1 "st" -> "$devices/{D2}/events" => InvalidArgument;
    case_140_registry_topic_as_target: D1 "st" -> "$registries/{R}/events" => InvalidArgument;
    case_141_monitoring_topic_as_target: D1 "st" -> "$monitoring/{D1}/json" => InvalidArgument;
}

/// The aliases of the fixture with the given one added or replaced. A refusal leaves the aliases alone.
async fn add(role: Role, alias: &str, target: &str, code: Code) {
    let fixture = fixture().await;
    let before = current(&fixture, role).await;
    let target = fixture.expand(target);
    let mut aliases = before.clone();
    aliases.insert(alias.to_owned(), target.clone());
    let pairs: Vec<_> = aliases.iter().map(|(alias, target)| (alias.as_str(), target.as_str())).collect();
    let answer = fixture.api.set_aliases(fixture.entity(role), &pairs).await;
    let now = current(&fixture, role).await;
    match answer {
        Ok(device) => {
            assert_eq!(code, Code::Ok, "{alias} was accepted");
            assert_eq!(device.topic_aliases[alias], target.replace("{id}", fixture.id(role)), "U-T15");
            assert_eq!(now.get(alias), device.topic_aliases.get(alias));
        }
        Err(status) => {
            assert_eq!(status.code(), code, "{alias}: {}", status.message());
            assert!(!status.message().is_empty(), "an error explains itself");
            assert_eq!(now, before, "a refused update changes nothing");
        }
    }
}

async fn current(fixture: &Fixture<'_>, role: Role) -> BTreeMap<String, String> {
    let device = fixture.api.device(fixture.entity(role)).await;
    device.expect("the device exists").topic_aliases.into_iter().collect()
}

#[test]
fn case_138_id_placeholder_on_create() {
    run(async {
        let fixture = fixture().await;
        let aliases = [("some-alias1/subtopic", "$devices/{id}/events/somesubtopic")];
        let device = fixture.api.create_device(fixture.entity(Role::R), &aliases).await;
        let device = device.expect("the device is created");
        assert_eq!(
            device.topic_aliases["some-alias1/subtopic"],
            format!("$devices/{}/events/somesubtopic", device.id)
        );
    });
}

#[test]
fn case_142_six_aliases_are_too_many() {
    run(async {
        let fixture = fixture().await;
        let six = ["a/", "b/", "c/", "d/", "e/", "f/"].map(|alias| (alias, "$devices/{id}/"));
        let device = fixture.entity(Role::D1);
        fixture.api.set_aliases(device, &six[..5]).await.expect("five aliases are allowed");
        let status = fixture.api.set_aliases(device, &six).await.expect_err("six are not");
        assert_eq!(status.code(), Code::InvalidArgument, "{}", status.message());
        let status =
            fixture.api.create_device(fixture.entity(Role::R2), &six).await.expect_err("nor on create");
        assert_eq!(status.code(), Code::InvalidArgument, "{}", status.message());
    });
}

#[test]
fn case_143_update_replaces_the_whole_map() {
    run(async {
        let fixture = fixture().await;
        let target = fixture.expand("$devices/{D1}/events");
        let updated = fixture.api.set_aliases(fixture.entity(Role::D1), &[("events", &target)]).await;
        let expected = BTreeMap::from([("events".to_owned(), target)]);
        assert_eq!(
            updated.expect("the update is accepted").topic_aliases.into_iter().collect::<BTreeMap<_, _>>(),
            expected
        );
        assert_eq!(current(&fixture, Role::D1).await, expected);
    });
}

#[test]
fn case_144_update_of_the_name_keeps_the_aliases() {
    run(async {
        let fixture = fixture().await;
        let before = current(&fixture, Role::D1).await;
        assert_eq!(before.len(), ALIASES_OF_D1.len());
        let renamed = fixture.api.rename_device(fixture.entity(Role::D1), "renamed").await;
        assert_eq!(renamed.expect("the update is accepted").name, "renamed");
        assert_eq!(current(&fixture, Role::D1).await, before);
    });
}

#[test]
fn case_145_deleting_a_device_frees_its_aliases() {
    run(async {
        let fixture = fixture().await;
        let aliases = [ALIASES_OF_D2[0], ALIASES_OF_D1[0]];
        let device = fixture.entity(Role::D2);
        let status = fixture.api.set_aliases(device, &aliases).await.expect_err("D1 has the alias");
        assert_eq!(status.code(), Code::AlreadyExists);
        fixture.api.delete(fixture.entity(Role::D1)).await.expect("the device is deleted");
        fixture.api.set_aliases(device, &aliases).await.expect("the alias is free");
    });
}
