//! Clients that we did not write, over TLS, by certificate and by password: mosquitto's command line, Paho and
//! gmqtt for Python; the demo; and the behaviours of the official samples listed at the end of spec/auth.md.

mod demo;
mod exchange;
mod mosquitto;
mod python;
mod samples;

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
