//! `rookery device`.

use clap::{Args, Subcommand};

use super::credential::{CertificateCommand, NewCredentials, PasswordCommand};
use super::logs::LogsArguments;
use super::target::{DeviceOwner, RegistryOwner, Target, Targets};
use super::{AsyncArgument, LimitArgument};
use crate::cli::arguments::registry::TargetsAndWait;

/// Devices of a registry
#[derive(Subcommand, Clone, Debug)]
pub enum DeviceCommand {
    /// Create a device
    #[command(after_help = "Examples:\n  \
        rookery device create pump-1 --registry-name plant-7 --certificate-file pump-1.pem\n  \
        rookery device create pump-2 --registry-name plant-7 --generate-password \\\n    \
        --topic-aliases 'commands=$devices/{id}/commands'")]
    Create(CreateDevice),
    /// Change name, description or topic aliases
    Update(UpdateDevice),
    /// Show devices
    #[command(visible_aliases = ["describe", "show"])]
    Get(Targets),
    /// List the devices of a registry, or of the folder
    List {
        #[command(flatten)]
        registry: MaybeRegistry,
        #[command(flatten)]
        limit: LimitArgument,
    },
    /// Show what happened to the connections of a device
    #[command(visible_alias = "log")]
    Logs(LogsArguments),
    /// Delete devices
    Delete(TargetsAndWait),
    /// Add topic aliases, or change the prefixes of existing ones
    AddTopicAliases(ChangeAliases),
    /// Remove topic aliases by name
    RemoveTopicAliases(ChangeAliases),
    /// Client certificates of a device
    #[command(subcommand)]
    Certificate(CertificateCommand<DeviceOwner>),
    /// Passwords of a device
    #[command(subcommand)]
    Password(PasswordCommand<DeviceOwner>),
}

/// A new device.
#[derive(Args, Clone, Debug)]
pub struct CreateDevice {
    #[command(flatten)]
    pub registry: RegistryOwner,
    /// Name, unique in the registry
    #[arg(value_name = "NAME", conflicts_with = "name")]
    pub positional_name: Option<String>,
    /// Name, unique in the registry
    #[arg(long)]
    pub name: Option<String>,
    /// Description
    #[arg(long)]
    pub description: Option<String>,
    /// Short names for topic prefixes of the device
    #[arg(long, value_name = "ALIAS=PREFIX,...", value_delimiter = ',')]
    pub topic_aliases: Vec<String>,
    #[command(flatten)]
    pub credentials: NewCredentials,
    #[command(flatten)]
    pub wait: AsyncArgument,
}

/// Changes of a device.
#[derive(Args, Clone, Debug)]
pub struct UpdateDevice {
    #[command(flatten)]
    pub target: Target,
    /// New name
    #[arg(long)]
    pub new_name: Option<String>,
    /// New description
    #[arg(long)]
    pub description: Option<String>,
    /// New topic aliases; they replace all present ones
    #[arg(long, value_name = "ALIAS=PREFIX,...", value_delimiter = ',')]
    pub topic_aliases: Option<Vec<String>>,
    #[command(flatten)]
    pub wait: AsyncArgument,
}

/// A change of some aliases.
#[derive(Args, Clone, Debug)]
pub struct ChangeAliases {
    #[command(flatten)]
    pub target: Target,
    /// Aliases; only their names when removing
    #[arg(long, required = true, value_name = "ALIAS[=PREFIX],...", value_delimiter = ',')]
    pub topic_aliases: Vec<String>,
    #[command(flatten)]
    pub wait: AsyncArgument,
}

/// A registry or none.
#[derive(Args, Clone, Debug)]
#[group(multiple = false)]
pub struct MaybeRegistry {
    /// Id of the registry
    #[arg(long)]
    pub registry_id: Option<String>,
    /// Name of the registry
    #[arg(long)]
    pub registry_name: Option<String>,
}
