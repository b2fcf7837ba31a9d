//! The rules of the configuration.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::raw::{Raw, RawCluster, RawLimits, RawQuotas};
use super::{Cluster, Config, Limits, Listen, Log, LogFormat, Node, Problem, Problems, Security};
use crate::domain::quota::CatalogLimits;
use crate::domain::rate::Rate;

/// Turns the tree as read into the typed one, or reports everything that is wrong with it.
pub fn validate(raw: &Raw) -> Result<Config, Problems> {
    let mut found = Found::default();
    let config = Config {
        node: Node {
            name: found.node_name(&raw.node.name),
            data_dir: found.path("node.data_dir", &raw.node.data_dir),
            connection_threads: connection_threads(raw.node.connection_threads),
            grace_period: Duration::from_secs(raw.node.grace_period_s),
            drain_rate: found.drain_rate(raw.node.drain_rate),
        },
        listen: Listen {
            mqtts: found.address("listen.mqtts", &raw.listen.mqtts),
            mqtt: found.address("listen.mqtt", &raw.listen.mqtt),
            api: found.address("listen.api", &raw.listen.api),
            ops: found.address("listen.ops", &raw.listen.ops),
            peer: found.address("listen.peer", raw.listen.peer.as_deref().unwrap_or(PEER_DEFAULT)),
            peer_is_given: raw.listen.peer.is_some(),
        },
        cluster: found.cluster(&raw.cluster),
        security: found.security(raw),
        limits: found.limits(&raw.limits),
        quotas: found.quotas(&raw.quotas),
        log: Log { format: found.log_format(&raw.log.format), filter: found.log_filter(&raw.log.filter) },
    };
    found.distinct_addresses(&config.listen);
    found.cluster_needs_peers(&config);
    if found.0.is_empty() { Ok(config) } else { Err(Problems(found.0)) }
}

