//! Two releases in one cluster: the one under test and the one after it, which writes one more format.

use std::{env, path::Path, process::Command};

use rookery_harness::{
    cluster::{Cluster, Options, network::Way},
    janitor,
    node::Node,
    runtime::run,
};

use super::{on_own_nodes, random::expect_no_violation};
use crate::{BINARY, workload::Workload};

const REFUSAL: &str = "the cluster writes format 2, this release writes 1";

/// The program of the next release, built beside the one under test.
fn next_release() -> String {
    let folder = Path::new(BINARY).parent().expect("a program lies in a folder");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "rookery", "--example", "next-release"]);
    if folder.ends_with("release") {
        build.arg("--release");
    }
    // What cargo tells a test about its package would make it compile half the dependencies again.
    let of_this_test = |name: &String| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    env::vars().map(|(name, _)| name).filter(of_this_test).for_each(|name| {
        build.env_remove(name);
    });
    let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status();
    assert!(status.is_ok_and(|status| status.success()), "the next release is built");
    folder.join("examples/next-release").display().to_string()
}

fn exchange(cluster: &Cluster, node: usize, program: &str) {
    cluster.stop(node);
    cluster.restart_as(node, program);
    cluster.wait_until_ready(node);
}

/// What the cluster writes, as each node says.
fn formats(cluster: &Cluster) -> Vec<u64> {
    let status = |node| cluster.status(node).map_or(0, |status| status.format);
    (0..cluster.size()).map(status).collect()
}

/// Starts a node as a release that cannot take part any more, and reads why.
fn is_refused(cluster: &Cluster, node: usize, program: &str) {
    cluster.stop(node);
    let process = cluster.try_as(node, program);
    let said = process.log().wait_for(|line| line.contains(REFUSAL));
    assert!(said.is_some(), "the node says why it cannot take part:\n{}", process.log().tail(20));
    process.kill();
}

#[test]
fn a_rolling_upgrade_under_load_loses_nothing_acknowledged() {
    let next = next_release();
    on_own_nodes(Options::three(Way::of_choice()), |cluster| {
        let workload = run(Workload::start(std::sync::Arc::clone(cluster), 2));
        cluster.wait_until("the first format is on record", || formats(cluster) == [1, 1, 1]);
        // The second node goes back once: the release before can be put back until the last node is new.
        for (node, program) in [(2, next.as_str()), (1, &next), (1, BINARY), (1, &next), (0, &next)] {
            assert_eq!(formats(cluster), [1, 1, 1], "while one node cannot write the newer format");
            run(workload.flows());
            exchange(cluster, node, program);
        }
        cluster.wait_until("the newer format is written", || formats(cluster) == [2, 2, 2]);
        let status = cluster.status(0).expect("the node answers");
        assert!(status.nodes.iter().all(|node| node.version.ends_with("-next") && node.newest_format == 2));
        run(workload.flows());
        expect_no_violation(workload);

        // What is written now is out of reach for the release before; nothing is lost by trying.
        is_refused(cluster, 1, BINARY);
        cluster.restart_as(1, &next);
        cluster.wait_until_ready(1);
        let snapshot = cluster.command(1, &["node", "snapshot"]);
        assert!(snapshot.status.success(), "{snapshot:?}");
        exchange(cluster, 1, &next);
        is_refused(cluster, 1, BINARY);
        cluster.restart_as(1, &next);
        cluster.wait_until_ready(1);
        let states = cluster.equal_states();
        assert!(states.iter().all(|(_, _, hash)| *hash == states[0].2), "{states:?}");

        // Nor is a new node of the release before let in.
        let founder = cluster.network().advertised(0);
        let late = cluster.add(&["--join", &founder]);
        let log = cluster.node(late);
        let said = log.log().wait_for(|line| line.contains(REFUSAL));
        assert!(said.is_some(), "the node says why it is not let in:\n{}", log.log().tail(20));
    });
}

#[test]
fn a_held_format_keeps_the_way_back_open() {
    let next = next_release();
    let environment = vec![("ROOKERY_CLUSTER__HOLD_FORMAT".to_owned(), "1".to_owned())];
    let options = Options { voters: 1, environment, ..Options::three(Way::of_choice()) };
    on_own_nodes(options, |cluster| {
        exchange(cluster, 0, &next);
        let registry = cluster.command(0, &["registry", "create", "fleet"]);
        assert!(registry.status.success(), "{registry:?}");
        let snapshot = cluster.command(0, &["node", "snapshot"]);
        assert!(snapshot.status.success(), "{snapshot:?}");
        assert_eq!(formats(cluster), [1]);
        exchange(cluster, 0, BINARY);
        let registry = cluster.command(0, &["registry", "get", "fleet"]);
        assert!(registry.status.success(), "{registry:?}");
    });
    let directory = janitor::new_directory("held-");
    let mut unknown = Node::command(Path::new(BINARY), &directory);
    let output = unknown.env("ROOKERY_CLUSTER__HOLD_FORMAT", "9").output().expect("the program runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("cluster.hold_format must be 1 (is 9)"), "{text}");
    assert!(!output.status.success());
}
