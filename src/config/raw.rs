//! Reading the sources into one tree of plain values.

use std::path::PathBuf;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Value};
use serde::{Deserialize, Serialize};

use super::Problem;
use crate::domain::quota::CatalogLimits;

/// Where the configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file given with `--config`.
    pub file: Option<PathBuf>,
    /// The flags.
    pub flags: Flags,
    /// Whether the environment counts; off in tests.
    pub environment: bool,
}

/// The flags of `rookery serve`; only those that were given.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--data-dir`
    pub data_dir: Option<String>,
    /// `--node-name`
    pub node_name: Option<String>,
    /// `--mqtts`
    pub mqtts: Option<String>,
    /// `--mqtt`
    pub mqtt: Option<String>,
    /// `--api`
    pub api: Option<String>,
    /// `--ops`
    pub ops: Option<String>,
    /// `--admin-token-file`
    pub admin_token_file: Option<String>,
    /// `--tls-cert`
    pub tls_cert: Option<String>,
    /// `--tls-key`
    pub tls_key: Option<String>,
    /// `--peer`
    pub peer: Option<String>,
    /// `--advertise-peer`
    pub advertise_peer: Option<String>,
    /// `--join`
    pub join: Option<Vec<String>>,
    /// `--expect-voters`
    pub expect_voters: Option<u32>,
    /// `--join-secret-file`
    pub join_secret_file: Option<String>,
}

/// The tree as read. Addresses and enumerations are texts, so that all mistakes can be reported together.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    pub node: RawNode,
    pub listen: RawListen,
    pub security: RawSecurity,
    pub limits: RawLimits,
    pub quotas: RawQuotas,
    pub cluster: RawCluster,
    pub log: RawLog,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawNode {
    pub name: String,
    pub data_dir: String,
    pub connection_threads: u16,
    pub grace_period_s: u64,
    pub drain_rate: u32,
}

