//! Cleans up after the test process, however it ends.
//!
//! Statics are not dropped at exit and a killed process drops nothing, so a small shell reads a pipe whose
//! other end only this process holds: at its end the shell kills the nodes that are still registered, each by
//! its process id, and removes the working directory.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Mutex, OnceLock},
};

const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=" "
while read -r verb pid; do
  case "$verb" in
    guard) pids="$pids$pid " ;;
    release) pids=$(printf '%s' "$pids" | sed "s/ $pid / /") ;;
  esac
done
for pid in $pids; do kill -KILL "$pid" 2>/dev/null; done
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
    tell("guard", process_id);
}

/// Forgets a process that was waited for.
pub fn release(process_id: u32) {
    tell("release", process_id);
}

fn tell(verb: &str, process_id: u32) {
    let mut pipe = janitor().pipe.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    writeln!(pipe, "{verb} {process_id}").expect("the janitor reads until this process ends");
}
