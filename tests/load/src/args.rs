//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::run::Durations;

/// Measures what an MQTT 3.1.1 broker costs per delivered message and per connection.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the built-in scenarios.
    Scenarios,
    /// Run one scenario against a broker that is already running.
    Run(Box<RunArguments>),
    /// Start brokers, run the scenarios against each, print a table of medians.
    Suite(SuiteArguments),
    /// Run the whole suite and the growth of costs; write tables, pictures and raw figures to a directory.
    Report(ReportArguments),
    /// Serve as the one-thread relay that marks the floor.
    Relay(RelayArguments),
    /// Make a registry and devices on a Rookery that is already running, for `run --fleet`.
    Fleet(FleetArguments),
    /// Be one of several drivers: what `--drivers` starts.
    #[command(hide = true)]
    Drive,
}

/// Arguments of `relay`.
#[derive(Debug, Args)]
pub struct RelayArguments {
    /// Where to listen for plain connections.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Where to listen for TLS: a bare handshake that asks for a client certificate and takes any.
    #[arg(long, requires_all = ["tls_cert", "tls_key"])]
    pub tls_listen: Option<SocketAddr>,
    /// Certificate of the TLS listener (PEM).
    #[arg(long, requires = "tls_listen")]
    pub tls_cert: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, requires = "tls_listen")]
    pub tls_key: Option<PathBuf>,
}

/// Arguments of `fleet`.
#[derive(Debug, Args)]
pub struct FleetArguments {
    /// The API of a node.
    #[arg(long, default_value = "127.0.0.1:8443")]
    pub api: SocketAddr,
    /// PEM file with the authority that signed the API's certificate.
    #[arg(long)]
    pub ca: PathBuf,
    /// File with an administrator's token.
    #[arg(long)]
    pub token_file: PathBuf,
    /// File with the password of the registry.
    #[arg(long)]
    pub password_file: PathBuf,
    /// Devices to make, each with an ECDSA certificate of its own.
    #[arg(long)]
    pub devices: u32,
    /// Directory for their certificates and keys, two files each, so that they can log in over TLS. Without it nobody
    /// keeps them: the fleet is then ballast, beside which its registry can be used.
    #[arg(long)]
    pub certificates: Option<PathBuf>,
    /// Write the fleet file here. It has the password of the registry, and only its owner can read it.
    #[arg(long)]
    pub output: PathBuf,
}

/// Durations, each with a bound, in seconds.
#[derive(Debug, Clone, Copy, Args)]
pub struct DurationArguments {
    /// Traffic before the measured window, in seconds.
    #[arg(long, default_value_t = 1.5)]
    pub warmup: f64,
    /// The measured window, in seconds.
    #[arg(long, default_value_t = 5.0)]
    pub measure: f64,
    /// Longest wait for messages still on their way at the end, in seconds.
    #[arg(long, default_value_t = 20.0)]
    pub drain: f64,
    /// Longest time for opening all connections, in seconds.
    #[arg(long, default_value_t = 60.0)]
    pub open: f64,
    /// End the whole program after this many seconds, whatever happens.
    #[arg(long, default_value_t = 3600.0)]
    pub hard_stop: f64,
}

impl From<DurationArguments> for Durations {
    fn from(arguments: DurationArguments) -> Self {
        Self {
            warmup_s: arguments.warmup,
            measure_s: arguments.measure,
            drain_s: arguments.drain,
            open_s: arguments.open,
        }
    }
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Name of a scenario; see `scenarios`.
    pub scenario: String,
    /// Take scenarios from this file instead of the built-in ones.
    #[arg(long)]
    pub scenarios: Option<PathBuf>,
    /// The broker's address; repeated for each node of a cluster, in order.
    #[arg(long, default_value = "127.0.0.1:1883")]
    pub address: Vec<SocketAddr>,
    /// The broker's process, for CPU and memory; repeated for each node of a cluster, in order.
    #[arg(long)]
    pub broker_pid: Vec<u32>,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
    /// Run this program on one core only.
    #[arg(long)]
    pub cpu: Option<usize>,
    /// Processes that share publishers and subscribers, where one would be the bottleneck.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub drivers: u32,
    #[command(flatten)]
    pub durations: DurationArguments,
    #[command(flatten)]
    pub overrides: Overrides,
    #[command(flatten)]
    pub access: AccessArguments,
}

