//! The rules of the configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::raw::{Raw, RawLimits};
use super::{Config, Limits, Listen, Log, LogFormat, Node, Problem, Problems, Security};

/// Turns the tree as read into the typed one, or reports everything that is wrong with it.
pub fn validate(raw: &Raw) -> Result<Config, Problems> {
    let mut found = Found::default();
    let config = Config {
        node: Node {
            name: found.node_name(&raw.node.name),
            data_dir: found.path("node.data_dir", &raw.node.data_dir),
            connection_threads: threads(raw.node.connection_threads),
            grace_period: Duration::from_secs(raw.node.grace_period_s),
        },
        listen: Listen {
            mqtts: found.address("listen.mqtts", &raw.listen.mqtts),
            mqtt: found.address("listen.mqtt", &raw.listen.mqtt),
            api: found.address("listen.api", &raw.listen.api),
            ops: found.address("listen.ops", &raw.listen.ops),
        },
        security: found.security(raw),
        limits: found.limits(&raw.limits),
        log: Log { format: found.log_format(&raw.log.format), filter: raw.log.filter.clone() },
    };
    found.distinct_addresses(&config.listen);
    for flag in &raw.cluster_flags {
        found.add(flag, "given", "this version runs a single node; leave the flags of clusters out");
    }
    if found.0.is_empty() { Ok(config) } else { Err(Problems(found.0)) }
}

fn threads(configured: u16) -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if configured > 0 { configured } else { u16::try_from(cores).unwrap_or(u16::MAX) }
}

#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, key: &str, value: impl ToString, rule: impl Into<String>) {
        self.0.push(Problem { key: key.into(), value: value.to_string(), rule: rule.into() });
    }

    fn node_name(&mut self, name: &str) -> String {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 63 || !name.chars().all(fits) {
            self.add("node.name", name, "must have 1 to 63 characters of [a-zA-Z0-9._-]");
        }
        name.into()
    }

    fn path(&mut self, key: &str, value: &str) -> PathBuf {
        if value.is_empty() {
            self.add(key, "\"\"", "must not be empty");
        }
        PathBuf::from(value)
    }

    fn address(&mut self, key: &str, value: &str) -> Option<SocketAddr> {
        if value == "off" {
            return None;
        }
        let parsed = value.parse().ok();
        if parsed.is_none() {
            self.add(key, value, "must be ADDRESS:PORT, such as 127.0.0.1:8883 or [::]:8883, or off");
        }
        parsed
    }

    fn distinct_addresses(&mut self, listen: &Listen) {
        let all = [
            ("listen.mqtts", listen.mqtts),
            ("listen.mqtt", listen.mqtt),
            ("listen.api", listen.api),
            ("listen.ops", listen.ops),
        ];
        for (position, (key, address)) in all.iter().enumerate() {
            let Some(address) = address.filter(|address| address.port() != 0) else { continue };
            if let Some((other, _)) = all[..position].iter().find(|(_, earlier)| *earlier == Some(address)) {
                self.add(key, address, format!("must differ from {other}"));
            }
        }
    }

    fn security(&mut self, raw: &Raw) -> Security {
        let tls = match (&raw.security.tls_cert, &raw.security.tls_key) {
            (Some(certificate), Some(key)) => {
                Some((self.file("security.tls_cert", certificate), self.file("security.tls_key", key)))
            }
            (None, None) => None,
            (Some(certificate), None) => {
                self.add("security.tls_cert", certificate, "needs security.tls_key too");
                None
            }
            (None, Some(key)) => {
                self.add("security.tls_key", key, "needs security.tls_cert too");
                None
            }
        };
        let admin_token_file =
            raw.security.admin_token_file.as_ref().map(|file| self.file("security.admin_token_file", file));
        Security { tls, tls_names: raw.security.tls_names.clone(), admin_token_file }
    }

    fn file(&mut self, key: &str, value: &str) -> PathBuf {
        let path = PathBuf::from(value);
        if let Err(error) = std::fs::File::open(&path) {
            self.add(key, value, format!("must name a file that can be read: {error}"));
        } else if !path.is_file() {
            self.add(key, value, "must name a file, not a directory");
        }
        path
    }

    fn log_format(&mut self, value: &str) -> LogFormat {
        match value {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            other => {
                self.add("log.format", other, "must be text or json");
                LogFormat::Text
            }
        }
    }

    fn at_least<T: PartialOrd + Copy + std::fmt::Display>(&mut self, key: &str, value: T, least: T) -> T {
        if value < least {
            self.add(key, value, format!("must be at least {least}"));
        }
        value
    }

    fn limits(&mut self, raw: &RawLimits) -> Limits {
        let in_flight_messages_max = u16::try_from(raw.in_flight_messages_max).ok().filter(|n| *n > 0);
        if in_flight_messages_max.is_none() {
            let rule = "must be 1 to 65535, the number of packet identifiers";
            self.add("limits.in_flight_messages_max", raw.in_flight_messages_max, rule);
        }
        if raw.payload_bytes_max > PAYLOAD_BYTES_LARGEST {
            let rule = format!("must be at most {PAYLOAD_BYTES_LARGEST}");
            self.add("limits.payload_bytes_max", raw.payload_bytes_max, rule);
        }
        let seconds = Duration::from_secs;
        Limits {
            connections_max: self.at_least("limits.connections_max", raw.connections_max, 1),
            handshakes_max: self.at_least("limits.handshakes_max", raw.handshakes_max, 1),
            handshake_timeout: seconds(self.at_least("limits.handshake_timeout_s", raw.handshake_timeout_s, 1)),
            connect_timeout: seconds(self.at_least("limits.connect_timeout_s", raw.connect_timeout_s, 1)),
            connect_bytes_max: self.at_least("limits.connect_bytes_max", raw.connect_bytes_max, 1024),
            payload_bytes_max: self.at_least("limits.payload_bytes_max", raw.payload_bytes_max, 1),
            subscriptions_max: self.at_least("limits.subscriptions_max", raw.subscriptions_max, 1),
            in_flight_messages_max: in_flight_messages_max.unwrap_or(1),
            queue_messages_max: self.at_least("limits.queue_messages_max", raw.queue_messages_max, 1),
            queue_bytes_max: self.at_least("limits.queue_bytes_max", raw.queue_bytes_max, MIN_QUEUE_BYTES),
            outbox_bytes_max: self.at_least("limits.outbox_bytes_max", raw.outbox_bytes_max, MIN_QUEUE_BYTES),
            outboxes_bytes_max: self.at_least("limits.outboxes_bytes_max", raw.outboxes_bytes_max, MIN_QUEUE_BYTES),
            redelivery_interval: seconds(raw.redelivery_interval_s),
            storing_messages_max: self.at_least("limits.storing_messages_max", raw.storing_messages_max, 1),
            stored_messages_per_subscribe_max: raw.stored_messages_per_subscribe_max,
            kind_wildcard_covers_permanent: raw.kind_wildcard_covers_permanent,
            retain_flag_on_stored: raw.retain_flag_on_stored,
        }
    }
}

/// A queue must hold one message of the largest size.
const MIN_QUEUE_BYTES: usize = 512 * 1024;

/// Well below what the remaining length of MQTT can say, and what one read buffer holds.
const PAYLOAD_BYTES_LARGEST: usize = 4 * 1024 * 1024;
