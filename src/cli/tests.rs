//! The command line itself; what commands do is tested against a node in `tests/cli`.

use clap::Parser as _;

use super::*;

#[test]
fn the_command_tree_is_consistent() {
    command().debug_assert();
}

#[test]
fn the_words_of_yc_iot_are_understood() {
    let lines = [
        "registry create r --labels a=b,c=d --certificate-file a.pem --certificate-file b.pem --no-logging --async",
        "registries list --limit 5 --format json",
        "registry describe r1 r2",
        "registry show --id are1",
        "registry update r --new-name s --min-log-level warn",
        "registry add-labels r --labels a=b",
        "registry remove-labels --id are1 --labels a",
        "registry list-device-topic-aliases r",
        "registry certificate add --registry-name r --certificate-file a.pem",
        "registry certificate delete --registry-id are1 --fingerprint AA:BB",
        "registry password add --registry-id are1 --generate-password",
        "registry yds-export add --registry-id are1 --database d --stream s --stream-service-account-id a",
        "registry yds-export delete --registry-id are1 --ds-export-id x",
        "--endpoint localhost:1 device create --name d --registry-id are1 --topic-aliases a=$devices/{id}/events",
        "devices list --registry-name r --format json-rest",
        "device add-topic-aliases d --topic-aliases a=b",
        "device password delete --device-name d --password-id p",
        "broker create b --read-password",
        "brokers delete b1 b2",
        "operation get are1",
        "token create ci --role editor",
        "mqtt publish --cert c --key k -t t -q at-least-once -m hello",
        "mqtt publish -u are1 -P secret -t t -l",
        "mqtt subscribe -u are1 -t a/# -t b --details",
        "serve --data-dir d --mqtts 0.0.0.0:8883 --join a:1,b:2",
        "demo --once",
    ];
    for line in lines {
        let words = std::iter::once("rookery").chain(line.split(' '));
        if let Err(error) = Cli::try_parse_from(words) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn contradictions_and_gaps_are_wrong_usage() {
    let lines = [
        "registry get",
        "registry get r --id are1",
        "registry create r --password a --generate-password",
        "device create d",
        "device certificate list",
        "registry list --limit 0",
        "mqtt publish -t t",
        "mqtt publish -t t -m a -q 2",
        "mqtt subscribe --cert c -t t",
        "token create",
        "serve --tls-cert a",
    ];
    for line in lines {
        let words = std::iter::once("rookery").chain(line.split(' '));
        assert!(Cli::try_parse_from(words).is_err(), "{line}");
    }
}
