//! Paho and gmqtt, two independent MQTT implementations for Python.

use rookery_harness::runtime::run;

use crate::{
    exchange::{Credential, Plan, run_script},
    fixture,
};

fn exchange(script: &str, credential: Credential) {
    let plan = run(async { Plan::default().prepare(&fixture().await, credential).await });
    run_script(script, &plan);
}

#[test]
fn paho_by_certificate() {
    exchange("paho_exchange.py", Credential::Certificate);
}

#[test]
fn paho_by_password() {
    exchange("paho_exchange.py", Credential::Password);
}

#[test]
fn gmqtt_by_certificate() {
    exchange("gmqtt_exchange.py", Credential::Certificate);
}

#[test]
fn gmqtt_by_password() {
    exchange("gmqtt_exchange.py", Credential::Password);
}
