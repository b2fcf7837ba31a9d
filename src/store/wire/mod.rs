//! Between the domain and its bytes in the log and in snapshots. The generated types of `rookery.storage.v1` appear in
//! this module only.
//!
//! Encoding is total and deterministic: equal values have equal bytes. Decoding refuses what it does not know instead
//! of skipping it, because a node that skips what its peers apply would silently differ from them.

mod change;
mod command;
mod operation;
mod resource;
mod session;
mod snapshot;

pub use command::{decode_command, encode_command};
pub(super) use snapshot::encode_records;
pub use snapshot::{SnapshotError, read_snapshot, write_snapshot};

/// Whether a release reads this format, whose newest is `newest`: all older ones are read, too.
fn is_known(format: u32, newest: u32) -> bool {
    (1..=newest).contains(&format)
}

/// Bytes that are not what this version of the server writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not the encoding at all.
    #[error("not a valid encoding: {0}")]
    Encoding(#[from] prost::DecodeError),
    /// Written by a newer version of the server.
    #[error("version {found} is not known (the newest known is {newest_known})")]
    UnknownVersion {
        /// The version found.
        found: u32,
        /// The newest that can be read.
        newest_known: u32,
    },
    /// A part is absent, or of a kind that this version does not know.
    #[error("{field} is missing or of an unknown kind")]
    Missing {
        /// Which part.
        field: &'static str,
    },
    /// A number has no meaning.
    #[error("{field} has the unknown value {value}")]
    UnknownValue {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// A field has a form that cannot be.
    #[error("{field} is malformed")]
    Malformed {
        /// Which field.
        field: &'static str,
    },
}

fn required<T>(value: Option<T>, field: &'static str) -> Result<T, WireError> {
    value.ok_or(WireError::Missing { field })
}
