//! Creating, finding and changing registries, devices and brokers.

use serde_json::json;

use crate::{Folder, field, id};

#[test]
fn names_and_ids_are_interchangeable() {
    let folder = Folder::new();
    let registry = folder.registry("plant");
    for arguments in [
        &["registry", "get", "plant"][..],
        &["registry", "get", &registry],
        &["registry", "get", "--name", "plant"],
        &["registry", "show", "--id", &registry],
    ] {
        assert_eq!(id(&folder.json(arguments)), registry, "{arguments:?}");
    }
    let device = id(&folder.json(&["device", "create", "--name", "pump", "--registry-name", "plant"]));
    assert_eq!(id(&folder.json(&["device", "get", "pump"])), device);
    assert_eq!(folder.json(&["device", "list", "--registry-name", "plant"])[0]["id"], device.as_str());
    assert_eq!(folder.json(&["device", "list"])[0]["id"], device.as_str(), "of the whole folder");
    let broker = id(&folder.json(&["broker", "create", "bus"]));
    assert_eq!(id(&folder.json(&["brokers", "get", "bus"])), broker);
}

#[test]
fn a_device_name_in_two_registries_is_ambiguous() {
    let folder = Folder::new();
    let mut ids = Vec::new();
    for registry in ["one", "two"] {
        folder.registry(registry);
        ids.push(id(&folder.json(&["device", "create", "pump", "--registry-name", registry])));
    }
    let error = folder.fail(&["device", "get", "pump"]);
    assert!(ids.iter().all(|id| error.contains(id)) && error.contains("hint: use the id"), "{error}");
}

#[test]
fn updates_change_what_is_named_and_nothing_else() {
    let folder = Folder::new();
    folder.json(&["registry", "create", "plant", "--description", "old", "--labels", "a=1,b=2"]);
    let updated = folder.json(&["registry", "update", "plant", "--new-name", "works"]);
    assert_eq!((field(&updated, "name"), field(&updated, "description")), ("works".into(), "old".into()));
    assert_eq!(updated["labels"], json!({"a": "1", "b": "2"}));

    let labels = |output: serde_json::Value| output["labels"].clone();
    let added = folder.json(&["registry", "add-labels", "works", "--labels", "b=3,c=4"]);
    assert_eq!(labels(added), json!({"a": "1", "b": "3", "c": "4"}));
    let removed = folder.json(&["registry", "remove-labels", "works", "--labels", "a,c"]);
    assert_eq!(labels(removed), json!({"b": "3"}));
    let replaced = folder.json(&["registry", "update", "works", "--labels", "z=9"]);
    assert_eq!(labels(replaced), json!({"z": "9"}));
    let error = folder.fail(&["registry", "remove-labels", "works", "--labels", "absent"]);
    assert!(error.contains("\"absent\""), "{error}");
    let error = folder.fail(&["registry", "update", "works"]);
    assert!(error.contains("--new-name"), "{error}");
}

#[test]
fn logging_flags_become_log_options() {
    let folder = Folder::new();
    let registry =
        folder.json(&["registry", "create", "quiet", "--log-group-id", "ckg1", "--min-log-level", "warn"]);
    assert_eq!(registry["log_options"], json!({"log_group_id": "ckg1", "min_level": "WARN"}));
    let registry = folder.json(&["registry", "update", "quiet", "--no-logging"]);
    let options = json!({"disabled": true, "log_group_id": "ckg1", "min_level": "WARN"});
    assert_eq!(registry["log_options"], options, "what is not given stays");
}

#[test]
fn aliases_are_added_changed_and_removed() {
    let folder = Folder::new();
    folder.registry("plant");
    let device = id(&folder.json(&["device", "create", "pump", "--registry-name", "plant"]));
    let prefix = |kind: &str| format!("$devices/{device}/{kind}");
    let added = folder.json(&[
        "device",
        "add-topic-aliases",
        "pump",
        "--topic-aliases",
        "c=$devices/{id}/commands,e=$devices/{id}/events",
    ]);
    assert_eq!(added["topic_aliases"], json!({"c": prefix("commands"), "e": prefix("events")}));
    let removed = folder.json(&["device", "remove-topic-aliases", "pump", "--topic-aliases", "c"]);
    assert_eq!(removed["topic_aliases"], json!({"e": prefix("events")}));
    let updated = folder.json(&["device", "update", "pump", "--description", "wet"]);
    assert_eq!(field(&updated, "description"), "wet");
    assert_eq!(updated["topic_aliases"], json!({"e": prefix("events")}));
}

#[test]
fn registries_are_disabled_enabled_and_deleted_together() {
    let folder = Folder::new();
    folder.registry("one");
    folder.registry("two");
    let disabled = folder.json(&["registry", "disable", "one", "two"]);
    assert_eq!(
        (field(&disabled[0], "status"), field(&disabled[1], "status")),
        ("DISABLED".into(), "DISABLED".into())
    );
    assert_eq!(field(&folder.json(&["registry", "enable", "one"]), "status"), "ACTIVE");
    // A misspelled name among several changes nothing.
    folder.fail(&["registry", "delete", "one", "tow"]);
    assert_eq!(folder.json(&["registry", "list"]).as_array().map(Vec::len), Some(2));
    folder.run(&["registry", "delete", "one", "two"]);
    assert_eq!(folder.json(&["registry", "list"]), json!([]));
}

#[test]
fn lists_follow_pages_up_to_the_limit() {
    let folder = Folder::new();
    for number in 0..5 {
        folder.run(&["broker", "create", &format!("bus-{number}")]);
    }
    let output = folder.command(&["broker", "list", "--limit", "3", "--format", "json"]).output().unwrap();
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list.as_array().map(Vec::len), Some(3));
    let notes = String::from_utf8(output.stderr).unwrap();
    assert!(notes.contains("more than 3") && notes.contains("--limit"), "a cut list says so: {notes}");
    assert_eq!(folder.json(&["broker", "list"]).as_array().map(Vec::len), Some(5));
}

#[test]
fn exports_are_added_listed_and_deleted() {
    let folder = Folder::new();
    let registry = folder.registry("plant");
    let owner = ["--registry-name", "plant"];
    let add = [
        &["registry", "yds-export", "add"][..],
        &owner,
        &["--name", "lake", "--database", "/db", "--stream", "s", "--stream-service-account-id", "aje1"],
    ]
    .concat();
    let export = folder.json(&add);
    assert_eq!((field(&export, "registry_id"), field(&export, "stream")), (registry, "s".into()));
    let list = folder.json(&[&["registry", "yds-export", "list"][..], &owner].concat());
    assert_eq!(list[0]["id"], export["id"]);
    let export_id = id(&export);
    let delete =
        [&["registry", "yds-export", "delete"][..], &owner, &["--ds-export-id", &export_id]].concat();
    assert_eq!(folder.run(&delete), "");
    assert_eq!(folder.json(&[&["registry", "yds-export", "list"][..], &owner].concat()), json!([]));
}
