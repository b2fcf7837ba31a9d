//! No secret is in the log, even where it tells the most.

use std::{fs, process::Command};

use rookery_harness::{
    api::Api,
    client::Client,
    fixture::{Fixture, Role, unique_client_id},
    janitor,
    node::Node,
    packet::Connect,
    runtime::run,
    tls::TlsOptions,
};

use crate::BINARY;

const PASSWORD: &str = "S3cretPasswordOfTrace";
const WRONG_PASSWORD: &str = "Wr0ngPasswordOfTrace";
const WRONG_TOKEN: &str = "t1.are00000000000000000.Wr0ngTokenOfTheTraceTest";

/// How every stored password hash begins.
const HASH: &str = "$argon2";

#[test]
fn no_secret_is_logged_at_trace_level() {
    let directory = janitor::new_directory("trace-");
    let file = directory.join("rookery.toml");
    fs::write(&file, "[log]\nfilter = \"trace\"\n").expect("the directory is writable");
    let data = directory.join("data");
    let node = Node::start_in(BINARY, &data, &["--config", file.to_str().expect("the path is text")]);
    let token = use_every_secret(&node);
    node.terminate();
    assert_eq!(node.wait().code(), Some(0));
    // The collector may still be reading the last lines.
    node.log().wait_for(|_| false);
    let text = [node.output().all(), node.log().all()].concat().join("\n");
    assert!(text.contains("TRACE"), "the level was heeded");

    let admin_token = node.admin_token();
    let secret_half = |token: &str| token.rsplit('.').next().expect("a text has a last part").to_owned();
    let (admin_secret, secret) = (secret_half(&admin_token), secret_half(&token));
    let secrets =
        [PASSWORD, WRONG_PASSWORD, &admin_secret, &secret, &secret_half(WRONG_TOKEN), HASH, "PRIVATE KEY"];
    // Bytes that were printed as a list of numbers, perhaps one on a line, would be as good as the text.
    let numbers: String = text.chars().filter(|character| !character.is_whitespace()).collect();
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} was logged");
        let bytes: Vec<_> = secret.bytes().map(|byte| byte.to_string()).collect();
        assert!(!numbers.contains(&bytes.join(",")), "{secret} was logged as bytes");
    }
}

/// Passwords over the API and over MQTT, right and wrong, tokens made, used and mistaken. Returns the new token.
fn use_every_secret(node: &Node) -> String {
    run(async {
        let fixture = Fixture::create(node).await;
        let device = fixture.entity(Role::D1);
        fixture.api.add_password(device, PASSWORD).await.expect("the password is added");
        fixture.api.add_password(device, "weak").await.expect_err("the password is refused");
        for (password, code) in [(PASSWORD, 0), (WRONG_PASSWORD, 4), (PASSWORD, 0)] {
            let connect = Connect::new(&unique_client_id()).login(device.id(), password);
            let mut client = Client::tls_anonymous(node).await;
            assert_eq!(client.connect(&connect).await, code);
            let mut client = Client::tcp(node.address("mqtt")).await;
            assert_eq!(client.connect(&connect).await, code);
        }
        let options = TlsOptions::with(fixture.certificate(Role::D1).await);
        let connect = Connect::new(&unique_client_id()).login(device.id(), PASSWORD);
        let topic = fixture.expand("$devices/{D1}/state");
        Client::connected(node, &options, &connect).await.publish(&topic, b"x").await;
        Api::with_token(node, Some(WRONG_TOKEN)).create_registry().await.expect_err("the token is wrong");
    });
    let token = new_token(node);
    run(async {
        Api::with_token(node, Some(&token)).create_registry().await.expect("the token is good");
    });
    token
}

fn new_token(node: &Node) -> String {
    let output = Command::new(BINARY)
        .args(["token", "create", "trace", "--role", "editor", "--format", "json", "--data-dir"])
        .arg(node.data_directory())
        .args(["--endpoint", &node.address("api").to_string()])
        .output()
        .expect("the binary starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let token: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    token["secret"].as_str().expect("a new token shows its secret").to_owned()
}
