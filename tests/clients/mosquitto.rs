//! mosquitto_pub and mosquitto_sub, as users paste them.

use std::process::{Child, Command, Stdio};

use rookery_harness::{
    fixture::{Fixture, PASSWORD, Role},
    janitor,
    log::Lines,
    runtime::run,
};

use crate::{
    exchange::{Credential, certificate},
    fixture,
};

/// Arguments that name the node and the identity.
async fn arguments(fixture: &Fixture<'_>, role: Role, credential: Credential) -> Vec<String> {
    let text = |path: std::path::PathBuf| path.to_str().expect("the path is text").to_owned();
    let port = fixture.node.address("mqtts").port().to_string();
    let mut arguments = vec!["-h".into(), "localhost".into(), "-p".into(), port];
    arguments.extend(["--cafile".into(), text(fixture.node.ca_path())]);
    match credential {
        Credential::Certificate => {
            let certificate = certificate(fixture, role).await;
            arguments.extend([
                "--cert".into(),
                text(certificate.path),
                "--key".into(),
                text(certificate.key_path),
            ]);
        }
        Credential::Password => {
            let added = fixture.api.add_password(fixture.entity(role), PASSWORD).await;
            added.expect("the password is added");
            arguments.extend(["-u".into(), fixture.id(role).into(), "-P".into(), PASSWORD.into()]);
        }
    }
    arguments
}

/// A running mosquitto_sub, subscribed, that ends after `count` messages.
struct Subscriber {
    child: Child,
    output: Lines,
}

impl Subscriber {
    fn start(arguments: &[String], filter: &str, count: usize, extra: &[&str]) -> Self {
        // Without a terminal mosquitto_sub keeps its lines back; stdbuf has them written one by one.
        let mut child = Command::new("stdbuf")
            .args(["-oL", "mosquitto_sub", "-d", "-v", "-W", "60", "-C", &count.to_string(), "-t", filter])
            .args(extra)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("mosquitto_sub is installed (tests/run does it)");
        janitor::guard(child.id());
        let output = Lines::collect(child.stdout.take().expect("standard output was asked for"));
        let subscriber = Self { child, output };
        let subscribed = subscriber.output.wait_for(|line| line.starts_with("Subscribed "));
        assert!(subscribed.is_some(), "mosquitto_sub:\n{}", subscriber.output.tail(20));
        subscriber
    }

    /// Waits for the end; all messages have come.
    fn finish(mut self) -> Lines {
        let status = self.child.wait().expect("it is our child");
        janitor::release(self.child.id());
        assert!(status.success(), "mosquitto_sub: {status}\n{}", self.output.tail(20));
        // The collector may still be reading the last lines.
        self.output.wait_for(|_| false);
        self.output
    }
}

fn publish(arguments: &[String], topic: &str, payload: &str) {
    let output = Command::new("mosquitto_pub")
        .args(["-q", "1", "-t", topic, "-m", payload])
        .args(arguments)
        .output()
        .expect("mosquitto_pub is installed (tests/run does it)");
    assert!(output.status.success(), "mosquitto_pub: {}", String::from_utf8_lossy(&output.stderr));
}

fn exchange(credential: Credential) {
    let (device, registry, events, commands) = run(async {
        let fixture = fixture().await;
        (
            arguments(&fixture, Role::D1, credential).await,
            arguments(&fixture, Role::R, credential).await,
            fixture.expand("$devices/{D1}/events"),
            fixture.expand("$devices/{D1}/commands"),
        )
    });
    let backend = Subscriber::start(&registry, &events, 1, &["-q", "1"]);
    publish(&device, &events, "21.5");
    let expected = format!("{events} 21.5");
    assert!(backend.finish().all().contains(&expected));

    let listener = Subscriber::start(&device, &commands, 1, &["-q", "1"]);
    publish(&registry, &commands, "reboot");
    let expected = format!("{commands} reboot");
    assert!(listener.finish().all().contains(&expected));
}

#[test]
fn mosquitto_by_certificate() {
    exchange(Credential::Certificate);
}

#[test]
fn mosquitto_by_password() {
    exchange(Credential::Password);
}

#[test]
fn mosquitto_reads_a_stored_state_and_subscribes_with_qos_2() {
    let (device, registry, state) = run(async {
        let fixture = fixture().await;
        let device = arguments(&fixture, Role::D1, Credential::Password).await;
        let registry = arguments(&fixture, Role::R, Credential::Password).await;
        (device, registry, fixture.expand("$devices/{D1}/state"))
    });
    publish(&device, &state, "on");
    let backend = Subscriber::start(&registry, &state, 1, &["-q", "2"]);
    let output = backend.finish();
    assert!(output.all().contains(&format!("{state} on")), "{}", output.tail(20));
    assert!(
        output.all().iter().any(|line| line.ends_with("QoS 1") || line.contains(": 1")),
        "granted 1 (U-M3)"
    );
}

#[test]
fn mosquitto_is_told_of_a_refused_subscription_and_a_wrong_password() {
    let (device, foreign) = run(async {
        let fixture = fixture().await;
        let device = arguments(&fixture, Role::D1, Credential::Password).await;
        (device, fixture.expand("$devices/{D2}/commands"))
    });
    let output = Command::new("mosquitto_sub")
        .args(["-W", "5", "-t", &foreign])
        .args(&device)
        .output()
        .expect("mosquitto_sub is installed (tests/run does it)");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("All subscription requests were denied"), "{complaint}");

    let mut wrong = device;
    *wrong.last_mut().expect("the password is last") = "Wr0ngPasswordForDevice".into();
    let output = Command::new("mosquitto_pub").args(["-t", &foreign, "-m", "x"]).args(&wrong).output();
    let output = output.expect("mosquitto_pub is installed (tests/run does it)");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && complaint.contains("bad user name or password"), "{complaint}");
}
