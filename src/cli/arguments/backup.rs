//! `rookery backup`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Backups of everything that a cluster remembers: resources, credentials, tokens, stored messages
#[derive(Subcommand, Clone, Debug)]
pub enum BackupCommand {
    /// Write a backup of the running cluster to a file; needs an administrator's token
    #[command(after_help = "\
The backup is consistent at one log index, and checked as a whole before the file gets its name. It has hashes of
passwords and tokens and the stored messages: only its owner can read the file, keep it so. For example, encrypted:
  rookery backup create nightly.rookery && age -R backup.pub -o nightly.age nightly.rookery && rm nightly.rookery")]
    Create {
        /// The file to write; it must not exist
        file: PathBuf,
    },
    /// Check a backup, down to every record, and say what is in it
    Verify {
        /// The backup
        file: PathBuf,
    },
    /// Make the data directory of the first node of a new cluster out of a backup
    #[command(after_help = "\
Start the node with this directory, then the others with empty directories and --join. The new cluster has an identity of
its own. Tokens, passwords and certificates of clients are those of the backup; the node makes itself a new certificate
unless it is given one: clients must trust its CA.")]
    Restore(RestoreArguments),
}

/// What to restore, and where to.
#[derive(Args, Clone, Debug)]
pub struct RestoreArguments {
    /// The backup
    pub file: PathBuf,
    /// Data directory of the node; what it stores there must not exist yet
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
}
