//! Random faults under a fleet that is watched: the promises hold whatever breaks.

use std::{env, process, sync::Arc, thread, time::Duration};

use rookery_harness::{
    cluster::{Cluster, Options, disk::SmallDisk, network::Way},
    runtime::run,
};

use super::{on_own_nodes, variable};
use crate::{
    checker::{Report, Rule, Violation, check, delivery, view::View},
    history::{Deed, History, What},
    nemesis::{Limits, Nemesis, schedule},
    workload::Workload,
};

/// Time of faults in a default run.
const SECONDS: u64 = 60;
/// Enough for a log, its snapshots and the reserve.
const DISK_MEBIBYTES: u32 = 256;

#[test]
fn random_faults_break_no_promise() {
    let nodes = usize::try_from(variable("ROOKERY_CLUSTER_NODES", 3)).expect("a small number");
    let seconds = variable("ROOKERY_CLUSTER_SECONDS", SECONDS);
    let disks = SmallDisk::mount(1).is_some();
    let options = Options {
        learners: nodes.saturating_sub(3),
        disk_mebibytes: disks.then_some(DISK_MEBIBYTES),
        ..Options::three(Way::of_nature())
    };
    on_own_nodes(options, |cluster| faults(cluster, seed(), Duration::from_secs(seconds), disks));
}

/// The seed of this run, printed so that it can be given again.
pub(super) fn seed() -> u64 {
    let seed = variable("ROOKERY_CLUSTER_SEED", u64::from(rand::random::<u32>()));
    eprintln!("ROOKERY_CLUSTER_SEED={seed}");
    seed
}

/// Runs a fleet under the faults of a seed and judges what it saw.
pub(super) fn faults(cluster: &Arc<Cluster>, seed: u64, total: Duration, disks: bool) {
    let workload = run(Workload::start(Arc::clone(cluster), seed));
    run(workload.flows());
    let steps = schedule(seed, Limits { nodes: cluster.size(), total, disks });
    Nemesis::start(workload.shared(), steps).finish(workload.shared());
    run(workload.flows());
    expect_no_violation(workload);
}

/// Ends a fleet on a healed cluster; fails with the related part of the history if a promise was broken.
pub(super) fn expect_no_violation(workload: Workload) {
    let cluster = Arc::clone(&workload.shared().cluster);
    let (history, violations) = run(workload.finish());
    if !violations.is_empty() {
        fail(&cluster, &history, &violations);
    }
    expect_sharp_eyes(history);
}

/// Takes one demanded receipt out of a good history: the checker must miss it.
fn expect_sharp_eyes(mut history: History) {
    let demanded = delivery::demanded(&View::of(&history));
    eprintln!("{} events, {} receipts were demanded, none was missed", history.events.len(), demanded.len());
    let &(session, taken) = demanded.first().expect("something was acknowledged and had to arrive");
    history.events.retain(|event| match event.what {
        What::Session(receiver, Deed::Received { message, .. }) => (receiver, message) != (session, taken),
        _ => true,
    });
    let violations = check(&history);
    assert_eq!(violations.len(), 1, "{}", Report { history: &history, violations: &violations });
    assert_eq!((violations[0].rule, violations[0].messages[0]), (Rule::Missed, taken));
}

fn fail(cluster: &Cluster, history: &History, violations: &[Violation]) -> ! {
    let directory = env::temp_dir().join(format!("rookery-cluster-{}-history", process::id()));
    cluster.save_logs(&directory);
    let events: Vec<_> = history.events.iter().map(ToString::to_string).collect();
    std::fs::write(directory.join("history.txt"), events.join("\n")).expect("the history can be written");
    let report = Report { history, violations };
    let test = thread::current().name().unwrap_or_default().to_owned();
    panic!("{test}: {report}\nwhole history and logs of the nodes: {}", directory.display());
}
