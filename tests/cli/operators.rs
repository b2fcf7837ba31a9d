//! What operators type: `rookery cluster`, `node`, `session` and `space`. Each test has a node of its own, because
//! draining it would be felt by others.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Output, Stdio};

use rookery_harness::cluster::holds_within;
use rookery_harness::node::Node;
use rookery_harness::runtime::WAIT;
use rookery_harness::{janitor, ops};
use serde_json::Value;

use crate::{BINARY, bare, failed, field, id, keys, text};

fn call(node: &Node, arguments: &[&str]) -> Output {
    let mut command = bare(arguments);
    command
        .env("ROOKERY_ENDPOINT", node.address("api").to_string())
        .env("ROOKERY_DATA_DIR", node.data_directory())
        .env("ROOKERY_MQTT_ADDRESS", node.address("mqtts").to_string());
    command.output().expect("the program starts")
}

fn run(node: &Node, arguments: &[&str]) -> String {
    let output = call(node, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn json(node: &Node, arguments: &[&str]) -> Value {
    let output = run(node, &[arguments, &["--format", "json"]].concat());
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output}"))
}

/// A registry with a subscriber that runs until it is ended.
struct Watched {
    registry: String,
    password: String,
    subscriber: Child,
}

impl Watched {
    fn start(node: &Node) -> Self {
        let created = json(node, &["registry", "create", "watched", "--generate-password"]);
        let (registry, password) = (id(&created), field(&created, "password"));
        let mut command =
            bare(&["mqtt", "subscribe", "-q", "1", "-t", "$devices/+/events/#", "-u", &registry]);
        command.args(["--password", &password]).arg("--ca-file").arg(node.ca_path());
        command.env("ROOKERY_MQTT_ADDRESS", node.address("mqtts").to_string());
        let mut subscriber = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
        janitor::guard(subscriber.id());
        let mut said = BufReader::new(subscriber.stderr.take().expect("it was asked for")).lines();
        let first = said.next().expect("it says something").expect("it is text");
        assert_eq!(first, "subscribed");
        Self { registry, password, subscriber }
    }

    /// How a message of the registry to itself fares.
    fn publish(&self, node: &Node) -> Output {
        let topic = format!("$registries/{}/commands", self.registry);
        let login = ["-u", &self.registry, "--password", &self.password];
        call(node, &[&["mqtt", "publish", "-q", "1", "-t", &topic, "-m", "x"][..], &login].concat())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // It has ended already where the test has ended its session.
        let _ = self.subscriber.kill();
        let _ = self.subscriber.wait();
    }
}

#[test]
fn the_status_has_the_shape_that_tools_rely_on() {
    let node = Node::start(BINARY);
    let printed = run(&node, &["cluster", "status", "--format", "json"]);
    assert_eq!(keys(&printed), ["cluster_id", "leader", "lease_ms", "fenced_drop_ms", "nodes", "format"]);
    let status: Value = serde_json::from_str(&printed).expect("it is JSON");
    let [row] = &status["nodes"].as_array().expect("a list")[..] else { panic!("one node: {status}") };
    assert_eq!(row["name"], status["leader"]);
    assert_eq!((&row["role"], &row["state"]), (&"voter".into(), &"leader".into()));
    for number in ["id", "term", "log_index", "applied_index", "connections", "sessions", "uptime_s"] {
        assert!(row[number].is_u64(), "{number} is a number: {row}");
    }
    assert_eq!(row["state_hash"]["hash"].as_str().expect("a text").len(), 64);
    assert!(row["state_hash"]["index"].is_u64() && row["version"].is_string() && row["address"].is_string());
    let table = run(&node, &["cluster", "status"]);
    let head = table.lines().next().expect("a line about the cluster");
    assert!(head.starts_with("cluster ") && head.ends_with(", format 1"), "{head}");
    assert!(table.contains(" NAME ") && table.contains("| leader"), "{table}");
    let members = json(&node, &["cluster", "members"]);
    assert_eq!((&members[0]["id"], &members[0]["registered"]), (&1.into(), &true.into()));
}

#[test]
fn sessions_are_listed_shown_found_by_route_and_kicked() {
    let node = Node::start(BINARY);
    let mut watched = Watched::start(&node);
    let sessions = json(&node, &["session", "list", "--space", &watched.registry]);
    assert_eq!(sessions.as_array().map(Vec::len), Some(1), "{sessions}");
    assert_eq!(json(&node, &["session", "list", "--client-id", "nobody"]), Value::Array(Vec::new()));
    let session = id(&sessions[0]);

    let details = json(&node, &["session", "show", &session]);
    assert_eq!(details["subscriptions"][0]["filter"], "$devices/+/events/#");
    assert_eq!(details["queues"]["in_flight_messages"], 0);
    let spaces = json(&node, &["space", "list"]);
    assert_eq!((&spaces[0]["sessions"], &spaces[0]["subscriptions"]), (&1.into(), &1.into()));

    let device = id(&json(&node, &["device", "create", "pump", "--registry-id", &watched.registry]));
    let routes = json(&node, &["space", "routes", "$me/device/events/a", "--as", &device]);
    assert_eq!(routes["canonical_topic"], format!("$devices/{device}/events/a"));
    assert_eq!(
        (&routes["total"], &routes["targets"][0]["session_id"]),
        (&1.into(), &session.as_str().into())
    );
    let foreign = failed(&call(&node, &["space", "routes", "$devices/other/events", "--as", &device]));
    assert!(foreign.contains("topic"), "{foreign}");

    run(&node, &["session", "kick", &session]);
    assert!(!watched.subscriber.wait().expect("it ends").success(), "the client notices");
    let unknown = failed(&call(&node, &["session", "kick", "0123"]));
    assert!(unknown.contains("session_id") && unknown.contains("NOT_FOUND"), "{unknown}");
}

#[test]
fn a_drained_node_takes_nobody_until_it_is_undrained() {
    let node = Node::start(BINARY);
    let mut watched = Watched::start(&node);
    assert!(watched.publish(&node).status.success());
    let drained = json(&node, &["node", "drain"]);
    assert_eq!(drained["sessions_left"], 0);
    assert!(!watched.subscriber.wait().expect("it ends").success(), "its session has ended");
    assert_eq!(ops::get(&node, "/readyz").0, 503);
    assert_eq!(json(&node, &["cluster", "status"])["nodes"][0]["state"], "draining");
    failed(&watched.publish(&node));
    run(&node, &["node", "undrain"]);
    assert_eq!(ops::get(&node, "/readyz").0, 200);
    assert!(watched.publish(&node).status.success());
}

#[test]
fn a_pod_whose_kubernetes_cannot_be_asked_drains_and_stays_a_member() {
    let node = Node::start(BINARY);
    let account = janitor::new_directory("account-");
    fs::write(account.join("token"), "of the pod").expect("the directory is writable");
    fs::copy(node.ca_path(), account.join("ca.crt")).expect("the directory is writable");
    // A port where nobody listens any more.
    let closed =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("there is one");
    let mut command = bare(&["node", "leave", "--if-scaled-down", "--timeout", "30"]);
    command
        .env("ROOKERY_ENDPOINT", node.address("api").to_string())
        .env("ROOKERY_DATA_DIR", node.data_directory())
        .env("ROOKERY_KUBERNETES_ACCOUNT", &account)
        .envs([("POD_NAME", "rookery-0"), ("POD_NAMESPACE", "iot"), ("KUBERNETES_SERVICE_HOST", "127.0.0.1")])
        .env("KUBERNETES_SERVICE_PORT", closed.port().to_string());
    let output = command.output().expect("the program starts");
    let said = text(&output.stderr);
    assert!(output.status.success() && said.contains("stays a member"), "{said}");
    assert!(said.contains(&closed.to_string()) && !said.contains("of the pod"), "{said}");
    let status = json(&node, &["cluster", "status"]);
    assert_eq!(status["nodes"][0]["state"], "draining");
    assert_eq!(json(&node, &["cluster", "members"]).as_array().map(Vec::len), Some(1));
}

#[test]
fn a_node_that_runs_alone_does_not_leave() {
    let node = Node::start_in(BINARY, &janitor::new_directory("alone-"), &["--peer", "off"]);
    let refused = failed(&call(&node, &["node", "leave", "--timeout", "3"]));
    assert!(refused.contains("FAILED_PRECONDITION") && refused.contains("runs alone"), "{refused}");
    assert!(!node.data_directory().join("departed").exists(), "its directory is not marked");
    run(&node, &["node", "undrain"]);
    run(&node, &["registry", "create", "still-here"]);
}

#[test]
fn a_node_is_asked_for_a_snapshot_and_another_log_filter() {
    let node = Node::start(BINARY);
    assert!(json(&node, &["node", "snapshot"])["index"].as_u64() > Some(0));
    run(&node, &["node", "log-level", "debug"]);
    let status = json(&node, &["node", "status"]);
    assert_eq!((&status["log_filter"], &status["serving"]), (&"debug".into(), &true.into()));
    let refused = failed(&call(&node, &["node", "log-level", "rookery=loud"]));
    assert!(refused.contains("log filter"), "{refused}");
    let unknown = failed(&call(&node, &["node", "status", "nobody"]));
    assert!(unknown.contains("node: the cluster has no member \"nobody\""), "{unknown}");
}

#[test]
fn a_viewer_sees_the_cluster_and_changes_nothing() {
    let node = Node::start(BINARY);
    let token = json(&node, &["token", "create", "viewer", "--role", "viewer"]);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, field(&token, "secret")).expect("the token is written");
    let file = file.to_str().expect("the path is text");
    let as_viewer = |arguments: &[&str]| call(&node, &[arguments, &["--token-file", file]].concat());
    for reads in [&["cluster", "status"][..], &["node", "status"], &["session", "list"], &["space", "list"]] {
        let output = as_viewer(reads);
        assert!(output.status.success(), "{reads:?}: {}", text(&output.stderr));
    }
    let changes = [
        &["node", "drain"][..],
        &["node", "undrain"],
        &["node", "snapshot"],
        &["node", "log-level", "trace"],
        &["session", "kick", "0123"],
        &["cluster", "remove", "1"],
        &["cluster", "promote", "1"],
        &["cluster", "transfer-leader"],
    ];
    for change in changes {
        let error = failed(&as_viewer(change));
        assert!(error.contains("PERMISSION_DENIED"), "{change:?}: {error}");
    }
}

