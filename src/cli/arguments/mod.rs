//! The command line as types: what may be written, and the help that explains it.
//!
//! The words are those of `yc iot` (`spec/cli.md`), with `rookery` in its place. Nothing is done here.
//! Doc comments of fields are help texts.

#![allow(missing_docs, reason = "groups of flags are documented at their types")]

pub mod admin;
pub mod backup;
pub mod broker;
pub mod cluster;
pub mod credential;
pub mod device;
pub mod logs;
pub mod mqtt;
pub mod registry;
pub mod server;
pub mod target;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Where the API of the server is, and how to print its answers. Accepted by every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection and output")]
pub struct ClientArguments {
    /// Address of the server's API; `http://HOST:PORT` for one without TLS
    #[arg(long, global = true, env = "ROOKERY_ENDPOINT", value_name = "HOST:PORT", hide_env_values = true)]
    pub endpoint: Option<String>,

    /// File with the access token [default: <DATA_DIR>/admin.token, if a data directory is given]
    #[arg(long, global = true, env = "ROOKERY_TOKEN_FILE", value_name = "PATH", hide_env_values = true)]
    pub token_file: Option<PathBuf>,

    /// File with the CA that signed the server's certificate [default: <DATA_DIR>/pki/ca.pem]
    #[arg(long, global = true, env = "ROOKERY_CA_FILE", value_name = "PATH", hide_env_values = true)]
    pub ca_file: Option<PathBuf>,

    /// Name that the server's certificate must have [default: the host that is connected to]
    #[arg(long, global = true, env = "ROOKERY_TLS_NAME", value_name = "NAME", hide_env_values = true)]
    pub tls_name: Option<String>,

    /// Data directory of a server on this machine: token and CA are read from there
    #[arg(long, global = true, env = "ROOKERY_DATA_DIR", value_name = "DIR", hide_env_values = true)]
    pub data_dir: Option<PathBuf>,

    /// Folder that registries and brokers are created in and looked up in
    #[arg(
        long,
        global = true,
        env = "ROOKERY_FOLDER_ID",
        value_name = "ID",
        default_value = "default",
        hide_env_values = true
    )]
    pub folder_id: String,

    /// How to print results
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// How many times to try a call while the server is unavailable
    #[arg(long, global = true, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub retry: u32,
}

/// The output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables for lists, YAML for single objects
    Text,
    /// YAML
    Yaml,
    /// JSON with the field names of the API (snake_case); lists are arrays
    Json,
    /// JSON with the field names of the REST API (camelCase)
    JsonRest,
}

/// Whether to wait for the result of a change.
#[derive(Args, Clone, Copy, Debug)]
pub struct AsyncArgument {
    /// Print the operation at once instead of its result
    #[arg(long = "async")]
    pub no_wait: bool,
}

/// How many entries to list.
#[derive(Args, Clone, Copy, Debug)]
pub struct LimitArgument {
    /// Most entries to list
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}
