//! What each command does: requests to the API, and its answers printed.

pub mod admin;
pub mod backup;
pub mod broker;
pub mod change;
pub mod cluster;
pub mod credential;
pub mod device;
pub mod export;
mod leave;
mod list;
mod logs;
mod rebalance;
pub mod registry;
mod series;
pub mod session;
mod top;

use super::arguments::Format;
use super::client::Client;
use crate::store::Formats;

/// What every command works with.
pub struct Session {
    /// The connection.
    pub client: Client,
    /// How to print.
    pub format: Format,
    /// Formats of this release, which backups must have.
    pub formats: Formats,
}
