//! The deployment files: valid manifests, and a cluster that is scaled and restarted as Kubernetes would.
//!
//! The work is done by Python programs beside this file, because their tools are: Helm and the schemas of Kubernetes come
//! from PyPI, and the devices are Paho's.

use std::env;
use std::path::Path;
use std::process::Command;

use rookery_harness::janitor;

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

fn python(program: &str, arguments: &[&str]) {
    let Some(python) = env::var_os("ROOKERY_TEST_PYTHON") else {
        panic!(
            "ROOKERY_TEST_PYTHON must name a Python with the packages of tests/clients/requirements.txt: use ./tests/run"
        );
    };
    let program = Path::new(REPOSITORY).join("tests/deploy").join(program);
    let output = Command::new(python).arg(&program).args(arguments).output().expect("Python runs");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{text}\n{complaint}", program.display());
}

fn path(relative: &str) -> String {
    Path::new(REPOSITORY).join(relative).display().to_string()
}

#[test]
fn the_manifests_are_valid_and_agree_with_each_other() {
    python("manifests.py", &[&path("deploy/helm/rookery"), &path("deploy/kustomize"), REPOSITORY]);
}

#[test]
fn nodes_come_and_go_as_the_manifests_say_and_nothing_acknowledged_is_lost() {
    let directory = janitor::new_directory("kubelet-").display().to_string();
    let chart = path("deploy/helm/rookery");
    let mut arguments = vec![env!("CARGO_BIN_EXE_rookery"), &chart, &directory];
    if env::var_os("ROOKERY_DEPLOY_FULL").is_some() {
        arguments.push("--full");
    }
    python("scaling.py", &arguments);
}
