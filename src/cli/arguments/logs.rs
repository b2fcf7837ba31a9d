//! `rookery registry|device|broker logs`.

use clap::{Args, ValueEnum};

use super::target::Target;

/// Whose log, and which part of it.
#[derive(Args, Clone, Debug)]
pub struct LogsArguments {
    /// The registry, device or broker
    #[command(flatten)]
    pub target: Target,
    /// Not before: a time such as 2026-11-26T10:00:00Z, or so long ago, such as 90s, 30m, 4h, 7d
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Before, in the same form
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Only these levels
    #[arg(long, value_delimiter = ',', value_name = "LEVEL,...")]
    pub levels: Vec<LogLevel>,
    /// Only records that contain this text
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Print what comes until interrupted
    #[arg(long, short = 'f')]
    pub follow: bool,
}

/// How serious a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// As it should be
    Info,
    /// A client was refused something, or cut off
    Warn,
    /// A client was cut off for what it did
    Error,
}

impl LogLevel {
    /// As the API spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }
}
