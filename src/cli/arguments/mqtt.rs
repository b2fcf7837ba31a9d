//! `rookery mqtt`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::mqtt::qos::QoS;

/// A small MQTT client
#[derive(Subcommand, Clone, Debug)]
pub enum MqttCommand {
    /// Publish messages
    #[command(after_help = "Examples:\n  \
        rookery mqtt publish --cert pump.pem --key pump.key -t '$devices/<id>/events' -m '{\"t\":21}' -q 1\n  \
        sensor | rookery mqtt publish -u <id> -P <password> -t '$me/device/events' --stdin")]
    Publish(Box<PublishArguments>),
    /// Subscribe and print the messages that arrive, until interrupted
    #[command(after_help = "Example:\n  \
        rookery mqtt subscribe --cert registry.pem --key registry.key -t '$registries/<id>/events/#' --details")]
    Subscribe(Box<SubscribeArguments>),
}

/// Where to connect and as whom.
#[derive(Args, Clone)]
pub struct MqttConnection {
    /// Address of the MQTT listener
    #[arg(
        help_heading = "MQTT connection",
        long,
        env = "ROOKERY_MQTT_ADDRESS",
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:8883",
        hide_env_values = true
    )]
    pub server: String,
    /// Connect without TLS (to the listener of `--mqtt`); certificates cannot be used then
    #[arg(help_heading = "MQTT connection", long, conflicts_with_all = ["cert", "key"])]
    pub plain: bool,
    /// Client certificate (PEM)
    #[arg(help_heading = "MQTT connection", long, value_name = "PATH", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Private key of the client certificate (PEM)
    #[arg(help_heading = "MQTT connection", long, value_name = "PATH", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Log in with a password: the id of the registry, device or broker
    #[arg(help_heading = "MQTT connection", short = 'u', long, value_name = "ID")]
    pub username: Option<String>,
    /// The password; without it, it is asked for when a user name is given and no certificate
    #[arg(help_heading = "MQTT connection", short = 'P', long, value_name = "TEXT", requires = "username")]
    pub password: Option<String>,
    /// MQTT client identifier [default: a random one, so that several commands can run side by side]
    #[arg(help_heading = "MQTT connection", long, value_name = "TEXT")]
    pub client_id: Option<String>,
}

impl std::fmt::Debug for MqttConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MqttConnection")
            .field("server", &self.server)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Messages to publish.
#[derive(Args, Clone, Debug)]
pub struct PublishArguments {
    #[command(flatten)]
    pub connection: MqttConnection,
    /// Topic
    #[arg(short, long)]
    pub topic: String,
    /// Quality of service: 0 (at-most-once) or 1 (at-least-once)
    #[arg(short, long, default_value = "0", value_parser = parse_qos)]
    pub qos: QoS,
    #[command(flatten)]
    pub source: MessageSource,
}

/// Where the messages come from.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct MessageSource {
    /// The message
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// File with the message
    #[arg(short, long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// One message per line of standard input
    #[arg(short = 'l', long)]
    pub stdin: bool,
}

/// What to subscribe to.
#[derive(Args, Clone, Debug)]
pub struct SubscribeArguments {
    #[command(flatten)]
    pub connection: MqttConnection,
    /// Topic or topic filter; may be given several times
    #[arg(short, long = "topic", required = true, value_name = "FILTER")]
    pub topics: Vec<String>,
    /// Quality of service: 0 (at-most-once) or 1 (at-least-once)
    #[arg(short, long, default_value = "0", value_parser = parse_qos)]
    pub qos: QoS,
    /// Print topic, QoS and message id with each message
    #[arg(long)]
    pub details: bool,
    /// End after this many messages
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

fn parse_qos(text: &str) -> Result<QoS, String> {
    match text {
        "0" | "at-most-once" => Ok(QoS::AtMostOnce),
        "1" | "at-least-once" => Ok(QoS::AtLeastOnce),
        other => Err(format!("must be 0, 1, at-most-once or at-least-once (got {other:?})")),
    }
}
