//! The rules as a client meets them, and the proof that every annotation compiles.

use rookery_proto::yandex::cloud::iot::devices::v1 as pb;

use super::rules::Rules;
use super::{Violation, check};

fn violations<M: prost::Message + prost::Name>(message: &M) -> Vec<String> {
    check(message).err().unwrap_or_default().iter().map(Violation::to_string).collect()
}

fn create_device() -> pb::CreateDeviceRequest {
    pb::CreateDeviceRequest { registry_id: "are0".to_owned(), ..Default::default() }
}

#[test]
fn every_annotation_of_the_wire_definitions_compiles() {
    assert!(Rules::compile().is_ok());
}

#[test]
fn a_minimal_request_passes() {
    assert_eq!(violations(&create_device()), Vec::<String>::new());
}

#[test]
fn names_are_checked_by_pattern_and_length() {
    let request = pb::CreateDeviceRequest { name: "a b".to_owned(), ..create_device() };
    assert_eq!(violations(&request), [r#"name: must match [a-zA-Z0-9_-]* (got "a b")"#]);
    // The pattern is anchored at the very end: a trailing line feed is no match.
    let request = pb::CreateDeviceRequest { name: "ab\n".to_owned(), ..create_device() };
    assert_eq!(violations(&request), [r#"name: must match [a-zA-Z0-9_-]* (got "ab\n")"#]);
    let request = pb::CreateDeviceRequest { name: "a".repeat(51), ..create_device() };
    assert_eq!(violations(&request), ["name: must have at most 50 characters (got 51)"]);
}

#[test]
fn lengths_count_characters_not_bytes() {
    let request = pb::CreateDeviceRequest { description: "ы".repeat(256), ..create_device() };
    assert!(violations(&request).is_empty());
    let request = pb::CreateDeviceRequest { description: "ы".repeat(257), ..create_device() };
    assert_eq!(violations(&request), ["description: must have at most 256 characters (got 257)"]);
}

#[test]
fn required_fields_must_be_given() {
    let request = pb::CreateDeviceRequest { registry_id: String::new(), ..create_device() };
    assert_eq!(violations(&request), ["registry_id: must not be empty"]);
}

#[test]
fn labels_are_checked_by_key_value_and_number() {
    let with = |key: &str, value: &str| pb::CreateDeviceRequest {
        labels: [(key.to_owned(), value.to_owned())].into(),
        ..create_device()
    };
    assert!(violations(&with("a-1_b", "")).is_empty());
    assert_eq!(violations(&with("A", "x")), [r#"labels key: must match [a-z][-_0-9a-z]* (got "A")"#]);
    assert_eq!(violations(&with("a", "X")), [r#"labels["a"]: must match [-_0-9a-z]* (got "X")"#]);
    assert_eq!(
        violations(&with("a", &"x".repeat(64))),
        [r#"labels["a"]: must have at most 63 characters (got 64)"#]
    );
    assert_eq!(
        violations(&with("", "")),
        [
            "labels key: must have between 1 and 63 characters (got 0)",
            r#"labels key: must match [a-z][-_0-9a-z]* (got "")"#
        ]
    );
    let labels = (0..65).map(|n| (format!("a{n}"), String::new())).collect();
    let request = pb::CreateDeviceRequest { labels, ..create_device() };
    assert_eq!(violations(&request), ["labels: must have at most 64 entries (got 65)"]);
}

#[test]
fn page_sizes_have_the_documented_ranges() {
    let list = |page_size| pb::ListRegistriesRequest {
        folder_id: "b1g0".to_owned(),
        page_size,
        page_token: String::new(),
    };
    assert!(violations(&list(1000)).is_empty());
    assert_eq!(violations(&list(1001)), ["page_size: must be between 0 and 1000 (got 1001)"]);
    assert_eq!(violations(&list(-1)), ["page_size: must be between 0 and 1000 (got -1)"]);
}

#[test]
fn exactly_one_member_must_be_chosen() {
    let request = pb::ListDevicesRequest::default();
    assert_eq!(violations(&request), ["id: exactly one of registry_id, folder_id must be set"]);
    let id = Some(pb::list_devices_request::Id::FolderId("b1g0".to_owned()));
    assert!(violations(&pb::ListDevicesRequest { id, ..Default::default() }).is_empty());
}

#[test]
fn messages_inside_are_checked_too() {
    let destination = Some(pb::log_options::Destination::LogGroupId("1bad".to_owned()));
    let request = pb::CreateRegistryRequest {
        folder_id: "b1g0".to_owned(),
        log_options: Some(pb::LogOptions { destination, ..Default::default() }),
        ..Default::default()
    };
    assert_eq!(
        violations(&request),
        [r#"log_options.log_group_id: must match ([a-zA-Z][-a-zA-Z0-9_.]{0,63})? (got "1bad")"#]
    );
}

#[test]
fn payloads_are_counted_in_bytes() {
    let publish = |length| pb::PublishDeviceDataRequest {
        device_id: "are0".to_owned(),
        topic: "$devices/are0/events".to_owned(),
        data: vec![0; length].into(),
    };
    assert!(violations(&publish(262_144)).is_empty());
    assert_eq!(violations(&publish(262_145)), ["data: must have at most 262144 bytes (got 262145)"]);
}

#[test]
fn short_passwords_are_reported_without_the_password() {
    let request =
        pb::AddDevicePasswordRequest { device_id: "are0".to_owned(), password: "my-password1".to_owned() };
    assert_eq!(violations(&request), ["password: must have at least 14 characters (got 12)"]);
}

#[test]
fn the_number_of_violations_is_bounded() {
    let labels = (0..64).map(|n| (format!("A{n}"), "X".to_owned())).collect();
    let request = pb::CreateDeviceRequest { labels, ..create_device() };
    assert_eq!(violations(&request).len(), super::VIOLATIONS_MAX);
}

#[test]
fn long_offending_values_are_cut() {
    let request = pb::GetByNameDeviceRequest {
        registry_id: "are0".to_owned(),
        device_name: " ".repeat(100_000),
        ..Default::default()
    };
    assert!(violations(&request).iter().all(|violation| violation.len() < 200));
}
