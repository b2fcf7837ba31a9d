//! An update: every node is stopped and started in turn, under load.

use std::sync::Arc;

use rookery_harness::runtime::run;

use super::{on_three_nodes, random::expect_no_violation};
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
