//! The tests. One runs at a time: each needs the cores for its nodes. Those that leave a cluster as it was share one.

mod delivery;
mod disk;
mod five;
mod joining;
mod leader;
mod membership;
mod minority;
mod pause;
mod propagation;
mod random;
mod rebalance;
mod restart;
mod revocation;
mod site;
mod storage;
mod storm;
mod takeover;
mod upgrade;

use std::{
    env, process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use rookery_harness::cluster::{Cluster, Options, network::Way};

use crate::BINARY;

/// Runs a test on the shared cluster of three nodes, and heals it afterwards. A cluster on which a test has failed is
/// not used again.
fn on_three_nodes(test: impl FnOnce(&Arc<Cluster>)) {
    static SHARED: Mutex<Option<Arc<Cluster>>> = Mutex::new(None);
    in_turn(|| {
        let shared = || SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = shared().take();
        let cluster = kept.unwrap_or_else(|| {
            // Tests wait for the moment at which a fenced node drops its clients; the default is half a minute.
            let environment = vec![("ROOKERY_CLUSTER__FENCED_DROP_S".to_owned(), "8".to_owned())];
            start(Options { environment, ..Options::three(Way::of_choice()) })
        });
        let _logs = KeptLogs(Arc::clone(&cluster));
        test(&cluster);
        cluster.heal();
        *shared() = Some(cluster);
    });
}

/// Runs a test on a cluster of its own.
fn on_own_nodes(options: Options, test: impl FnOnce(&Arc<Cluster>)) {
    in_turn(|| {
        let cluster = start(options);
        let _logs = KeptLogs(Arc::clone(&cluster));
        test(&cluster);
    });
}

fn start(options: Options) -> Arc<Cluster> {
    Arc::new(Cluster::start(BINARY, options))
}

fn in_turn(test: impl FnOnce()) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    test();
}

/// Keeps the nodes' logs when the test fails, and says where.
struct KeptLogs(Arc<Cluster>);

impl Drop for KeptLogs {
    fn drop(&mut self) {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        if thread::panicking() {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let directory = env::temp_dir().join(format!("rookery-cluster-{}-{number}", process::id()));
            self.0.save_logs(&directory);
            eprintln!("the logs of the nodes are in {}", directory.display());
        }
    }
}

/// A number from the environment.
fn variable(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name} must be a number (got {text})"))
    })
}