/// Figures of the scenario to be replaced.
#[derive(Debug, Args)]
#[command(next_help_heading = "Scenario")]
pub struct Overrides {
    /// QoS of publishing and subscribing, 0 or 1.
    #[arg(long)]
    pub qos: Option<u8>,
    /// Publishing connections.
    #[arg(long)]
    pub publishers: Option<u32>,
    /// Subscribing connections.
    #[arg(long)]
    pub subscribers: Option<u32>,
    /// Idle connections.
    #[arg(long)]
    pub connections: Option<u32>,
    /// Subscriptions of each idle connection.
    #[arg(long)]
    pub subscriptions: Option<u32>,
    /// Subscribers that never read.
    #[arg(long)]
    pub stalled: Option<u32>,
    /// Payload size in bytes.
    #[arg(long)]
    pub payload: Option<usize>,
    /// Messages per publisher on their way end to end.
    #[arg(long)]
    pub window: Option<u32>,
    /// Unacknowledged QoS 1 messages per publisher.
    #[arg(long)]
    pub inflight: Option<u32>,
    /// Messages per second of all publishers together (open loop).
    #[arg(long)]
    pub rate: Option<f64>,
    /// Connections being opened at a time.
    #[arg(long)]
    pub opening: Option<usize>,
    /// Do not fail on these faults.
    #[arg(long, value_delimiter = ',', value_parser = ["loss", "duplicate", "reorder"])]
    pub allow: Vec<String>,
}

/// Credentials, topics and TLS.
#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
pub struct AccessArguments {
    /// User name of every connection; for Rookery the id of a broker resource.
    #[arg(long, requires = "password_file")]
    pub username: Option<String>,
    /// File with its password.
    #[arg(long, requires = "username")]
    pub password_file: Option<PathBuf>,
    /// JSON file with the ids and passwords of a registry and its devices; topics are then theirs.
    #[arg(long, conflicts_with = "username")]
    pub fleet: Option<PathBuf>,
    /// Connect with TLS.
    #[arg(long)]
    pub tls: bool,
    /// PEM file with the authority that signed the broker's certificate.
    #[arg(long, requires = "tls")]
    pub ca: Option<PathBuf>,
    /// Take any certificate.
    #[arg(long, requires = "tls", conflicts_with = "ca")]
    pub insecure: bool,
    /// Name that the broker's certificate must bear.
    #[arg(long, default_value = "localhost")]
    pub server_name: String,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct ReportArguments {
    /// Directory for the report; made if it is not there.
    #[arg(long)]
    pub out: PathBuf,
    /// The `rookery` program.
    #[arg(long)]
    pub rookery: PathBuf,
    /// The `mosquitto` program; left out, it does not take part.
    #[arg(long)]
    pub mosquitto: Option<PathBuf>,
    /// The `rmqttd` program, the broker RMQTT; left out, it does not take part.
    #[arg(long)]
    pub rmqttd: Option<PathBuf>,
    /// One short run of each, the main scenarios only.
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
    /// Also the largest sizes: a million subscriptions and a million devices.
    #[arg(long)]
    pub full: bool,
    /// End the whole program after this many seconds, whatever happens.
    #[arg(long, default_value_t = 7200.0)]
    pub hard_stop: f64,
}

/// Arguments of `suite`.
#[derive(Debug, Args)]
pub struct SuiteArguments {
    /// The `rookery` program.
    #[arg(long)]
    pub rookery: Option<PathBuf>,
    /// The `mosquitto` program.
    #[arg(long)]
    pub mosquitto: Option<PathBuf>,
    /// The `rmqttd` program, the broker RMQTT.
    #[arg(long)]
    pub rmqttd: Option<PathBuf>,
    /// Also run the relay.
    #[arg(long)]
    pub relay: bool,
    /// Scenarios; by default those marked for the suite.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// Take scenarios from this file instead of the built-in ones.
    #[arg(long)]
    pub scenarios: Option<PathBuf>,
    /// Runs of each scenario; the table has their medians.
    #[arg(long, default_value_t = 3)]
    pub repeats: u32,
    /// Write the table to this file as well.
    #[arg(long)]
    pub markdown: Option<PathBuf>,
    /// Write all reports to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Processes that share publishers and subscribers of each run, where one would be the bottleneck.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub drivers: u32,
    /// Pin the brokers to this core.
    #[arg(long)]
    pub broker_cpu: Option<u32>,
    /// Pin this program to this core.
    #[arg(long)]
    pub cpu: Option<usize>,
    #[command(flatten)]
    pub durations: DurationArguments,
}
