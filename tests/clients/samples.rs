//! The official samples that must work unchanged apart from host and authority (end of spec/auth.md).

use rookery_harness::runtime::run;

use crate::{
    exchange::{Credential, Plan, run_script},
    fixture,
};

fn sample(script: &str, plan: &Plan, credentials: &[Credential]) {
    for credential in credentials {
        let plan = run(async { plan.prepare(&fixture().await, *credential).await });
        run_script(script, &plan);
    }
}

const BOTH: [Credential; 2] = [Credential::Certificate, Credential::Password];

#[test]
fn python_sample_has_keep_alive_60_and_a_certificate_or_login() {
    sample("paho_exchange.py", &Plan::default(), &BOTH);
}

#[test]
fn go_sample_connects_device_and_registry_with_one_client_identifier() {
    let plan = Plan { client_ids: ["Test_Client_device"; 2], ..Plan::default() };
    sample("paho_exchange.py", &plan, &BOTH);
    sample("gmqtt_exchange.py", &plan, &BOTH);
}

#[test]
fn esp8266_sample_sends_no_server_name_verifies_nothing_and_ends_topics_with_a_slash() {
    let plan = Plan {
        host: "127.0.0.1",
        verifies: false,
        only_tls12: true,
        keep_alive_s: 15,
        events: ["$devices/{D1}/events/", "$devices/{D1}/events/#"],
        commands: ["$devices/{D1}/commands", "$devices/{D1}/commands/#"],
        ..Plan::default()
    };
    sample("paho_exchange.py", &plan, &[Credential::Password]);
}

#[test]
fn csharp_sample_uses_tls_12_a_client_certificate_and_keep_alive_90() {
    let plan = Plan { only_tls12: true, keep_alive_s: 90, ..Plan::default() };
    sample("paho_exchange.py", &plan, &[Credential::Certificate]);
    sample("gmqtt_exchange.py", &plan, &[Credential::Certificate]);
}

#[test]
fn cpp_and_java_samples_use_a_clean_session_and_keep_alive_60() {
    let plan = Plan {
        events: ["$devices/{D1}/events", "$devices/+/events/#"],
        commands: ["$registries/{R}/commands", "$registries/{R}/commands/#"],
        ..Plan::default()
    };
    sample("paho_exchange.py", &plan, &BOTH);
}
