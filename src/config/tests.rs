//! Tests of the configuration as a whole.

use super::*;

fn with_file(text: &str) -> Result<Config, Problems> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("rookery.toml");
    std::fs::write(&file, text).expect("the file is written");
    load(&Sources { file: Some(file), ..Sources::default() })
}

#[test]
fn the_defaults_are_valid_and_safe() {
    let config = load(&Sources::default()).expect("the defaults are valid");
    assert_eq!(config.listen.mqtt, None, "plain MQTT is off");
    assert_eq!(config.listen.mqtts, Some("0.0.0.0:8883".parse().expect("an address")));
    assert!(config.listen.api.is_some_and(|address| address.ip().is_loopback()));
    assert_eq!(config.limits.payload_bytes_max, 262_144);
}

#[test]
fn all_mistakes_are_reported_together_with_key_value_and_rule() {
    let flags = Flags {
        mqtt: Some("nonsense".into()),
        node_name: Some("a b".into()),
        tls_cert: Some("only-one.pem".into()),
        expect_voters: Some(2),
        join: Some(vec!["no-port".into()]),
        ..Flags::default()
    };
    let problems = load(&Sources { flags, ..Sources::default() }).expect_err("five mistakes").0;
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    let expected = ["node.name", "listen.mqtt", "cluster.join", "cluster.expect_voters", "security.tls_cert"];
    assert_eq!(keys, expected);
    assert_eq!(
        problems[0].to_string(),
        "node.name: must have 1 to 63 characters of [a-zA-Z0-9._-] (got a b)"
    );
}

#[test]
fn flags_win_over_the_file() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("rookery.toml");
    std::fs::write(&file, "[listen]\nmqtt = \"127.0.0.1:1883\"\nops = \"off\"\n")
        .expect("the file is written");
    let flags = Flags { mqtt: Some("127.0.0.1:1884".into()), ..Flags::default() };
    let config = load(&Sources { file: Some(file), flags, environment: false }).expect("valid");
    assert_eq!(config.listen.mqtt.map(|address| address.port()), Some(1884));
    assert_eq!(config.listen.ops, None);
}

#[test]
fn unknown_keys_and_wrong_types_are_mistakes() {
    let unknown = with_file("[listen]\nmqttz = \"off\"\n").expect_err("unknown key");
    assert!(unknown.to_string().contains("mqttz"), "{unknown}");
    let wrong = with_file("[limits]\nsubscriptions_max = \"many\"\n").expect_err("wrong type");
    assert!(wrong.to_string().contains("limits.subscriptions_max"), "{wrong}");
    let several = with_file("[limits]\nsubscriptions_max = \"many\"\nwrong = 1\n[nonsense]\na = 1\n")
        .expect_err("three");
    assert_eq!(several.0.len(), 3, "{several}");
    let filter = with_file("[log]\nfilter = \"a=b=c\"\n").expect_err("no filter");
    assert!(filter.to_string().contains("log.filter"), "{filter}");
    let small =
        with_file("[limits]\nqueue_bytes_max = 100000\n").expect_err("a queue for less than a message");
    assert!(small.to_string().contains("limits.queue_bytes_max"), "{small}");
    let zero = with_file("[limits]\nin_flight_messages_max = 70000\n").expect_err("too many");
    assert!(zero.to_string().contains("65535"), "{zero}");
}

#[test]
fn two_listeners_cannot_share_an_address() {
    let problems =
        with_file("[listen]\nmqtts = \"127.0.0.1:9000\"\napi = \"127.0.0.1:9000\"\n").expect_err("same");
    assert!(problems.to_string().contains("listen.api: must differ from listen.mqtts"), "{problems}");
}

#[test]
fn a_cluster_is_described_by_file_or_flags() {
    let config = with_file(
        "[cluster]\njoin = [\"node-1:8550\", \"[2001:db8::1]:8550\"]\nexpect_voters = 3\nlease_ms = 3000\n",
    )
    .expect("valid");
    assert_eq!((config.cluster.expect_voters, config.cluster.join.len()), (Some(3), 2));
    assert_eq!(config.cluster.lease.as_millis(), 3000);
    assert!(!config.cluster.founds_alone());
    let alone = load(&Sources::default()).expect("the defaults are valid");
    assert!(alone.cluster.founds_alone() && !alone.listen.peer_is_given);
    for (text, key) in [
        ("[cluster]\nexpect_voters = 2\n", "cluster.expect_voters"),
        ("[cluster]\njoin = [\"a:1\"]\n[listen]\npeer = \"off\"\n", "listen.peer"),
        ("[cluster]\njoin = [\"a:0\"]\n", "cluster.join"),
        ("[cluster]\nadvertise_peer = \"[::1:8550\"\n", "cluster.advertise_peer"),
        ("[cluster]\nlease_ms = 10\n", "cluster.lease_ms"),
        ("[cluster]\nvoters = 4\n", "cluster.voters"),
        ("[cluster]\nvote = false\n", "cluster.vote"),
        ("[cluster]\nvote = false\njoin = [\"a:1\"]\nexpect_voters = 3\n", "cluster.vote"),
        ("[cluster]\njoin_secret_file = \"/nonexistent\"\n", "cluster.join_secret_file"),
    ] {
        let problems = with_file(text).expect_err(key).0;
        let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
        assert_eq!(keys, [key], "{text}");
    }
}
