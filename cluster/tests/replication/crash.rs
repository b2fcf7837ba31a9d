//! `kill -9` at any moment loses nothing that was acknowledged.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use rand::Rng;

use crate::register::{command, options, start};

const DIR_VARIABLE: &str = "ROOKERY_CLUSTER_CRASH_DIR";
const FIRST_VARIABLE: &str = "ROOKERY_CLUSTER_CRASH_FIRST";
const ROUNDS: u64 = 8;
const PROPOSERS: u64 = 8;

/// The process that is killed: proposes for ever and prints each number once it is acknowledged. Does nothing when it
/// is run as a test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Ok(dir) = std::env::var(DIR_VARIABLE) else { return };
    let first: u64 = std::env::var(FIRST_VARIABLE).unwrap().parse().unwrap();
    let mut small = options(dir.as_ref());
    // Snapshots and purges happen often, so that kills hit them too.
    small.snapshot_entries = 100;
    small.kept_entries = 10;
    let (node, _) = start(small).await;
    let mut proposers = Vec::new();
    for lane in 0..PROPOSERS {
        let proposer = node.proposer();
        proposers.push(tokio::spawn(async move {
            for number in (first + lane..).step_by(PROPOSERS as usize) {
                proposer.propose(command(number, 8 + (number % 4_000) as usize)).await.unwrap();
                let line = format!("acknowledged {number}\n");
                std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
            }
        }));
    }
    for proposer in proposers {
        proposer.await.unwrap();
    }
}

#[test]
fn kill_9_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    let mut rng = rand::rng();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::victim", "--nocapture"])
            .env(DIR_VARIABLE, dir.path())
            .env(FIRST_VARIABLE, (round * 10_000_000).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The kill comes at any moment after the first few acknowledgements; the reader then sees all the rest.
        let kill_after = rng.random_range(1..400);
        let pause = Duration::from_micros(rng.random_range(0..3_000));
        println!("round {round}: kill after {kill_after} acknowledgements and {pause:?}");
        let mut seen = 0;
        for line in lines {
            let Some(number) = line.unwrap().strip_prefix("acknowledged ").map(str::to_owned) else {
                continue;
            };
            acknowledged.push(number.parse::<u64>().unwrap());
            seen += 1;
            if seen == kill_after {
                std::thread::sleep(pause);
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= kill_after, "the process ended by itself");
        check(dir.path(), &acknowledged);
    }
}

/// Opens the directory and looks for every acknowledged number.
fn check(dir: &std::path::Path, acknowledged: &[u64]) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (node, register) = start(options(dir)).await;
        let lost: Vec<_> = acknowledged.iter().filter(|number| !register.contains(**number)).collect();
        assert!(
            lost.is_empty(),
            "{} of {} acknowledged commands are lost: {lost:?}",
            lost.len(),
            acknowledged.len()
        );
        assert!(register.repeated().is_empty(), "applied twice: {:?}", register.repeated());
        node.shutdown().await;
    });
}
