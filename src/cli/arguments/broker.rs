//! `rookery broker`.

use clap::Subcommand;

use super::LimitArgument;
use super::credential::{CertificateCommand, PasswordCommand};
use super::logs::LogsArguments;
use super::registry::{ChangeLabels, CreateResource, TargetsAndWait, UpdateResource};
use super::target::{BrokerOwner, Targets};

/// Brokers: topic spaces with free topics, without devices
#[derive(Subcommand, Clone, Debug)]
pub enum BrokerCommand {
    /// Create a broker
    #[command(after_help = "Example:\n  rookery broker create bus --generate-password")]
    Create(CreateResource),
    /// Change name, description, labels or logging
    Update(UpdateResource),
    /// Show brokers
    #[command(visible_aliases = ["describe", "show"])]
    Get(Targets),
    /// List brokers
    List(LimitArgument),
    /// Show what happened to the connections of a broker
    #[command(visible_alias = "log")]
    Logs(LogsArguments),
    /// Delete brokers
    Delete(TargetsAndWait),
    /// Add labels, or change the values of existing ones
    AddLabels(ChangeLabels),
    /// Remove labels by key
    RemoveLabels(ChangeLabels),
    /// Client certificates of a broker
    #[command(subcommand)]
    Certificate(CertificateCommand<BrokerOwner>),
    /// Passwords of a broker
    #[command(subcommand)]
    Password(PasswordCommand<BrokerOwner>),
}
