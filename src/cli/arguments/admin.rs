//! `rookery operation` and `rookery token`.

use clap::{Subcommand, ValueEnum};

use super::LimitArgument;

/// Operations: records of changes
#[derive(Subcommand, Clone, Debug)]
pub enum OperationCommand {
    /// Show an operation
    #[command(visible_aliases = ["describe", "show"])]
    Get {
        /// Id of the operation, as `--async` printed it
        id: String,
    },
}

/// Access tokens of the API
#[derive(Subcommand, Clone, Debug)]
pub enum TokenCommand {
    /// Make a token and print its secret, this once
    #[command(after_help = "Example:\n  \
        rookery token create grafana --role viewer --format json | jq -r .secret > grafana.token")]
    Create {
        /// Name, to recognise the token by
        name: Option<String>,
        /// What the token may do; each role includes the ones before it
        #[arg(long, value_enum)]
        role: TokenRole,
    },
    /// List tokens, without their secrets
    List(LimitArgument),
    /// Make tokens useless from now on
    Revoke {
        /// Ids as `token list` shows them
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// Roles of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TokenRole {
    /// Reads
    Viewer,
    /// Reads, changes and publishes
    Editor,
    /// All of it, and the tokens
    Admin,
}
