//! Certificates and passwords on the command line, the same for registries, devices and brokers.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::AsyncArgument;
use super::target::Owner;

/// Where the text of a password comes from.
#[derive(Args, Clone)]
#[group(multiple = false)]
pub struct PasswordSource {
    /// The password itself; other users of this machine can see it, so prefer the other two
    #[arg(long, value_name = "TEXT")]
    pub password: Option<String>,
    /// Ask for the password, or read it from the first line of standard input
    #[arg(long)]
    pub read_password: bool,
    /// Make a random password and print it, this once, as `password` in the output
    #[arg(long)]
    pub generate_password: bool,
}

impl std::fmt::Debug for PasswordSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordSource")
            .field("password", &self.password.as_ref().map(|_| "..."))
            .field("read_password", &self.read_password)
            .field("generate_password", &self.generate_password)
            .finish()
    }
}

/// The credentials of a new resource.
#[derive(Args, Clone, Debug)]
pub struct NewCredentials {
    /// File with a client certificate (PEM); may be given several times; `-` is standard input
    #[arg(long = "certificate-file", value_name = "PATH")]
    pub certificate_files: Vec<PathBuf>,
    /// The password.
    #[command(flatten)]
    pub password: PasswordSource,
}

/// Certificates of one resource.
#[derive(Subcommand, Clone, Debug)]
pub enum CertificateCommand<O: Owner> {
    /// Add a client certificate; it may be self-signed and must be new to the whole server
    Add {
        #[command(flatten)]
        owner: O,
        /// File with the certificate (PEM); `-` is standard input
        #[arg(long, value_name = "PATH")]
        certificate_file: PathBuf,
        #[command(flatten)]
        wait: AsyncArgument,
    },
    /// List the certificates
    List {
        #[command(flatten)]
        owner: O,
    },
    /// Remove a certificate and end the connections it opened
    Delete {
        #[command(flatten)]
        owner: O,
        /// Fingerprint as `certificate list` shows it; upper case and `:` are accepted
        #[arg(long)]
        fingerprint: String,
        #[command(flatten)]
        wait: AsyncArgument,
    },
}

/// Passwords of one resource.
#[derive(Subcommand, Clone, Debug)]
pub enum PasswordCommand<O: Owner> {
    /// Add a password; without a flag that gives it, it is asked for
    ///
    /// A password has 14 characters or more of at least three of the groups lower-case letters,
    /// upper-case letters, digits, special characters. The user name to log in with is the id of the
    /// registry, device or broker.
    Add {
        #[command(flatten)]
        owner: O,
        #[command(flatten)]
        source: PasswordSource,
        #[command(flatten)]
        wait: AsyncArgument,
    },
    /// List the ids of the passwords; the passwords themselves cannot be read back
    List {
        #[command(flatten)]
        owner: O,
    },
    /// Remove a password and end the connections it opened
    Delete {
        #[command(flatten)]
        owner: O,
        /// Id as `password list` shows it
        #[arg(long)]
        password_id: String,
        #[command(flatten)]
        wait: AsyncArgument,
    },
}
