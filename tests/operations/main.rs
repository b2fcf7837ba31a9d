//! The pages of `docs/operations`: every command that they show is executed, and what they show of the output is compared.
//!
//! The work is done by `guide.py` beside this file. Each page gets machines of its own: loopback addresses that no other test
//! uses.

use std::env;
use std::path::Path;
use std::process::{self, Command};

use rookery_harness::janitor;

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// The second part of the addresses of the first page.
const ADDRESSES: usize = 100;

/// Pages in the order of the tests below, which gives them their addresses.
const PAGES: [&str; 9] =
    ["README", "install", "scale", "upgrade", "backup", "recover", "certificates", "metrics", "failures"];

fn execute(page: &str) {
    let python = env::var_os("ROOKERY_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let number = PAGES.iter().position(|known| *known == page).expect("the page is in the list");
    // Another run of the tests on this machine may be at the same page.
    let host = format!("127.{}.{}", ADDRESSES + number, process::id() % 250);
    let program = Path::new(REPOSITORY).join("tests/operations/guide.py");
    let directory = janitor::new_directory("operations-");
    let output = Command::new(python)
        .arg(&program)
        .arg(env!("CARGO_BIN_EXE_rookery"))
        .arg(&directory)
        .args([&host, page])
        .output()
        .expect("Python runs");
    let told = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{page}:\n{told}\n{complaint}");
}

#[test]
fn every_page_is_tested() {
    let pages = Path::new(REPOSITORY).join("docs/operations");
    let mut found: Vec<_> = pages
        .read_dir()
        .expect("the pages are there")
        .map(|entry| {
            entry.expect("it can be read").path().file_stem().unwrap_or_default().display().to_string()
        })
        .collect();
    let mut expected = PAGES.map(str::to_owned).to_vec();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn an_ordinary_look() {
    execute("README");
}

#[test]
fn install() {
    execute("install");
}

#[test]
fn scale() {
    execute("scale");
}

#[test]
fn upgrade() {
    execute("upgrade");
}

#[test]
fn back_up_and_restore() {
    execute("backup");
}

#[test]
fn recover_from_a_lost_majority() {
    execute("recover");
}

#[test]
fn renew_certificates() {
    execute("certificates");
}

#[test]
fn read_the_metrics() {
    execute("metrics");
}

#[test]
fn see_common_failures() {
    execute("failures");
}
