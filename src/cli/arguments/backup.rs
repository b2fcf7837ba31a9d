//! `rookery backup`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Backups of everything that a cluster remembers: resources, credentials, tokens, stored messages
#[derive(Subcommand, Clone, Debug)]
pub enum BackupCommand {
    /// Write a backup of the running cluster to a file; needs an administrator's token
    #[command(after_help = "\
The backup is consistent at one log index, and checked as a whole before the file gets its name. It has hashes of
passwords and tokens and the stored messages: only its owner can read the file, keep it so. With --key-file it is encrypted
(ChaCha20-Poly1305); the plain file that is checked first is removed.")]
    Create(CreateArguments),
    /// Check a backup, down to every record, and say what is in it
    Verify(VerifyArguments),
    /// Make the data directory of the first node of a new cluster out of a backup
    #[command(after_help = "\
Start the node with this directory, then the others with empty directories and --join. The new cluster has an identity of
its own. Tokens, passwords and certificates of clients are those of the backup; the node makes itself a new certificate
unless it is given one: clients must trust its CA.")]
    Restore(RestoreArguments),
}

/// Where to write a backup.
#[derive(Args, Clone, Debug)]
pub struct CreateArguments {
    /// The file to write; it must not exist
    #[arg(required_unless_present = "directory")]
    pub file: Option<PathBuf>,
    /// Write to a file in this directory whose name has the time, `rookery-YYYYMMDDThhmmssZ.backup`; for schedules
    #[arg(long, value_name = "DIR", conflicts_with = "file")]
    pub directory: Option<PathBuf>,
    /// Keep only so many of the newest backups with such names, from 1; others are removed when the new one is complete
    #[arg(long, value_name = "N", requires = "directory", value_parser = clap::value_parser!(u16).range(1..))]
    pub keep: Option<u16>,
    /// Encryption.
    #[command(flatten)]
    pub key: KeyArguments,
}

/// The backup to check.
#[derive(Args, Clone, Debug)]
pub struct VerifyArguments {
    /// The backup
    pub file: PathBuf,
    /// Encryption.
    #[command(flatten)]
    pub key: KeyArguments,
}

/// Whether a backup is encrypted.
#[derive(Args, Clone, Debug)]
pub struct KeyArguments {
    /// File with the secret that backups are encrypted with, 32 bytes or more (`openssl rand -hex 32`). Without it a backup
    /// is not encrypted; without the same secret it cannot be read again
    #[arg(long, value_name = "FILE", env = "ROOKERY_BACKUP_KEY_FILE", hide_env_values = true)]
    pub key_file: Option<PathBuf>,
}

/// What to restore, and where to.
#[derive(Args, Clone, Debug)]
pub struct RestoreArguments {
    /// The backup
    pub file: PathBuf,
    /// Data directory of the node; what it stores there must not exist yet
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Encryption.
    #[command(flatten)]
    pub key: KeyArguments,
}