#[test]
fn a_lost_cluster_is_recovered_from_one_data_directory() {
    let node = Node::start(BINARY);
    let registry = id(&json(&node, &["registry", "create", "kept"]));
    let before = field(&json(&node, &["cluster", "status"]), "cluster_id");
    let directory = node.data_directory().to_str().expect("the path is text").to_owned();
    let recover = ["cluster", "recover", "--unsafe-new-cluster", "--from", &directory];
    let running = failed(&call(&node, &recover));
    assert!(running.contains("in use by another process") && !running.contains("server"), "{running}");

    node.terminate();
    node.wait();
    let output = call_offline(&recover);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let node = node.restart();
    let status = json(&node, &["cluster", "status"]);
    assert_ne!(field(&status, "cluster_id"), before);
    assert_eq!(status["nodes"][0]["id"], 2, "an identifier is never used again");
    assert_eq!(id(&json(&node, &["registry", "get", &registry])), registry);
}

/// A command that needs no server.
fn call_offline(arguments: &[&str]) -> Output {
    bare(arguments).output().expect("the program starts")
}

#[test]
fn a_backup_is_complete_and_becomes_a_new_cluster() {
    let node = Node::start(BINARY);
    let directory = janitor::new_directory("backup-");
    let path = |name: &str| directory.join(name).display().to_string();
    let registry = json(&node, &["registry", "create", "kept", "--generate-password"]);
    let (registry, password) = (id(&registry), field(&registry, "password"));
    run(&node, &["device", "create", "pump", "--registry-id", &registry]);
    let topic = format!("$registries/{registry}/config");
    let login = ["-u", &registry, "--password", &password];
    run(&node, &[&["mqtt", "publish", "-q", "1", "-t", &topic, "-m", "on"][..], &login].concat());

    let created = json(&node, &["backup", "create", &path("one")]);
    let count = |name: &str| created[name].as_u64();
    assert_eq!([count("registries"), count("devices"), count("stored_messages")], [Some(1); 3]);
    let again = failed(&call(&node, &["backup", "create", &path("one")]));
    assert!(again.contains("does not exist"), "{again}");
    let verify =
        |file: &str| bare(&["backup", "verify", file, "--format", "json"]).output().expect("it starts");
    assert_eq!(serde_json::from_slice::<Value>(&verify(&path("one")).stdout).expect("JSON"), created);

    // A backup that was damaged anywhere is refused with a reason, and nothing is made of it.
    let whole = std::fs::read(path("one")).expect("it was written");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for (damaged, reason) in
        [(&whole[..whole.len() - 1], "length"), (&flipped[..], "checksum"), (b"x", "length")]
    {
        std::fs::write(path("damaged"), damaged).expect("it can be written");
        let refused = failed(&verify(&path("damaged")));
        assert!(
            refused.contains("damaged") && (refused.contains(reason) || refused.contains("checksum")),
            "{refused}"
        );
        let restored = bare(&["backup", "restore", &path("damaged"), "--to", &path("nothing")]).output();
        failed(&restored.expect("it starts"));
        assert!(!directory.join("nothing").exists());
    }

    // Restored beside the old cluster, with the same content, and it works.
    let restore =
        |to: &str| bare(&["backup", "restore", &path("one"), "--to", to]).output().expect("it starts");
    let restored = restore(&path("new"));
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    let mode = std::fs::metadata(directory.join("new/raft")).expect("it was made").permissions().mode();
    assert_eq!(mode & 0o077, 0, "closed to others");
    let refused = failed(&restore(&path("new")));
    assert!(refused.contains("must be empty"), "{refused}");
    let token = node.data_directory().join("admin.token");
    std::fs::copy(token, directory.join("new/admin.token")).expect("the old token counts in the new cluster");
    let new = Node::start_in(BINARY, &directory.join("new"), &[]);
    let cluster = |node: &Node| field(&json(node, &["cluster", "status"]), "cluster_id");
    assert_ne!(cluster(&new), cluster(&node));
    let second = json(&new, &["backup", "create", &path("two")]);
    assert_eq!(second["content_hash"], created["content_hash"]);
    run(&new, &[&["mqtt", "publish", "-q", "1", "-t", &topic, "-m", "off"][..], &login].concat());
    run(&new, &["device", "create", "valve", "--registry-id", &registry]);
}

