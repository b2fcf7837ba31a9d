//! Runs the Python cases beside this file against one node. Each case works in a folder of its own.

use std::fs;
use std::sync::OnceLock;

use rookery_harness::node::Node;

use crate::python::Python;

fn node() -> &'static Node {
    static NODE: OnceLock<Node> = OnceLock::new();
    NODE.get_or_init(|| Node::start(env!("CARGO_BIN_EXE_rookery")))
}

/// Runs all cases of one module.
fn run(module: &str) {
    let node = node();
    let descriptors = tempfile::NamedTempFile::new().expect("temporary file");
    fs::write(&descriptors, rookery_proto::FILE_DESCRIPTOR_SET).expect("descriptor file");
    let report = Python::module("unittest")
        .argument("--quiet")
        .argument(module)
        .directory("tests/api/cases")
        .environment("ROOKERY_TEST_API", &node.address("api").to_string())
        .environment("ROOKERY_TEST_CA", &node.ca_path().to_string_lossy())
        .environment("ROOKERY_TEST_TOKEN", &node.admin_token())
        .environment("ROOKERY_TEST_DESCRIPTORS", &descriptors.path().to_string_lossy())
        .run();
    assert!(report.success, "{}", report.output);
    assert!(!report.output.contains("Ran 0 tests"), "{}", report.output);
}

#[test]
fn registries() {
    run("test_registries");
}

#[test]
fn devices() {
    run("test_devices");
}

#[test]
fn brokers() {
    run("test_brokers");
}

#[test]
fn credentials() {
    run("test_credentials");
}

#[test]
fn operations() {
    run("test_operations");
}

#[test]
fn publishing() {
    run("test_publishing");
}

#[test]
fn access() {
    run("test_access");
}

#[test]
fn validation() {
    run("test_validation");
}