impl Default for RawNode {
    fn default() -> Self {
        Self {
            name: "rookery-0".into(),
            data_dir: "rookery-data".into(),
            connection_threads: 0,
            grace_period_s: 10,
            drain_rate: 500,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawListen {
    pub mqtts: String,
    pub mqtt: String,
    pub api: String,
    pub ops: String,
    /// None is the default address, which may be taken.
    pub peer: Option<String>,
}

impl Default for RawListen {
    fn default() -> Self {
        Self {
            mqtts: "0.0.0.0:8883".into(),
            mqtt: "off".into(),
            api: "127.0.0.1:8443".into(),
            ops: "127.0.0.1:8080".into(),
            peer: None,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawCluster {
    pub advertise_peer: Option<String>,
    pub join: Vec<String>,
    pub expect_voters: Option<u32>,
    pub voters: Option<u32>,
    pub vote: bool,
    pub join_secret_file: Option<String>,
    pub lease_ms: u64,
    pub fenced_drop_s: u64,
    pub hold_format: Option<u32>,
}

impl Default for RawCluster {
    fn default() -> Self {
        Self {
            advertise_peer: None,
            join: Vec::new(),
            expect_voters: None,
            voters: None,
            vote: true,
            join_secret_file: None,
            lease_ms: 5000,
            fenced_drop_s: 30,
            hold_format: None,
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawSecurity {
    pub tls_cert: Option<String>,
    pub tls_key: Option<String>,
    pub tls_names: Vec<String>,
    pub admin_token_file: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawLimits {
    pub connections_max: usize,
    pub handshakes_max: usize,
    pub handshake_timeout_s: u64,
    pub connect_timeout_s: u64,
    pub connect_bytes_max: usize,
    pub payload_bytes_max: usize,
    pub subscriptions_max: usize,
    pub in_flight_messages_max: u32,
    pub queue_messages_max: usize,
    pub queue_bytes_max: usize,
    pub outbox_bytes_max: usize,
    pub outboxes_bytes_max: usize,
    pub redelivery_interval_s: u64,
    pub storing_messages_max: usize,
    pub node_backlog_bytes_max: usize,
    pub stored_messages_per_subscribe_max: usize,
    pub device_messages_per_second_max: u32,
    pub broker_messages_per_second_max: u32,
    pub kind_wildcard_covers_permanent: bool,
    pub retain_flag_on_stored: bool,
}

impl Default for RawLimits {
    fn default() -> Self {
        Self {
            connections_max: 1_000_000,
            handshakes_max: 8192,
            handshake_timeout_s: 15,
            connect_timeout_s: 30,
            connect_bytes_max: 16 * 1024,
            payload_bytes_max: 262_144,
            subscriptions_max: 1000,
            in_flight_messages_max: 1000,
            queue_messages_max: 65_536,
            queue_bytes_max: 16 * 1024 * 1024,
            outbox_bytes_max: 8 * 1024 * 1024,
            outboxes_bytes_max: 1024 * 1024 * 1024,
            redelivery_interval_s: 20,
            storing_messages_max: 1000,
            node_backlog_bytes_max: 32 * 1024 * 1024,
            stored_messages_per_subscribe_max: 10_000,
            device_messages_per_second_max: 0,
            broker_messages_per_second_max: 0,
            kind_wildcard_covers_permanent: true,
            retain_flag_on_stored: true,
        }
    }
}

/// Limits of the catalog; 0 = unlimited where that is possible.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawQuotas {
    pub registries_max: u64,
    pub devices_max: u64,
    pub brokers_max: u64,
    pub clients_per_broker_max: u64,
    pub certificates_per_entity_max: u64,
    pub passwords_per_entity_max: u64,
    pub permanent_topics_per_entity_max: u64,
    pub permanent_bytes_max: u64,
    pub tokens_max: u64,
    pub operations_per_resource_max: u64,
    pub operations_max: u64,
}

impl Default for RawQuotas {
    fn default() -> Self {
        let limits = CatalogLimits::default();
        Self {
            registries_max: limits.registries_max.unwrap_or(0),
            devices_max: limits.devices_max.unwrap_or(0),
            brokers_max: limits.brokers_max.unwrap_or(0),
            clients_per_broker_max: limits.clients_per_broker_max.unwrap_or(0),
            certificates_per_entity_max: limits.certificates_per_entity_max,
            passwords_per_entity_max: limits.passwords_per_entity_max,
            permanent_topics_per_entity_max: limits.permanent_topics_per_entity_max,
            permanent_bytes_max: limits.permanent_bytes_max,
            tokens_max: limits.tokens_max,
            operations_per_resource_max: limits.operations_per_resource_max,
            operations_max: limits.operations_max,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawLog {
    pub format: String,
    pub filter: String,
}

impl Default for RawLog {
    fn default() -> Self {
        Self { format: "text".into(), filter: super::DEFAULT_LOG_FILTER.into() }
    }
}

/// Reads all sources. The problems are those of keys and types; the tree is without the keys that have one, so that
/// the rules can be applied to the others.
pub fn read(sources: &Sources) -> (Raw, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut figment = Figment::from(Serialized::defaults(Raw::default()));
    match &sources.file {
        Some(file) if file.is_file() => figment = figment.merge(Toml::file_exact(file)),
        Some(file) => problems.push(Problem {
            key: "--config".into(),
            value: file.display().to_string(),
            rule: "must name a file that can be read".into(),
        }),
        None => {}
    }
    if sources.environment {
        // Variables without a section, such as ROOKERY_ENDPOINT, belong to the client commands.
        figment =
            figment.merge(Env::prefixed("ROOKERY_").filter(|key| key.as_str().contains("__")).split("__"));
    }
    let mut raw = figment.extract().unwrap_or_else(|error| {
        let (raw, more) = all_problems(&figment, &error);
        problems.extend(more);
        raw
    });
    apply_flags(&mut raw, &sources.flags);
    (raw, problems)
}

/// Everything that is wrong with the values, not only the first thing: each key is tried alone. The tree has the keys
/// that are right.
fn all_problems(figment: &Figment, first: &figment::Error) -> (Raw, Vec<Problem>) {
    let Ok(sections) = figment.extract::<Dict>() else {
        return (Raw::default(), vec![problem(figment, None, first)]);
    };
    let mut problems = Vec::new();
    let mut right = Figment::from(Serialized::defaults(Raw::default()));
    for (section, value) in sections {
        let keys = match &value {
            Value::Dict(_, keys) => keys.clone(),
            other => Dict::from([(String::new(), other.clone())]),
        };
        for (key, value) in keys {
            let path = [section.as_str(), key.as_str()].join(".");
            let path = path.trim_end_matches('.');
            let alone = Figment::from(Serialized::defaults(Raw::default())).merge((path, value.clone()));
            match alone.extract::<Raw>() {
                Ok(_) => right = right.merge((path, value)),
                Err(error) => problems.push(problem(figment, Some(path), &error)),
            }
        }
    }
    if problems.is_empty() {
        problems.push(problem(figment, None, first));
    }
    (right.extract().unwrap_or_default(), problems)
}

fn problem(figment: &Figment, path: Option<&str>, error: &figment::Error) -> Problem {
    let key = match path {
        Some(path) => path.into(),
        None if error.path.is_empty() => "configuration".into(),
        None => error.path.join("."),
    };
    let metadata = path.and_then(|path| figment.find_metadata(path)).or(error.metadata.as_ref());
    let source = metadata.map_or("the configuration".into(), |metadata| metadata.name.to_string());
    Problem { key, value: format!("in {source}"), rule: error.kind.to_string() }
}

fn apply_flags(raw: &mut Raw, flags: &Flags) {
    let set = |target: &mut String, flag: &Option<String>| {
        if let Some(value) = flag {
            target.clone_from(value);
        }
    };
    set(&mut raw.node.data_dir, &flags.data_dir);
    set(&mut raw.node.name, &flags.node_name);
    set(&mut raw.listen.mqtts, &flags.mqtts);
    set(&mut raw.listen.mqtt, &flags.mqtt);
    set(&mut raw.listen.api, &flags.api);
    set(&mut raw.listen.ops, &flags.ops);
    let set_optional = |target: &mut Option<String>, flag: &Option<String>| {
        if flag.is_some() {
            target.clone_from(flag);
        }
    };
    set_optional(&mut raw.security.admin_token_file, &flags.admin_token_file);
    set_optional(&mut raw.security.tls_cert, &flags.tls_cert);
    set_optional(&mut raw.security.tls_key, &flags.tls_key);
    set_optional(&mut raw.listen.peer, &flags.peer);
    set_optional(&mut raw.cluster.advertise_peer, &flags.advertise_peer);
    set_optional(&mut raw.cluster.join_secret_file, &flags.join_secret_file);
    if let Some(join) = &flags.join {
        raw.cluster.join.clone_from(join);
    }
    raw.cluster.expect_voters = flags.expect_voters.or(raw.cluster.expect_voters);
}