#[test]
fn the_connection_log_of_an_entity_has_its_own_events_only_and_survives_a_restart() {
    let directory = janitor::new_directory("logs-");
    let node = Node::start_in(BINARY, &directory, &[]);
    let watched = Watched::start(&node);
    let topic = format!("$registries/{}/commands", watched.registry);
    assert!(watched.publish(&node).status.success());
    let login = ["-u", &watched.registry, "--password", "wrong"];
    let refused = call(&node, &[&["mqtt", "publish", "-t", &topic, "-m", "x"][..], &login].concat());
    assert!(!refused.status.success());
    let other = id(&json(&node, &["registry", "create", "other", "--generate-password"]));
    assert_eq!(run(&node, &["registry", "logs", &other]), "");

    let has = |log: &str, part: &str| log.lines().any(|line| line.contains(part));
    let complete =
        |log: &str| has(log, "authentication failed: ") && has(log, "disconnected: client disconnected");
    let mut log = String::new();
    // The log is written beside the connections.
    let is_written = holds_within(WAIT, || {
        log = run(&node, &["registry", "logs", "watched"]);
        complete(&log)
    });
    assert!(is_written, "{log}");
    let first = log.lines().next().expect("there is a line");
    let (at, message) = first.split_once("     ").expect("five spaces");
    assert!(at.len() == 19 && at.as_bytes()[10] == b' ', "{at}");
    let login = format!("connected, login: \"{}\", address: \"127.0.0.1:", watched.registry);
    assert!(message.starts_with(&login), "{message}");

    let warnings = json(&node, &["registry", "logs", "watched", "--levels", "warn", "--since", "1h"]);
    let warnings = warnings.as_array().expect("a list");
    assert!(warnings.iter().all(|record| record["level"] == "WARN") && !warnings.is_empty());
    assert_eq!(run(&node, &["registry", "logs", "watched", "--until", "1d"]), "");
    let wrong = failed(&call(&node, &["registry", "logs", "watched", "--since", "yesterday"]));
    assert!(wrong.contains("--since"), "{wrong}");

    node.terminate();
    node.wait();
    let node = Node::start_in(BINARY, &directory, &[]);
    let after = run(&node, &["registry", "logs", "watched"]);
    assert!(after.starts_with(&log), "{after}");
}

