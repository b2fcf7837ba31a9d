//! Cleans up after the test process, however it ends.
//!
//! Statics are not dropped at exit and a killed process drops nothing, so a small shell reads a pipe whose
//! other end only this process holds: at its end the shell kills the nodes that are still registered, each by
//! its process id, deletes the network namespaces and removes the working directory.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, OnceLock},
};

const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=" "
namespaces=""
bridges=""
while read -r verb what; do
  case "$verb" in
    guard) pids="$pids$what " ;;
    release) pids=$(printf '%s' "$pids" | sed "s/ $what / /") ;;
    namespace) namespaces="$namespaces $what" ;;
    bridge) bridges="$bridges $what" ;;
  esac
done
for pid in $pids; do kill -KILL "$pid" 2>/dev/null; done
for namespace in $namespaces; do ip netns delete "$namespace" 2>/dev/null; done
for bridge in $bridges; do ip link delete "$bridge" 2>/dev/null; done
for mount in "$1"/disk-*; do umount -l "$mount" 2>/dev/null; done
rm -rf "$1" 2>/dev/null || { sleep 1; rm -rf "$1"; }
"#;

struct Janitor {
    directory: PathBuf,
    pipe: Mutex<ChildStdin>,
    _shell: Child,
}

fn janitor() -> &'static Janitor {
    static JANITOR: OnceLock<Janitor> = OnceLock::new();
    JANITOR.get_or_init(|| {
        let directory = tempfile::Builder::new()
            .prefix("rookery-tests-")
            .tempdir()
            .expect("the temporary directory is writable")
            .keep();
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "janitor"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh can be started");
        let pipe = Mutex::new(shell.stdin.take().expect("standard input was asked for"));
        Janitor { directory, pipe, _shell: shell }
    })
}

/// The working directory of this test process, removed when the process ends.
pub fn directory() -> &'static Path {
    &janitor().directory
}

/// A new empty directory inside [`directory`].
pub fn new_directory(prefix: &str) -> PathBuf {
    tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in(directory())
        .expect("the working directory is writable")
        .keep()
}

/// Has the process killed if this one ends before [`release`].
pub fn guard(process_id: u32) {
    tell("guard", &process_id.to_string());
}

/// Forgets a process that was waited for.
pub fn release(process_id: u32) {
    tell("release", &process_id.to_string());
}

/// Has the network namespace deleted when this process ends.
pub fn guard_namespace(name: &str) {
    tell("namespace", name);
}

/// Has the network bridge deleted when this process ends.
pub fn guard_bridge(name: &str) {
    tell("bridge", name);
}

fn tell(verb: &str, what: &str) {
    let mut pipe = janitor().pipe.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    writeln!(pipe, "{verb} {what}").expect("the janitor reads until this process ends");
}
