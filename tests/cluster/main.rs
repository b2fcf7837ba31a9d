//! Several nodes under attack: real processes, faults between them, and a history of all that clients saw, which is
//! checked against the promises.
//!
//! [`history`] takes down what happens, [`checker`] judges it, [`workload`] makes things happen, [`nemesis`] breaks
//! nodes, [`scenarios`] are the tests. Variables: `ROOKERY_CLUSTER_NETWORK` (`netns` or `proxy`), and of the random run
//! `ROOKERY_CLUSTER_SEED`, `ROOKERY_CLUSTER_SECONDS`, `ROOKERY_CLUSTER_NODES`; of the subscribe-then-publish loop
//! `ROOKERY_CLUSTER_ITERATIONS`.

mod checker;
mod history;
mod nemesis;
mod scenarios;
mod workload;

const BINARY: &str = env!("CARGO_BIN_EXE_rookery");
