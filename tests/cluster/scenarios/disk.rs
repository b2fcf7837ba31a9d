//! One node's disk is full.

use std::sync::Arc;

use rookery_harness::{
    cluster::{Options, disk::SmallDisk, name, network::Way},
    runtime::{run, within},
};

use super::{
    on_own_nodes,
    random::expect_no_violation,
    site::{Site, others},
};
use crate::workload::Workload;

#[test]
fn a44_a_full_disk_on_one_node_stops_nothing_and_loses_nothing() {
    if SmallDisk::mount(1).is_none() {
        eprintln!("not checked: mounting needs root");
        return;
    }
    let options = Options { disk_mebibytes: Some(256), ..Options::three(Way::of_choice()) };
    on_own_nodes(options, |cluster| {
        let workload = run(Workload::start(Arc::clone(cluster), 3));
        run(workload.flows());
        let leader = cluster.leader(0);
        for full in [others(cluster, leader)[0], leader] {
            cluster.with_disk(full, |disk| disk.fill(0));
            // Two of three disks are a quorum. Who cannot write does not lead.
            let asked = others(cluster, full)[0];
            cluster.wait_until("a node with room leads", || {
                let status = cluster.status(asked).ok();
                status.is_some_and(|status| !status.leader.is_empty() && status.leader != name(full))
            });
            run(async {
                let api = cluster.api(asked);
                let writing = async { while api.create_registry().await.is_err() {} };
                within("writes to go on", writing).await;
                let site = Site::create_at(cluster, asked).await;
                let mut device = site.connect(others(cluster, full)[1], &site.device).await;
                device.publish(&site.topic("state"), b"kept").await;
            });
            run(workload.flows());
            assert!(cluster.node(full).is_running(), "the node does not crash");
            cluster.with_disk(full, SmallDisk::free);
            cluster.wait_until_all_ready();
            run(workload.flows());
        }
        expect_no_violation(workload);
    });
}
