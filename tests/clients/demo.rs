//! `rookery demo`, and the lines that it prints for another terminal, run as they are printed.

use std::{
    env,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Instant,
};

use rookery_harness::{janitor, log::Lines, runtime::WAIT};

use crate::BINARY;

/// A child of this test, killed when the test ends.
struct Running {
    child: Child,
    output: Lines,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program is installed");
        janitor::guard(child.id());
        let output = Lines::collect(child.stdout.take().expect("standard output was asked for"));
        Self { child, output }
    }

    fn wait(&mut self) -> ExitStatus {
        let status = self.child.wait().expect("it is our child");
        janitor::release(self.child.id());
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only when the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        janitor::release(self.child.id());
    }
}

/// A shell in which a user pastes a line. Standard output is line-buffered, as on a terminal.
fn shell(line: &str) -> Command {
    let folder = Path::new(BINARY).parent().expect("a file is in a folder");
    let path = env::var("PATH").expect("there is a PATH");
    let mut command = Command::new("bash");
    command.args(["-c", &format!("exec stdbuf -oL {line}")]);
    command.env("PATH", format!("{}:{path}", folder.display()));
    command
}

fn pasted(line: &str) -> String {
    let output = shell(line).output().expect("bash is installed");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}:\n{complaint}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Pastes the subscription, then the publish until the subscription, which takes its time to start, shows it.
fn exchanged(subscribe: &str, publish: &str, expected: &str) {
    let subscriber = Running::start(&mut shell(subscribe));
    let deadline = Instant::now() + WAIT;
    while !subscriber.output.all().iter().any(|line| line == expected) {
        assert!(Instant::now() < deadline, "{expected:?} did not come to {subscribe}");
        pasted(publish);
    }
}

#[test]
fn printed_lines_work_in_another_terminal() {
    let mut demo = Running::start(Command::new(BINARY).arg("demo"));
    let last = demo.output.wait_for(|line| line.contains("device list "));
    let last = last.unwrap_or_else(|| panic!("the demo says:\n{}", demo.output.tail(40)));
    let lines: Vec<_> = demo.output.all().iter().map(|line| line.trim().to_owned()).collect();
    let of = |program: &str| -> Vec<_> { lines.iter().filter(|line| line.starts_with(program)).collect() };
    let (subscribes, publishes) = (of("mosquitto_sub "), of("mosquitto_pub "));
    assert_eq!((subscribes.len(), publishes.len()), (2, 2), "telemetry and a command");

    let topic = publishes[0].split('\'').nth(1).expect("the topic is quoted").to_owned();
    exchanged(subscribes[0], publishes[0], &format!("{topic} 23.5"));
    exchanged(subscribes[1], publishes[1], "$me/device/commands/open 40");
    let devices = pasted(last.trim());
    assert!(devices.contains("thermometer") && devices.contains("valve"), "{devices}");

    let data = last.split_whitespace().skip_while(|word| *word != "--data-dir").nth(1);
    let data = Path::new(data.expect("the line names the data directory")).to_owned();
    assert!(data.exists());
    let signalled = Command::new("sh").args(["-c", &format!("kill -s INT {}", demo.child.id())]).status();
    assert!(signalled.is_ok_and(|status| status.success()), "the demo still runs");
    assert_eq!(demo.wait().code(), Some(0), "Ctrl-C is how the demo ends");
    assert!(!data.exists(), "nothing is left behind");
}

#[test]
fn once_ends_by_itself_after_telemetry_and_a_command() {
    let output = Command::new(BINARY).args(["demo", "--once"]).output().expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("21.5") && text.contains("$me/device/commands/open  40"), "{text}");
}
