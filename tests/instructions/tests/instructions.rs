//! Compares the instructions per message of each workload with those that are written down in `counts.json`.
//!
//! Instructions, because they are the same on a busy machine and on an idle one. A count that rises by more than
//! [`TOLERANCE_PERCENT`] fails the test: either the change that did it is worth it, or it is a mistake. One that falls
//! by more fails it too, so that what was gained is not lost again unseen. `UPDATE_COUNTS=1` writes the file anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Beyond this a count has changed. Runs of one build differ by less than 1 %, compilers by some more.
const TOLERANCE_PERCENT: u64 = 8;

/// Instructions per message by workload, by architecture.
type Counts = BTreeMap<String, BTreeMap<String, u64>>;

#[test]
fn the_hot_path_takes_as_many_instructions_as_before() {
    let program = build();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.json");
    let text = std::fs::read_to_string(&path).expect("counts.json can be read");
    let mut counts: Counts = serde_json::from_str(&text).expect("counts.json is as this test writes it");
    let measured: BTreeMap<String, u64> = workloads(&program)
        .into_iter()
        .map(|(name, messages)| (name.clone(), count(&program, &name, messages)))
        .collect();
    if std::env::var_os("UPDATE_COUNTS").is_some() {
        counts.insert(std::env::consts::ARCH.to_owned(), measured);
        let text = serde_json::to_string_pretty(&counts).expect("counts are text and numbers") + "\n";
        std::fs::write(&path, text).expect("counts.json can be written");
        return;
    }
    let Some(expected) = counts.get(std::env::consts::ARCH) else {
        // Who changes something else there must not have to measure first; that all workloads run was checked.
        eprintln!(
            "no counts for {}, nothing is compared: write them with UPDATE_COUNTS=1",
            std::env::consts::ARCH
        );
        return;
    };
    let known: Vec<_> = expected.keys().collect();
    assert_eq!(measured.keys().collect::<Vec<_>>(), known, "other workloads than in counts.json");
    let changed: Vec<String> = measured
        .iter()
        .filter_map(|(name, count)| {
            let before = expected[name];
            let change = count.abs_diff(before) * 100;
            (change > before * TOLERANCE_PERCENT)
                .then(|| format!("{name}: {count} instructions per message, {before} before"))
        })
        .collect();
    assert!(
        changed.is_empty(),
        "the hot path has changed by more than {TOLERANCE_PERCENT} %:\n{}\nIf that is meant (or the compiler is another \
         one), write the new counts with UPDATE_COUNTS=1 and say why in the commit.",
        changed.join("\n")
    );
}

/// Builds the workloads with the profile `counted`.
fn build() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies in the target directory");
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--profile",
            "counted",
            "--package",
            "rookery-instructions",
            "--target-dir",
        ])
        .arg(target)
        // Valgrind hides from programs where the kernel has put its clock, which this crate insists on otherwise.
        .env("RUSTFLAGS", "--cfg=rustix_use_libc")
        .current_dir(workspace)
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the workloads cannot be built");
    target.join("counted/hot-path")
}

/// The workloads with their numbers of messages.
fn workloads(program: &Path) -> Vec<(String, u64)> {
    let output = Command::new(program).output().expect("the program runs");
    let text = String::from_utf8(output.stdout).expect("names are ASCII");
    let line = |line: &str| {
        let (name, messages) = line.split_once(' ').expect("name and number");
        (name.to_owned(), messages.parse().expect("a number"))
    };
    text.lines().map(line).collect()
}

/// Instructions per message of one workload.
fn count(program: &Path, workload: &str, messages: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*hot_path*measured*"])
        .arg(program)
        .arg(workload)
        // One instruction that copies a whole buffer would be counted once for each byte.
        .env("GLIBC_TUNABLES", "glibc.cpu.x86_rep_movsb_threshold=1073741824")
        .output()
        .expect("valgrind runs: the Debian package valgrind has it");
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{workload} failed:\n{report}");
    let collected = report.lines().find_map(|line| line.split_once("Collected : "));
    let (_, total) = collected.unwrap_or_else(|| panic!("no count of {workload}:\n{report}"));
    let total: u64 = total.trim().parse().expect("a number");
    assert!(total > 0, "nothing of {workload} was counted:\n{report}");
    total / messages
}