/// One core is left to Raft, handshakes and the kernel's share of the network, so that full connection threads do not
/// keep a leader from its heartbeats.
fn connection_threads(configured: u16) -> u16 {
    if configured > 0 {
        return configured;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(cores).unwrap_or(u16::MAX).saturating_sub(1).max(1)
}

#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, key: &str, value: impl std::fmt::Display, rule: impl Into<String>) {
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
            // The default may be taken, then the node runs without.
            ("listen.peer", listen.peer.filter(|_| listen.peer_is_given)),
        ];
        for (position, (key, address)) in all.iter().enumerate() {
            let Some(address) = address.filter(|address| address.port() != 0) else { continue };
            if let Some((other, _)) = all[..position].iter().find(|(_, earlier)| *earlier == Some(address)) {
                self.add(key, address, format!("must differ from {other}"));
            }
        }
    }

    fn cluster(&mut self, raw: &RawCluster) -> Cluster {
        if let Some(address) = &raw.advertise_peer {
            self.peer_address("cluster.advertise_peer", address);
        }
        let join: Vec<String> = raw.join.iter().filter(|address| !address.is_empty()).cloned().collect();
        for address in &join {
            self.peer_address("cluster.join", address);
        }
        if join.len() > JOIN_ADDRESSES_MAX {
            self.add("cluster.join", join.len(), format!("must have at most {JOIN_ADDRESSES_MAX} addresses"));
        }
        let expect_voters = raw.expect_voters.map(|voters| match voters {
            1 => 1,
            3 => 3,
            5 => 5,
            other => {
                self.add("cluster.expect_voters", other, "must be 1, 3 or 5");
                1
            }
        });
        let voters = raw.voters.map(|voters| match voters {
            3 => 3,
            5 => 5,
            other => {
                self.add("cluster.voters", other, "must be 3 or 5");
                3
            }
        });
        if !raw.vote && (join.is_empty() || expect_voters.is_some()) {
            let rule = "needs cluster.join, and cluster.expect_voters must not be set: such a node joins and founds nothing";
            self.add("cluster.vote", raw.vote, rule);
        }
        let join_secret_file =
            raw.join_secret_file.as_ref().map(|file| self.file("cluster.join_secret_file", file));
        let lease = self.between("cluster.lease_ms", raw.lease_ms, LEASE_MS);
        Cluster {
            advertise: raw.advertise_peer.clone(),
            join,
            expect_voters,
            voters,
            vote: raw.vote,
            join_secret_file,
            lease: Duration::from_millis(lease),
            fenced_drop: Duration::from_secs(self.between(
                "cluster.fenced_drop_s",
                raw.fenced_drop_s,
                FENCED_DROP_S,
            )),
            hold_format: raw.hold_format,
        }
    }

    /// What other nodes dial: a name or an address, and a port.
    fn peer_address(&mut self, key: &str, value: &str) {
        let host_and_port = value.rsplit_once(':');
        let is_valid = host_and_port.is_some_and(|(host, port)| {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
            let is_bracketed = host.starts_with('[') == host.ends_with(']');
            let has_port = port.parse::<u16>().is_ok_and(|port| port != 0);
            !host.is_empty() && host.chars().all(fits) && is_bracketed && has_port
        });
        if !is_valid {
            self.add(key, value, "must be HOST:PORT, such as node-1.example.com:8550 or [2001:db8::1]:8550");
        }
    }

    fn cluster_needs_peers(&mut self, config: &Config) {
        if config.listen.peer.is_none() && !config.cluster.founds_alone() {
            self.add("listen.peer", "off", "must be on for a node of a cluster");
        }
    }

    fn between(&mut self, key: &str, value: u64, range: RangeInclusive<u64>) -> u64 {
        if !range.contains(&value) {
            self.add(key, value, format!("must be {} to {}", range.start(), range.end()));
        }
        value
    }

    fn drain_rate(&mut self, rate: u32) -> u32 {
        self.between("node.drain_rate", rate.into(), 1..=100_000);
        rate
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

    fn log_filter(&mut self, value: &str) -> String {
        if let Err(error) = EnvFilter::try_new(value) {
            self.add(
                "log.filter",
                value,
                format!("must be a filter such as info,rookery::api=debug: {error}"),
            );
        }
        value.into()
    }

    fn quotas(&mut self, raw: &RawQuotas) -> CatalogLimits {
        let unlimited = |value: u64| (value > 0).then_some(value);
        let mut positive = |key, value| self.at_least(key, value, 1);
        CatalogLimits {
            registries_max: unlimited(raw.registries_max),
            devices_max: unlimited(raw.devices_max),
            brokers_max: unlimited(raw.brokers_max),
            clients_per_broker_max: unlimited(raw.clients_per_broker_max),
            certificates_per_entity_max: positive(
                "quotas.certificates_per_entity_max",
                raw.certificates_per_entity_max,
            ),
            passwords_per_entity_max: positive(
                "quotas.passwords_per_entity_max",
                raw.passwords_per_entity_max,
            ),
            permanent_topics_per_entity_max: raw.permanent_topics_per_entity_max,
            permanent_bytes_max: raw.permanent_bytes_max,
            tokens_max: positive("quotas.tokens_max", raw.tokens_max),
            operations_per_resource_max: positive(
                "quotas.operations_per_resource_max",
                raw.operations_per_resource_max,
            ),
            operations_max: positive("quotas.operations_max", raw.operations_max),
            ..CatalogLimits::default()
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
        for (key, bytes) in
            [("queue_bytes_max", raw.queue_bytes_max), ("outbox_bytes_max", raw.outbox_bytes_max)]
        {
            if bytes < raw.payload_bytes_max.saturating_add(TOPIC_BYTES_LARGEST) {
                let rule = "must hold one message: payload_bytes_max and 64 KiB for the topic";
                self.add(&format!("limits.{key}"), bytes, rule);
            }
        }
        let seconds = Duration::from_secs;
        Limits {
            connections_max: self.at_least("limits.connections_max", raw.connections_max, 1),
            handshakes_max: self.at_least("limits.handshakes_max", raw.handshakes_max, 1),
            handshake_timeout: seconds(self.at_least(
                "limits.handshake_timeout_s",
                raw.handshake_timeout_s,
                1,
            )),
            connect_timeout: seconds(self.at_least("limits.connect_timeout_s", raw.connect_timeout_s, 1)),
            connect_bytes_max: self.at_least("limits.connect_bytes_max", raw.connect_bytes_max, 1024),
            payload_bytes_max: self.at_least("limits.payload_bytes_max", raw.payload_bytes_max, 1),
            subscriptions_max: self.at_least("limits.subscriptions_max", raw.subscriptions_max, 1),
            in_flight_messages_max: in_flight_messages_max.unwrap_or(1),
            queue_messages_max: self.at_least("limits.queue_messages_max", raw.queue_messages_max, 1),
            queue_bytes_max: self.at_least("limits.queue_bytes_max", raw.queue_bytes_max, MIN_QUEUE_BYTES),
            outbox_bytes_max: self.at_least("limits.outbox_bytes_max", raw.outbox_bytes_max, MIN_QUEUE_BYTES),
            outboxes_bytes_max: self.at_least(
                "limits.outboxes_bytes_max",
                raw.outboxes_bytes_max,
                MIN_QUEUE_BYTES,
            ),
            redelivery_interval: seconds(raw.redelivery_interval_s),
            storing_messages_max: self.at_least("limits.storing_messages_max", raw.storing_messages_max, 1),
            node_backlog_bytes_max: self.at_least(
                "limits.node_backlog_bytes_max",
                raw.node_backlog_bytes_max,
                MIN_NODE_BACKLOG_BYTES,
            ),
            stored_messages_per_subscribe_max: raw.stored_messages_per_subscribe_max,
            device_rate: Rate::per_second(raw.device_messages_per_second_max),
            broker_rate: Rate::per_second(raw.broker_messages_per_second_max),
            kind_wildcard_covers_permanent: raw.kind_wildcard_covers_permanent,
            retain_flag_on_stored: raw.retain_flag_on_stored,
        }
    }
}

/// Where nodes reach each other by default. Nobody else does: a node that is given no address runs alone.
const PEER_DEFAULT: &str = "127.0.0.1:8550";

/// Addresses of nodes to join, at most.
const JOIN_ADDRESSES_MAX: usize = 64;

/// Bounds of the lease, in milliseconds. Nodes speak twice per second; shorter leases end by a busy moment.
const LEASE_MS: RangeInclusive<u64> = 1500..=60_000;

/// Bounds of the time after which a fenced node drops its clients, in seconds.
const FENCED_DROP_S: RangeInclusive<u64> = 0..=3600;

/// The least that a queue may be limited to.
const MIN_QUEUE_BYTES: usize = 64 * 1024;

/// The least that may be on the way to another node: a few chunks, the largest of which holds one message more than 64 KiB.
const MIN_NODE_BACKLOG_BYTES: usize = 2 * 1024 * 1024;

/// What a delivered name may take beside the payload.
const TOPIC_BYTES_LARGEST: usize = 64 * 1024;

/// A message to a permanent topic is one command of the log, which is smaller than 512 KiB.
const PAYLOAD_BYTES_LARGEST: usize = 480 * 1024;
