//! The plan of an exchange between a device and its registry, carried out by a foreign client.

use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rookery_harness::{
    certificates::{self, Certificate},
    fixture::{Fixture, PASSWORD, Role},
};
use serde_json::{Value, json};

/// How a foreign client shows who it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// By certificate, made by the vendor's recipe for the device.
    Certificate,
    /// By id and password.
    Password,
}

/// What a sample does in its own way; the defaults are those of the Python sample.
pub struct Plan {
    /// Host to connect to: a name (sent as server name) or an address (no server name is sent).
    pub host: &'static str,
    /// Whether the server certificate is verified.
    pub verifies: bool,
    /// Whether TLS 1.2 is the highest version.
    pub only_tls12: bool,
    /// Keep-alive in seconds.
    pub keep_alive_s: u16,
    /// Client identifiers of device and registry.
    pub client_ids: [&'static str; 2],
    /// Topic that the device publishes to, and filter of the registry.
    pub events: [&'static str; 2],
    /// Topic that the registry publishes to, and filter of the device.
    pub commands: [&'static str; 2],
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            host: "localhost",
            verifies: true,
            only_tls12: false,
            keep_alive_s: 60,
            client_ids: ["Test_Device_Client", "Test_Registry_Client"],
            events: ["$devices/{D1}/events", "$devices/{D1}/events"],
            commands: ["$devices/{D1}/commands", "$devices/{D1}/commands"],
        }
    }
}

impl Plan {
    /// Registers the credentials and writes the plan down for a script.
    pub async fn prepare(&self, fixture: &Fixture<'_>, credential: Credential) -> Value {
        let device = identity(fixture, Role::D1, credential).await;
        let registry = identity(fixture, Role::R, credential).await;
        let with = |mut identity: Value, client_id: &str, topic: &str, filter: &str| {
            identity["client_id"] = client_id.into();
            identity["topic"] = fixture.expand(topic).into();
            identity["filter"] = fixture.expand(filter).into();
            identity
        };
        json!({
            "host": self.host,
            "port": fixture.node.address("mqtts").port(),
            "ca": self.verifies.then(|| fixture.node.ca_path()),
            "tls12": self.only_tls12,
            "keep_alive_s": self.keep_alive_s,
            "device": with(device, self.client_ids[0], self.events[0], self.commands[1]),
            "registry": with(registry, self.client_ids[1], self.commands[0], self.events[1]),
        })
    }
}

async fn identity(fixture: &Fixture<'_>, role: Role, credential: Credential) -> Value {
    let id = fixture.id(role);
    match credential {
        Credential::Certificate => {
            let certificate = certificate(fixture, role).await;
            json!({"id": id, "password": null, "certificate": certificate.path, "key": certificate.key_path})
        }
        Credential::Password => {
            let added = fixture.api.add_password(fixture.entity(role), PASSWORD).await;
            added.expect("the password is added");
            json!({"id": id, "password": PASSWORD, "certificate": null, "key": null})
        }
    }
}

/// RSA-2048, the commonest kind in the field. (The vendor's RSA-4096 recipe has its own test in the mqtt suite.)
pub async fn certificate(fixture: &Fixture<'_>, role: Role) -> Certificate {
    let certificate =
        tokio::task::spawn_blocking(|| certificates::rsa(2048)).await.expect("openssl made a certificate");
    let added = fixture.api.add_certificate(fixture.entity(role), &certificate.pem).await;
    added.expect("the certificate is registered");
    certificate
}

/// Runs a script beside this file with the plan on its standard input; it must exit with 0.
pub fn run_script(name: &str, plan: &Value) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let interpreter =
        env::var_os("ROOKERY_TEST_PYTHON").map_or_else(|| root.join("tests/.venv/bin/python"), PathBuf::from);
    let mut child = Command::new(&interpreter)
        .arg(root.join("tests/clients").join(name))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{} does not start ({error}); tests/run sets it up", interpreter.display())
        });
    let mut input = child.stdin.take().expect("standard input was asked for");
    input.write_all(plan.to_string().as_bytes()).expect("the script reads its plan");
    drop(input);
    let output = child.wait_with_output().expect("the script ends");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} failed:\n{text}");
}
