//! Signals, health and configuration mistakes.

use std::{
    fs,
    io::Write as _,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Output},
};

use rookery_harness::{
    client::Client,
    fixture::{Fixture, Role},
    janitor,
    node::Node,
    ops,
    packet::Connect,
    runtime::{run, until},
};

use crate::{BINARY, fixture, node};

#[test]
fn sigterm_closes_clients_and_exits_with_0() {
    let node = Node::start(BINARY);
    run(async {
        let fixture = Fixture::create(&node).await;
        let mut clients = Vec::new();
        for role in [Role::D1, Role::R, Role::B] {
            clients.push(fixture.connect(role).await);
        }
        let mut silent = Client::tcp(node.address("mqtt")).await;
        node.terminate();
        for client in &mut clients {
            client.expect_closed().await;
        }
        silent.expect_closed().await;
    });
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn acknowledged_messages_are_delivered_before_a_drain_ends() {
    let node = Node::start(BINARY);
    run(async {
        let fixture = Fixture::create(&node).await;
        let topic = fixture.expand("$devices/{D1}/events");
        let mut backend = fixture.subscriber(Role::R, &topic).await;
        fixture.connect(Role::D1).await.publish(&topic, b"last words").await;
        node.terminate();
        assert_eq!(backend.receive().await.text(), "last words");
        backend.expect_closed().await;
    });
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn sigint_drains_as_well() {
    let node = Node::start(BINARY);
    node.signal("INT");
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn second_signal_ends_at_once() {
    let node = Node::start(BINARY);
    run(async {
        let fixture = Fixture::create(&node).await;
        let _client = fixture.connect(Role::R).await;
        // Two different signals, because the system merges equal ones; stopped, the process finds both at once.
        node.signal("STOP");
        node.signal("TERM");
        node.signal("INT");
        node.signal("CONT");
    });
    assert_ne!(node.wait().code(), Some(0), "a drain that was cut short is no success");
}

/// The node used to wait for the rest of the request for ever, with its storage still open.
#[test]
fn a_client_with_half_a_request_does_not_keep_the_node_from_stopping() {
    let node = Node::start(BINARY);
    let mut half = TcpStream::connect(node.address("ops")).expect("the listener is open");
    half.write_all(b"GET /livez HTTP/1.1\r\n").expect("the node reads");
    node.terminate();
    assert_eq!(node.wait().code(), Some(0));
}

#[test]
fn health_endpoints_answer() {
    for path in ["/livez", "/readyz"] {
        assert_eq!(ops::get(node(), path).0, 200, "{path}");
    }
    let (status, body) = ops::get(node(), "/metrics");
    assert_eq!(status, 200);
    assert!(body.lines().any(|line| line.starts_with("rookery_")), "metrics carry our prefix");
    let syncs = ops::metric(node(), "rookery_log_sync_seconds_count").expect("it is measured");
    assert!(syncs > 0.0, "starting a cluster is written to disk");
    assert_eq!(ops::get(node(), "/no/such/path").0, 404);
}

/// A node needs no cluster to start, only to serve.
#[test]
fn a_node_that_has_still_to_join_is_ready_to_be_asked_and_serves_nobody() {
    let directory = janitor::new_directory("joining-");
    let secret = directory.join("secret");
    fs::write(&secret, "a secret of its cluster\n").expect("the directory is writable");
    let secret = secret.display().to_string();
    // Nobody listens at port 1.
    let arguments = ["--peer", "127.0.0.1:0", "--join", "127.0.0.1:1", "--join-secret-file", &secret];
    let node = Node::start_in(BINARY, &directory.join("data"), &arguments);
    assert_ne!(node.address("peer").port(), 0, "its real address is printed");
    let (status, body) = ops::get(&node, "/readyz");
    assert_eq!(status, 503);
    assert!(body.contains("[-] membership failed") && body.contains("[-] lease failed"), "{body}");
    assert_eq!(ops::get(&node, "/livez").0, 200, "it must not be restarted for that");
    run(async {
        let mut client = Client::tcp(node.address("mqtt")).await;
        assert_eq!(client.connect(&Connect::new("early")).await, 3, "server unavailable");
    });
    assert!(!node.data_directory().join("admin.token").exists(), "tokens are those of the cluster");
    assert!(!node.data_directory().join("join.secret").exists(), "and so is the secret");
    node.terminate();
    assert_eq!(node.wait().code(), Some(0));
}

/// Runs `serve` to its end with a configuration file and further arguments.
fn serve(data_directory: &Path, configuration: &str, arguments: &[&str]) -> Output {
    let file = janitor::new_directory("configuration-").join("rookery.toml");
    fs::write(&file, configuration).expect("the directory is writable");
    let mut command = Command::new(BINARY);
    command.arg("serve").arg("--config").arg(&file).arg("--data-dir").arg(data_directory).args(arguments);
    command.output().expect("the binary starts")
}

#[test]
fn configuration_mistakes_are_reported_together_and_before_anything_is_done() {
    let data_directory = janitor::new_directory("data-").join("not-yet");
    let configuration = "[limits]\nin_flight_messages_max = 0\n[log]\nformat = \"xml\"\n";
    let output = serve(&data_directory, configuration, &["--mqtts", "nowhere", "--api", "127.0.0.1:99999"]);
    let complaint = String::from_utf8_lossy(&output.stderr);
    for part in ["in_flight_messages_max", "log.format", "xml", "mqtts", "nowhere", "api", "127.0.0.1:99999"]
    {
        assert!(complaint.contains(part), "{part} is missing in:\n{complaint}");
    }
    assert!(!data_directory.exists(), "nothing is created before the configuration is right");
    let mistake = output.status.code().expect("the process exits");
    assert_eq!(mistake, 78, "EX_CONFIG of sysexits.h");

    let several =
        "[limits]\nno_such_key = 1\nin_flight_messages_max = 0\n[log]\nformat = 7\nfilter = \"a=b=c\"\n";
    let unknown = serve(&data_directory, several, &["--mqtts", "nowhere"]);
    let complaint = String::from_utf8_lossy(&unknown.stderr);
    for part in ["no_such_key", "in_flight_messages_max", "log.format", "log.filter", "nowhere"] {
        assert!(
            complaint.contains(part),
            "keys, types and rules together; {part} is missing in:\n{complaint}"
        );
    }
    assert_eq!(unknown.status.code(), Some(mistake), "all configuration mistakes share one exit code");

    let missing = serve(
        &data_directory,
        "",
        &["--tls-cert", "/nonexistent/cert.pem", "--tls-key", "/nonexistent/key.pem"],
    );
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nonexistent/cert.pem"));
    assert_ne!(missing.status.code(), Some(0));
    // It used to be 101: the half-started runtimes were dropped where tokio does not allow it.
    assert_eq!(taken_port_exit_code(), 1, "a taken port is no configuration mistake and no panic");
}

fn taken_port_exit_code() -> i32 {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound").to_string();
    let off = ["--mqtt", "127.0.0.1:0", "--api", "127.0.0.1:0", "--ops", "127.0.0.1:0"];
    let arguments = [&["--mqtts", address.as_str()][..], &off].concat();
    let output = serve(&janitor::new_directory("data-"), "", &arguments);
    assert!(String::from_utf8_lossy(&output.stderr).contains(&address), "the error names the address");
    output.status.code().expect("the process exits")
}

#[test]
fn secrets_on_disk_are_readable_by_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let token = node().data_directory().join("admin.token");
    let mode = fs::metadata(token).expect("the token is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for entry in fs::read_dir(node().data_directory().join("pki")).expect("the directory is there") {
        let entry = entry.expect("it can be listed");
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        if text.contains("PRIVATE KEY") {
            let mode = entry.metadata().expect("it is there").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{:?} holds a private key", entry.path());
        }
    }
}

#[test]
fn connections_and_bytes_are_counted_for_each_registry_and_broker() {
    run(async {
        let fixture = fixture().await;
        let number = |metric: &str, kind: &str, role: Role| {
            let labels = format!("{{service=\"iot-core\",{kind}=\"{}\"}}", fixture.id(role));
            ops::metric(node(), &format!("{metric}{labels}"))
        };
        assert_eq!(number("iot_registry_connections", "registry", Role::R), None, "nobody was there yet");
        let mut backend = fixture.subscriber(Role::R, "$devices/{D1}/events").await;
        let mut device = fixture.connect(Role::D1).await;
        let mut client = fixture.connect(Role::B).await;
        assert_eq!(number("iot_registry_connections", "registry", Role::R), Some(2.0));
        assert_eq!(number("iot_broker_connections", "broker", Role::B), Some(1.0));
        let of_registry = |metric: &str| number(metric, "registry", Role::R).expect("it is counted");
        let (received, sent) = ("iot_registry_received_bytes_total", "iot_registry_sent_bytes_total");
        let before = (of_registry(received), of_registry(sent));
        let topic = fixture.expand("$devices/{D1}/events");
        device.publish(&topic, &[b'x'; 1000]).await;
        backend.receive().await;
        client.publish("a/b", b"elsewhere").await;
        let packet = 1000 + topic.len();
        for (metric, before) in [(received, before.0), (sent, before.1)] {
            let more = of_registry(metric) - before;
            // Headers, PUBACKs and the SUBSCRIBE before.
            let bounds = packet as f64..(packet + 100) as f64;
            assert!(bounds.contains(&more), "{metric}: {more}");
        }
        device.disconnect().await;
        until("the device is not counted", || {
            number("iot_registry_connections", "registry", Role::R) == Some(1.0)
        })
        .await;
    });
}
