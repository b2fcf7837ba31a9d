//! The demo's fleet: a registry with a password, a device with a certificate, a device with a password.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use prost_reflect::DynamicMessage;
use serde_json::json;

use super::{DemoError, say};
use crate::cli::arguments::ClientArguments;
use crate::cli::client::Client;
use crate::verify::generate;

const REGISTRIES: &str = "yandex.cloud.iot.devices.v1.RegistryService";
const DEVICES: &str = "yandex.cloud.iot.devices.v1.DeviceService";

/// Ids and credentials of the demo.
pub struct Fleet {
    /// The registry's id, its login.
    pub registry: String,
    /// Its password.
    pub registry_password: String,
    /// The device with a certificate.
    pub thermometer: String,
    /// Its certificate.
    pub thermometer_certificate: PathBuf,
    /// Its key.
    pub thermometer_key: PathBuf,
    /// The device with a password.
    pub valve: String,
    /// Its password.
    pub valve_password: String,
}

fn id_of(message: &DynamicMessage) -> String {
    let id = message.get_field_by_name("id");
    id.as_deref().and_then(prost_reflect::Value::as_str).unwrap_or_default().to_owned()
}

impl Fleet {
    /// Creates everything through the API.
    pub async fn create(client: &ClientArguments, data_dir: &Path) -> Result<Self, DemoError> {
        let mut client = Client::new(client)?;
        let (registry_password, valve_password) = (generate::password(), generate::password());
        let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let (thermometer_certificate, thermometer_key) =
            (data_dir.join("thermometer.pem"), data_dir.join("thermometer.key"));
        let write =
            |path: &Path, text: String| fs::write(path, text).map_err(DemoError::system("demo files"));
        write(&thermometer_certificate, certificate.cert.pem())?;
        write(&thermometer_key, certificate.signing_key.serialize_pem())?;

        let request = json!({"folder_id": "demo", "name": "greenhouse", "password": &*registry_password});
        let registry = id_of(&client.change(REGISTRIES, "Create", request, false).await?);
        let request = json!({
            "registry_id": registry, "name": "thermometer",
            "certificates": [{"certificate_data": certificate.cert.pem()}],
        });
        let thermometer = id_of(&client.change(DEVICES, "Create", request, false).await?);
        let request = json!({"registry_id": registry, "name": "valve", "password": &*valve_password});
        let valve = id_of(&client.change(DEVICES, "Create", request, false).await?);
        Ok(Self {
            registry,
            registry_password: registry_password.to_string(),
            thermometer,
            thermometer_certificate,
            thermometer_key,
            valve,
            valve_password: valve_password.to_string(),
        })
    }

    /// Says what there is.
    pub fn introduce(&self) -> Result<(), DemoError> {
        say(&format!("  registry greenhouse  {}  (logs in with a password)", self.registry))?;
        say(&format!("  device thermometer   {}  (logs in with a certificate)", self.thermometer))?;
        say(&format!("  device valve         {}  (logs in with a password)", self.valve))
    }

    /// Commands for another terminal.
    pub fn commands_to_paste(&self, data_dir: &Path, mqtts: SocketAddr, api: SocketAddr) -> String {
        let Self { registry, registry_password, thermometer, valve, valve_password, .. } = self;
        let server = format!(
            "-h {} -p {} --cafile {}",
            mqtts.ip(),
            mqtts.port(),
            data_dir.join("pki/ca.pem").display()
        );
        let (certificate, key) = (self.thermometer_certificate.display(), self.thermometer_key.display());
        let data_dir = data_dir.display();
        let rookery = std::env::current_exe().unwrap_or_else(|_| "rookery".into());
        let rookery = rookery.display();
        format!(
            "\nThe node stays up until Ctrl-C. Try in other terminals:\n\
             \n  # the back end listens to the telemetry of all devices\n  \
             mosquitto_sub {server} -u {registry} -P '{registry_password}' -q 1 -v -t '$devices/+/events/#'\n\
             \n  # the thermometer sends telemetry\n  \
             mosquitto_pub {server} --cert {certificate} --key {key} -q 1 -t '$devices/{thermometer}/events/temperature' -m 23.5\n\
             \n  # the valve waits for commands\n  \
             mosquitto_sub {server} -u {valve} -P '{valve_password}' -q 1 -v -t '$me/device/commands/#'\n\
             \n  # the back end sends it one\n  \
             mosquitto_pub {server} -u {registry} -P '{registry_password}' -q 1 -t '$devices/{valve}/commands/open' -m 40\n\
             \n  # the management API\n  \
             {rookery} device list --registry-id {registry} --data-dir {data_dir} --endpoint {api}\n"
        )
    }
}
