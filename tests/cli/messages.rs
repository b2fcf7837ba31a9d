//! `rookery mqtt publish` and `subscribe`.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};

use rookery_harness::{certificates, janitor};

use crate::{Folder, field, id, node, text};

/// A registry and a device with certificates, and where their files are.
struct Pair {
    folder: Folder,
    registry: String,
    device: String,
    registry_files: [String; 4],
    device_files: [String; 4],
}

fn files(certificate: &certificates::Certificate) -> [String; 4] {
    let path = |path: &std::path::Path| path.to_str().expect("the path is text").to_owned();
    ["--cert".into(), path(&certificate.path), "--key".into(), path(&certificate.key_path)]
}

fn pair() -> Pair {
    let folder = Folder::new();
    let (for_registry, for_device) = (certificates::p256(), certificates::p256());
    let file = |certificate: &certificates::Certificate| {
        certificate.path.to_str().expect("the path is text").to_owned()
    };
    let registry = folder.json(&["registry", "create", "plant", "--certificate-file", &file(&for_registry)]);
    let registry = id(&registry);
    let device = folder.json(&[
        "device",
        "create",
        "pump",
        "--registry-id",
        &registry,
        "--certificate-file",
        &file(&for_device),
    ]);
    let device = id(&device);
    Pair { folder, registry, device, registry_files: files(&for_registry), device_files: files(&for_device) }
}

impl Pair {
    /// Starts a subscriber of the registry and waits until it is subscribed.
    fn subscriber(&self, filter: &str, extra: &[&str]) -> Child {
        let mut arguments = vec!["mqtt", "subscribe", "-q", "1", "-t", filter];
        arguments.extend(self.registry_files.iter().map(String::as_str));
        arguments.extend(extra);
        let mut command = self.folder.command(&arguments);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        janitor::guard(child.id());
        let mut line = String::new();
        let stderr = child.stderr.as_mut().expect("standard error was asked for");
        BufReader::new(stderr).read_line(&mut line).expect("standard error can be read");
        assert_eq!(line, "subscribed\n");
        child
    }

    fn publish(&self, topic: &str, extra: &[&str]) -> Vec<String> {
        let mut arguments = vec!["mqtt".to_owned(), "publish".into(), "-t".into(), topic.into()];
        arguments.extend(self.device_files.clone());
        arguments.extend(extra.iter().map(|argument| (*argument).to_owned()));
        arguments
    }
}

/// What a subscriber printed until it ended.
fn printed(mut child: Child) -> String {
    let mut output = Vec::new();
    let mut stdout = child.stdout.take().expect("standard output was asked for");
    stdout.read_to_end(&mut output).expect("standard output can be read");
    assert!(child.wait().expect("the program ends").success());
    janitor::release(child.id());
    text(&output)
}

#[test]
fn a_message_travels_by_certificate() {
    let pair = pair();
    let topic = format!("$devices/{}/events", pair.device);
    let subscriber = pair.subscriber(&format!("{topic}/#"), &["--count", "1"]);
    let arguments = pair.publish(&topic, &["-m", "warm", "-q", "1"]);
    pair.folder.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(printed(subscriber), "warm\n");
}

#[test]
fn every_line_of_standard_input_is_a_message_and_details_show_topics() {
    let pair = pair();
    let topic = format!("$devices/{}/events", pair.device);
    let subscriber = pair.subscriber(&topic, &["--count", "3", "--details"]);
    let arguments = pair.publish("$me/device/events", &["-l", "-q", "at-least-once"]);
    pair.folder
        .run_with_input(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), "one\ntwo\nthree\n");
    let output = printed(subscriber);
    let payloads: Vec<&str> = output.lines().filter_map(|line| line.strip_prefix("payload: ")).collect();
    assert_eq!(payloads, ["one", "two", "three"]);
    assert_eq!(output.matches(&format!("topic: {topic}\nqos: 1\nmessage_id: ")).count(), 3, "{output}");
}

#[test]
fn a_password_and_a_file_do_as_well_and_json_is_one_object_per_line() {
    let pair = pair();
    let topic = format!("$devices/{}/events", pair.device);
    let added =
        pair.folder.json(&["device", "password", "add", "--device-id", &pair.device, "--generate-password"]);
    let subscriber = pair.subscriber(&topic, &["--count", "1", "--format", "json"]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("payload");
    std::fs::write(&file, b"\xff\x00").unwrap();
    pair.folder.run(&[
        "mqtt",
        "publish",
        "-u",
        &pair.device,
        "-P",
        &field(&added, "password"),
        "-t",
        &topic,
        "-f",
        file.to_str().unwrap(),
        "-q",
        "1",
    ]);
    let message: serde_json::Value = serde_json::from_str(&printed(subscriber)).unwrap();
    assert_eq!(message["payload_base64"], "/wA=");
    assert_eq!(message["topic"], topic);
}

#[test]
fn refusals_are_explained() {
    let pair = pair();
    let error =
        pair.folder.fail(&["mqtt", "publish", "-u", &pair.device, "-P", "wrong", "-t", "t", "-m", "m"]);
    assert!(error.contains("user name or password is wrong") && error.contains("code 4"), "{error}");
    let stranger = files(&certificates::p256());
    let arguments =
        [&["mqtt", "subscribe", "-t", "t"][..], &stranger.each_ref().map(String::as_str)].concat();
    let error = pair.folder.fail(&arguments);
    assert!(error.contains("code 5"), "{error}");
    let foreign = ["mqtt", "subscribe", "-t", "$devices/are00000000000000000/events"];
    let arguments = [&foreign[..], &pair.device_files.each_ref().map(String::as_str)].concat();
    let error = pair.folder.fail(&arguments);
    assert!(error.contains("refused the subscription"), "{error}");
    let error =
        pair.folder.fail(&["mqtt", "publish", "-u", &pair.registry, "-P", "x", "-t", "a/#", "-m", "m"]);
    assert!(error.contains("--topic"), "{error}");
    // With QoS 0 too: it used to end with exit code 0 although the server had thrown the message away.
    let foreign = pair.publish("$devices/are00000000000000000/events", &["-m", "m"]);
    let error = pair.folder.fail(&foreign.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(error.contains("closed the connection"), "{error}");
    let plain = node().address("mqtts").to_string();
    let error = pair.folder.fail(&["mqtt", "subscribe", "-t", "t", "--plain", "--server", &plain]);
    assert!(error.contains("connection") || error.contains("MQTT"), "{error}");
}
