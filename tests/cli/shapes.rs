//! Output shapes: tables, YAML, JSON, and the order of keys (`spec/cli.md`, "Output shapes").

use crate::{Folder, field, id, keys};

/// Replaces what differs between runs: ids by their role, times by a pattern.
fn normalised(output: &str, names: &[(&str, &str)]) -> String {
    let mut text = output.to_owned();
    for (id, name) in names {
        text = text.replace(id, name);
    }
    let is_time = |word: &str| {
        let word = word.trim_matches(['"', ',']);
        word.len() >= 20 && word.ends_with('Z') && word.as_bytes().get(10) == Some(&b'T')
    };
    let lines = text.lines().map(|line| {
        line.split(' ').map(|word| if is_time(word) { "<time>" } else { word }).collect::<Vec<_>>().join(" ")
    });
    lines.map(|line| line + "\n").collect()
}

#[test]
fn single_objects_are_yaml_with_the_fields_in_order() {
    let folder = Folder::new();
    let output =
        folder.run(&["registry", "create", "plant", "--description", "a b", "--labels", "site=north,line=1"]);
    let registry = folder.json(&["registry", "get", "plant"]);
    let expected = "id: <registry>\nfolder_id: <folder>\ncreated_at: <time>\nname: plant\ndescription: a b\nlabels:\n  \
                    line: \"1\"\n  site: north\nstatus: ACTIVE\nlog_options:\n  folder_id: <folder>\n";
    let names = [(id(&registry), "<registry>"), (folder.id.clone(), "<folder>")];
    let names = names.each_ref().map(|(id, name)| (id.as_str(), *name));
    assert_eq!(normalised(&output, &names), expected);
    // `--format yaml` is the same for a single object.
    let yaml = folder.run(&["registry", "get", "plant", "--format", "yaml"]);
    assert_eq!(normalised(&yaml, &names), expected);
}

#[test]
fn lists_are_tables_as_text_and_arrays_as_json() {
    let folder = Folder::new();
    assert_eq!(
        folder.run(&["registry", "list", "--format", "json"]),
        "[]\n",
        "an empty list is an empty array"
    );
    let registry = folder.registry("one");
    let width = registry.len() + 2;
    let rule = format!("+{}+------+--------+\n", "-".repeat(width));
    let heading = format!("|{:^width$}| NAME | STATUS |\n", "ID");
    let row = format!("| {registry} | one  | ACTIVE |\n");
    assert_eq!(folder.run(&["registry", "list"]), format!("{rule}{heading}{rule}{row}{rule}"));

    let list = folder.json(&["registries", "list"]);
    assert_eq!(list.as_array().map(Vec::len), Some(1));
    assert_eq!(list[0]["id"], registry.as_str());
    let table = folder.run(&["broker", "list"]);
    assert_eq!(table, "+----+------+\n| ID | NAME |\n+----+------+\n+----+------+\n");
}

#[test]
fn json_has_the_names_of_the_definitions_and_json_rest_those_of_rest() {
    let folder = Folder::new();
    let registry = folder.registry("plant");
    let device = folder.json(&[
        "device",
        "create",
        "pump",
        "--registry-id",
        &registry,
        "--topic-aliases",
        "c=$devices/{id}/commands",
    ]);
    let json = folder.run(&["device", "get", &id(&device), "--format", "json"]);
    assert_eq!(keys(&json), ["id", "registry_id", "created_at", "name", "topic_aliases", "status"]);
    assert_eq!(device["topic_aliases"]["c"], format!("$devices/{}/commands", id(&device)));
    let rest = folder.run(&["device", "get", &id(&device), "--format", "json-rest"]);
    assert_eq!(keys(&rest), ["id", "registryId", "createdAt", "name", "topicAliases", "status"]);

    let aliases = folder.json(&["registry", "list-device-topic-aliases", "plant"]);
    assert_eq!(field(&aliases[0], "device_id"), id(&device));
    assert_eq!(field(&aliases[0], "alias"), "c");
    let table = folder.run(&["registry", "list-device-topic-aliases", "plant"]);
    let heading: Vec<&str> = table.lines().nth(1).expect("a heading").split('|').map(str::trim).collect();
    assert_eq!(heading, ["", "ALIAS", "TOPIC PREFIX", "DEVICE ID", ""]);
}

#[test]
fn several_names_give_an_array() {
    let folder = Folder::new();
    folder.registry("one");
    folder.registry("two");
    let both = folder.json(&["registry", "describe", "one", "two"]);
    assert_eq!((field(&both[0], "name"), field(&both[1], "name")), ("one".to_owned(), "two".to_owned()));
}

#[test]
fn async_prints_the_operation_and_operation_get_shows_it() {
    let folder = Folder::new();
    let operation = folder.json(&["registry", "create", "later", "--async"]);
    let metadata = "type.googleapis.com/yandex.cloud.iot.devices.v1.CreateRegistryMetadata";
    assert_eq!(operation["metadata"]["@type"], metadata);
    let shown = folder.json(&["operation", "get", &id(&operation)]);
    assert_eq!(shown["done"], true);
    assert_eq!(shown["response"]["name"], "later");
}

#[test]
fn a_deletion_prints_nothing() {
    let folder = Folder::new();
    folder.registry("gone");
    assert_eq!(folder.run(&["registry", "delete", "gone"]), "");
    folder.registry("gone");
    let operation = folder.json(&["registry", "delete", "gone", "--async"]);
    assert_eq!(operation["response"]["@type"], "type.googleapis.com/google.protobuf.Empty");
    assert_eq!(folder.json(&["registry", "list"]), serde_json::json!([]));
}
