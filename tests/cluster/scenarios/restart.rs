//! An update: every node is stopped and started in turn, under load.

use std::sync::Arc;

use rookery_harness::{
    cluster::{Options, network::Way},
    runtime::run,
};

use super::{on_own_nodes, on_three_nodes, random::expect_no_violation, site::Site};
use crate::workload::Workload;

#[test]
fn a_rolling_restart_under_load_loses_nothing_acknowledged() {
    on_three_nodes(|cluster| {
        let workload = run(Workload::start(Arc::clone(cluster), 2));
        for node in 0..cluster.size() {
            run(workload.flows());
            cluster.stop(node);
            cluster.restart(node);
            cluster.wait_until_ready(node);
        }
        run(workload.flows());
        expect_no_violation(workload);
    });
}

/// The process must not be killed from outside because its clients are many: Kubernetes and systemd would.
#[test]
fn a_node_ends_when_its_grace_period_is_over_whatever_is_left_to_drain() {
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    // Twenty sessions would take it two seconds at the least: it ends some every tenth of a second.
    let environment =
        vec![variable("ROOKERY_NODE__GRACE_PERIOD_S", "1"), variable("ROOKERY_NODE__DRAIN_RATE", "1")];
    on_own_nodes(Options { environment, ..Options::three(Way::of_choice()) }, |cluster| {
        run(async {
            let site = Site::create(cluster).await;
            let mut clients = Vec::new();
            for _ in 0..20 {
                clients.push(site.connect(1, &site.registry).await);
            }
            let mut elsewhere = site.connect(0, &site.registry).await;
            let process = cluster.node(1);
            process.terminate();
            assert!(process.wait().success(), "it ended in order");
            for client in &mut clients {
                client.expect_closed().await;
            }
            elsewhere.fence().await;
            cluster.wait_until("the others know", || {
                let status = cluster.status(0);
                status.is_ok_and(|status| status.node("n2").is_some_and(|node| node.state == "unreachable"))
            });
        });
    });
}
