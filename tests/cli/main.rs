//! The command line against a running node: what users type, and what they get on standard output,
//! standard error and as exit code (`spec/cli.md`).

mod backups;
mod credentials;
mod messages;
mod operators;
mod refusals;
mod resources;
mod shapes;

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rookery_harness::node::Node;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_rookery");

fn node() -> &'static Node {
    static NODE: OnceLock<Node> = OnceLock::new();
    NODE.get_or_init(|| Node::start(BINARY))
}

/// A name that no other test uses.
fn unique(word: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{word}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A folder of its own for one test, so that lists show only what the test made.
struct Folder {
    id: String,
}

impl Folder {
    fn new() -> Self {
        Self { id: unique("folder") }
    }

    /// A command of this folder, ready to run.
    fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = bare(arguments);
        command
            .env("ROOKERY_ENDPOINT", node().address("api").to_string())
            .env("ROOKERY_DATA_DIR", node().data_directory())
            .env("ROOKERY_MQTT_ADDRESS", node().address("mqtts").to_string())
            .env("ROOKERY_FOLDER_ID", &self.id);
        command
    }

    /// Runs a command that must succeed, and returns its standard output.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("the program starts");
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// As [`Folder::run`], with `--format json`, parsed.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--format", "json"]].concat());
        serde_json::from_str(&output).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output}"))
    }

    /// Runs a command that must fail with exit code 1, and returns its standard error.
    fn fail(&self, arguments: &[&str]) -> String {
        failed(&self.command(arguments).output().expect("the program starts"))
    }

    /// Runs a command with this standard input; it must succeed.
    fn run_with_input(&self, arguments: &[&str], input: &str) -> String {
        let mut command = self.command(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("standard input was asked for");
        stdin.write_all(input.as_bytes()).expect("the program reads its input");
        drop(stdin);
        let output = child.wait_with_output().expect("the program ends");
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Creates a registry and returns its id.
    fn registry(&self, name: &str) -> String {
        id(&self.json(&["registry", "create", name]))
    }
}

/// A command without any settings but those in its arguments.
fn bare<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).stdin(Stdio::null()).env_clear();
    command
}

fn failed(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty(), "a failed command prints no result: {}", text(&output.stdout));
    text(&output.stderr)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the output is text")
}

fn id(object: &Value) -> String {
    field(object, "id")
}

fn field(object: &Value, name: &str) -> String {
    object[name].as_str().unwrap_or_else(|| panic!("{name} is a text in {object}")).to_owned()
}

/// The keys of an object in the order of the output.
fn keys(output: &str) -> Vec<String> {
    let lines = output.lines().filter(|line| line.starts_with("  \"") && line.contains("\": "));
    lines.map(|line| line.split('"').nth(1).expect("the line has a key").to_owned()).collect()
}
