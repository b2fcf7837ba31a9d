//! Everything below the topics: authentication, TLS, the protocol, hostile input, storage and life cycle, over
//! sockets against the real binary.

mod authentication;
mod bystander;
mod certificates;
mod field_notes;
mod hostile;
mod hostile_resources;
mod lifecycle;
mod monitoring;
mod precedence;
mod pressure;
mod protocol;
mod quality;
mod quotas;
mod renewal;
mod revocation;
mod secrets;
mod sessions;
mod storage;
mod wills;

use std::sync::OnceLock;

use rookery_harness::{fixture::Fixture, node::Node};

const BINARY: &str = env!("CARGO_BIN_EXE_rookery");

fn node() -> &'static Node {
    static NODE: OnceLock<Node> = OnceLock::new();
    NODE.get_or_init(|| Node::start(BINARY))
}

async fn fixture() -> Fixture<'static> {
    Fixture::create(node()).await
}

/// Waits for a log line of the shared node that contains all parts.
fn expect_log(parts: &[&str]) -> String {
    node().wait_for_log(|line| parts.iter().all(|part| line.contains(part)), &parts.join(" … "))
}
