//! `rookery cluster recover`: works on a data directory, not on a running server.

use super::arguments::cluster::RecoverArguments;
use super::error::CliError;
use super::output::note;
use crate::store::{self, STORAGE_DIRECTORY};

/// Makes a new cluster out of one node's data directory.
///
/// # Errors
/// [`CliError`]; the directory is as it was, or a second attempt finishes the work.
pub fn run(arguments: &RecoverArguments) -> Result<(), CliError> {
    // The data directory as `serve` was given it, or the storage in it.
    let storage = Some(arguments.from.join(STORAGE_DIRECTORY)).filter(|storage| storage.is_dir());
    let storage = storage.as_ref().unwrap_or(&arguments.from);
    let recovered = store::recover(storage).map_err(|error| CliError::NotDone(error.to_string()))?;
    note(&format!(
        "the directory is a cluster of one node now: cluster {}, node {}, log index {}",
        recovered.cluster_id, recovered.node_id, recovered.last_log_index
    ));
    note("start it, then start the other nodes with empty data directories and --join");
    Ok(())
}
