//! The commands of the one binary. All but `serve` and `demo` are thin clients: of the gRPC API, or of
//! the MQTT listener. They know nothing of the inside of a node and work against any node, also from
//! another machine.
//!
//! Reading order: [`arguments`] is the command line, [`commands`] what its commands do with the
//! [`client`], [`resource`] finds things by name, [`output`] prints, [`error`] explains, [`mqtt`] is the
//! MQTT client.
//!
//! Exit codes: 0 done; 1 refused by the server, or not possible; 2 wrong usage.

pub mod arguments;
pub mod client;
pub mod commands;
pub mod doctor;
pub mod error;
pub mod kubernetes;
pub mod mqtt;
pub mod output;
pub mod pairs;
pub mod recover;
pub mod resource;
pub mod sealed;
pub mod secret;

use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use self::arguments::ClientArguments;
use self::arguments::admin::{OperationCommand, TokenCommand};
use self::arguments::backup::BackupCommand;
use self::arguments::broker::BrokerCommand;
use self::arguments::cluster::{ClusterCommand, NodeCommand, SessionCommand, SpaceCommand, TopArguments};
use self::arguments::device::DeviceCommand;
use self::arguments::mqtt::MqttCommand;
use self::arguments::registry::RegistryCommand;
use self::arguments::server::{DemoArguments, ServeArguments};
use self::client::Client;
use self::commands::{Session, backup};
use self::error::{CliError, Failure};
use crate::store::Formats;

/// A self-hosted IoT message broker: MQTT 3.1.1, registries of devices, the API of Yandex IoT Core
#[derive(Parser, Debug)]
#[command(name = "rookery", version, max_term_width = 100, after_help = FIRST_STEPS)]
pub struct Cli {
    /// Where the server is, and how to print.
    #[command(flatten)]
    pub client: ClientArguments,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const FIRST_STEPS: &str = "\
First steps:
  rookery serve --data-dir ./data                  start a node
  export ROOKERY_DATA_DIR=./data                   let the other commands find token and CA
  rookery registry create plant-7 --generate-password
  rookery device create pump-1 --registry-name plant-7 --generate-password
  rookery mqtt subscribe -u <registry id> -t '$registries/<registry id>/events/#'

Everything can be tried out at once with: rookery demo";

/// The commands.
#[derive(Subcommand, Debug)]
#[allow(missing_docs, reason = "each line of help stands at the type")]
pub enum Command {
    Serve(Box<ServeArguments>),
    Demo(DemoArguments),
    /// Look at this machine and its configuration: disk, limits, certificate, names. Takes the flags of `serve`
    Doctor(Box<ServeArguments>),
    #[command(subcommand, visible_alias = "registries")]
    Registry(RegistryCommand),
    #[command(subcommand, visible_alias = "devices")]
    Device(DeviceCommand),
    #[command(subcommand, visible_alias = "brokers")]
    Broker(BrokerCommand),
    #[command(subcommand, visible_alias = "operations")]
    Operation(OperationCommand),
    #[command(subcommand, visible_alias = "tokens")]
    Token(TokenCommand),
    #[command(subcommand)]
    Cluster(ClusterCommand),
    #[command(subcommand, visible_alias = "nodes")]
    Node(NodeCommand),
    Top(TopArguments),
    #[command(subcommand, visible_alias = "sessions")]
    Session(SessionCommand),
    #[command(subcommand, visible_alias = "spaces")]
    Space(SpaceCommand),
    #[command(subcommand, visible_alias = "backups")]
    Backup(BackupCommand),
    #[command(subcommand)]
    Mqtt(MqttCommand),
}

impl Cli {
    /// Reads the command line. On wrong usage, `--help` and `--version` it prints and ends the process.
    pub fn from_command_line() -> Self {
        let matches = command().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// The command line as clap knows it.
pub fn command() -> clap::Command {
    // `serve` and `demo` are no clients: keep the client's flags out of their help.
    let hide = |subcommand: clap::Command| {
        let flags = CLIENT_FLAGS.into_iter().map(|(id, flag)| Arg::new(id).long(flag).hide(true));
        subcommand.args(flags)
    };
    Cli::command().mut_subcommand("serve", hide).mut_subcommand("demo", hide)
}

/// Flags of [`ClientArguments`], by id, that mean nothing to a server.
const CLIENT_FLAGS: [(&str, &str); 7] = [
    ("endpoint", "endpoint"),
    ("token_file", "token-file"),
    ("ca_file", "ca-file"),
    ("tls_name", "tls-name"),
    ("folder_id", "folder-id"),
    ("format", "format"),
    ("retry", "retry"),
];

/// Runs a client command; backups are read by a release of these formats. `Serve` and `Demo` belong to the caller and do
/// nothing here.
///
/// # Errors
/// [`Failure`], which says what to try next as well.
pub async fn run(cli: &Cli, formats: Formats) -> Result<(), Failure> {
    Ok(perform(cli, formats).await?)
}

async fn perform(cli: &Cli, formats: Formats) -> Result<(), CliError> {
    match &cli.command {
        Command::Serve(_) | Command::Demo(_) => Ok(()),
        Command::Doctor(arguments) => doctor::run(arguments, cli.client.format),
        Command::Mqtt(MqttCommand::Publish(arguments)) => mqtt::publish::run(&cli.client, arguments).await,
        Command::Mqtt(MqttCommand::Subscribe(arguments)) => {
            mqtt::subscribe::run(&cli.client, arguments).await
        }
        Command::Registry(command) => session(cli, formats)?.registry(command).await,
        Command::Device(command) => session(cli, formats)?.device(command).await,
        Command::Broker(command) => session(cli, formats)?.broker(command).await,
        Command::Operation(command) => session(cli, formats)?.operation(command).await,
        Command::Token(command) => session(cli, formats)?.token(command).await,
        Command::Cluster(ClusterCommand::Recover(arguments)) => recover::run(arguments),
        Command::Backup(BackupCommand::Create(arguments)) => {
            session(cli, formats)?.create_backup(arguments).await
        }
        Command::Backup(BackupCommand::Verify(arguments)) => {
            backup::verify(arguments, formats, cli.client.format)
        }
        Command::Backup(BackupCommand::Restore(arguments)) => backup::restore(arguments, formats),
        Command::Cluster(command) => session(cli, formats)?.cluster(command).await,
        Command::Node(command) => session(cli, formats)?.node(command, cli.client.data_dir.as_deref()).await,
        Command::Top(arguments) => session(cli, formats)?.top(arguments).await,
        Command::Session(command) => session(cli, formats)?.session(command).await,
        Command::Space(command) => session(cli, formats)?.space(command).await,
    }
}

fn session(cli: &Cli, formats: Formats) -> Result<Session, CliError> {
    Ok(Session { client: Client::new(&cli.client)?, format: cli.client.format, formats })
}

#[cfg(test)]
mod tests;
