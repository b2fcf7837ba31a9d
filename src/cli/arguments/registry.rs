//! `rookery registry`.

use clap::{Args, Subcommand, ValueEnum};

use super::credential::{CertificateCommand, NewCredentials, PasswordCommand};
use super::logs::LogsArguments;
use super::target::{RegistryOwner, Target, Targets};
use super::{AsyncArgument, LimitArgument};

/// Registries: sets of devices that exchange messages with one back end
#[derive(Subcommand, Clone, Debug)]
pub enum RegistryCommand {
    /// Create a registry
    #[command(
        after_help = "Example:\n  rookery registry create plant-7 --labels site=north --generate-password"
    )]
    Create(CreateResource),
    /// Change name, description, labels or logging
    Update(UpdateResource),
    /// Show registries
    #[command(visible_aliases = ["describe", "show"])]
    Get(Targets),
    /// List registries
    List(LimitArgument),
    /// Show what happened to the connections of a registry
    #[command(visible_alias = "log")]
    Logs(LogsArguments),
    /// Delete registries that have no devices
    Delete(TargetsAndWait),
    /// Admit connections again
    Enable(TargetsAndWait),
    /// Refuse connections of the registry and its devices, and end the present ones
    Disable(TargetsAndWait),
    /// Add labels, or change the values of existing ones
    AddLabels(ChangeLabels),
    /// Remove labels by key
    RemoveLabels(ChangeLabels),
    /// List the topic aliases of all devices of a registry
    ListDeviceTopicAliases {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        limit: LimitArgument,
    },
    /// Client certificates of the registry itself (its back end)
    #[command(subcommand)]
    Certificate(CertificateCommand<RegistryOwner>),
    /// Passwords of the registry itself (its back end)
    #[command(subcommand)]
    Password(PasswordCommand<RegistryOwner>),
    /// Exports of messages to a data stream
    #[command(subcommand)]
    YdsExport(ExportCommand),
}

/// A new registry or broker.
#[derive(Args, Clone, Debug)]
pub struct CreateResource {
    /// Name
    #[arg(value_name = "NAME", conflicts_with = "name")]
    pub positional_name: Option<String>,
    /// Name
    #[arg(long)]
    pub name: Option<String>,
    /// Description
    #[arg(long)]
    pub description: Option<String>,
    /// Labels
    #[arg(long, value_name = "KEY=VALUE,...", value_delimiter = ',')]
    pub labels: Vec<String>,
    #[command(flatten)]
    pub credentials: NewCredentials,
    #[command(flatten)]
    pub log: LogArguments,
    #[command(flatten)]
    pub wait: AsyncArgument,
}

/// Changes of a registry or broker.
#[derive(Args, Clone, Debug)]
pub struct UpdateResource {
    #[command(flatten)]
    pub target: Target,
    /// New name
    #[arg(long)]
    pub new_name: Option<String>,
    /// New description
    #[arg(long)]
    pub description: Option<String>,
    /// New labels; they replace all present ones
    #[arg(long, value_name = "KEY=VALUE,...", value_delimiter = ',')]
    pub labels: Option<Vec<String>>,
    #[command(flatten)]
    pub log: LogArguments,
    #[command(flatten)]
    pub wait: AsyncArgument,
}

/// Where log records go.
#[derive(Args, Clone, Debug)]
pub struct LogArguments {
    /// Write no log records
    #[arg(help_heading = "Logging", long)]
    pub no_logging: bool,
    /// Write log records to this log group
    #[arg(help_heading = "Logging", long, value_name = "ID", conflicts_with = "log_folder_id")]
    pub log_group_id: Option<String>,
    /// Write log records to the default log group of this folder
    #[arg(help_heading = "Logging", long, value_name = "ID")]
    pub log_folder_id: Option<String>,
    /// Drop log records below this level
    #[arg(help_heading = "Logging", long, value_enum, value_name = "LEVEL")]
    pub min_log_level: Option<LogLevel>,
}

/// Severities of log records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the words say it")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

/// Some resources and whether to wait.
#[derive(Args, Clone, Debug)]
pub struct TargetsAndWait {
    #[command(flatten)]
    pub targets: Targets,
    #[command(flatten)]
    pub wait: AsyncArgument,
}

/// A change of some labels.
#[derive(Args, Clone, Debug)]
pub struct ChangeLabels {
    #[command(flatten)]
    pub target: Target,
    /// Labels; only the keys when removing
    #[arg(long, required = true, value_name = "KEY[=VALUE],...", value_delimiter = ',')]
    pub labels: Vec<String>,
    #[command(flatten)]
    pub wait: AsyncArgument,
}

/// Exports of a registry's messages.
#[derive(Subcommand, Clone, Debug)]
pub enum ExportCommand {
    /// Add the export; a registry has at most one
    Add {
        #[command(flatten)]
        owner: RegistryOwner,
        /// Name of the export
        #[arg(long)]
        name: Option<String>,
        /// Database that holds the stream
        #[arg(long)]
        database: String,
        /// Data stream to write to
        #[arg(long)]
        stream: String,
        /// Which topics to export; without it all of the registry and its devices
        #[arg(long, value_name = "FILTER")]
        mqtt_topic_filter: Option<String>,
        /// Account on whose behalf the stream is written
        #[arg(long, value_name = "ID")]
        stream_service_account_id: String,
        #[command(flatten)]
        wait: AsyncArgument,
    },
    /// List the exports
    List {
        #[command(flatten)]
        owner: RegistryOwner,
    },
    /// Remove an export
    Delete {
        #[command(flatten)]
        owner: RegistryOwner,
        /// Id as `yds-export list` shows it
        #[arg(long, value_name = "ID")]
        ds_export_id: String,
        #[command(flatten)]
        wait: AsyncArgument,
    },
}