#[test]
fn the_doctor_looks_at_the_machine_and_finds_what_is_wrong() {
    let directory = janitor::new_directory("doctor-").display().to_string();
    let doctor = |more: &[&str]| {
        let arguments = [&["doctor", "--data-dir", &directory, "--format", "json"][..], more].concat();
        bare(&arguments).output().expect("it starts")
    };
    let well = doctor(&[]);
    assert!(well.status.success(), "{}", text(&well.stderr));
    let findings: Value = serde_json::from_slice(&well.stdout).expect("JSON");
    let names: Vec<&str> =
        findings.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    let expected =
        ["configuration", "descriptors", "data directory", "disk space", "disk sync", "certificate"];
    assert_eq!(names, expected);

    let ill = doctor(&["--join", "nowhere.invalid:8550"]);
    assert_eq!(ill.status.code(), Some(1));
    let complaint = text(&ill.stderr);
    assert!(complaint.contains("1 of 7 checks found a problem"), "{complaint}");
    assert!(text(&ill.stdout).contains("nowhere.invalid"));
    let wrong = doctor(&["--mqtts", "nonsense"]);
    assert!(text(&wrong.stdout).contains("listen.mqtts") && !wrong.status.success());
}

#[test]
fn who_watches_the_cluster_sees_a_node_go_and_is_told() {
    let node = Node::start(BINARY);
    let mut command = bare(&["top", "--format", "json", "--count", "2", "--interval", "1", "--retry", "1"]);
    command
        .env("ROOKERY_ENDPOINT", node.address("api").to_string())
        .env("ROOKERY_DATA_DIR", node.data_directory());
    let mut watching = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    janitor::guard(watching.id());
    let said = BufReader::new(watching.stdout.take().expect("it was asked for")).lines();
    // An object ends with a brace at the beginning of a line.
    let mut first = String::new();
    for line in said {
        let line = line.expect("it is text");
        first += &line;
        if line == "}" {
            break;
        }
    }
    let look: Value = serde_json::from_str(&first).expect("it is JSON");
    assert_eq!(look["cluster"]["nodes"][0]["state"], "leader");
    assert!(look["spaces"].is_array(), "{look}");
    node.kill();
    let ended = watching.wait_with_output().expect("it ends");
    assert!(ended.status.success() && text(&ended.stderr).contains("asking again"), "{ended:?}");
}

#[test]
fn the_log_options_of_a_registry_say_what_is_kept() {
    let node = Node::start(BINARY);
    let watched = Watched::start(&node);
    let topic = format!("$registries/{}/commands", watched.registry);
    let login = ["-u", &watched.registry, "--password", "wrong"];
    let wrong = [&["mqtt", "publish", "-t", &topic, "-m", "x"][..], &login].concat();
    let lines = || run(&node, &["registry", "logs", "watched"]).lines().count();
    let before = lines();
    run(&node, &["registry", "update", "watched", "--min-log-level", "warn"]);
    assert!(watched.publish(&node).status.success());
    assert!(!call(&node, &wrong).status.success());
    // Connecting and disconnecting in order are INFO.
    assert!(holds_within(WAIT, || lines() == before + 1), "{} lines after {before}", lines());
    run(&node, &["registry", "update", "watched", "--no-logging"]);
    assert!(!call(&node, &wrong).status.success());
    assert!(watched.publish(&node).status.success());
    assert_eq!(lines(), before + 1, "nothing is kept");
}
