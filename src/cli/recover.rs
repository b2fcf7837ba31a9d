//! `rookery cluster recover`: works on a data directory, not on a running server.

use super::arguments::cluster::RecoverArguments;
use super::error::CliError;
use super::output::note;
use crate::store;

/// Makes a new cluster out of one node's data directory.
///
/// # Errors
/// [`CliError`]; the directory is as it was, or a second attempt finishes the work.
pub fn run(arguments: &RecoverArguments) -> Result<(), CliError> {
    let recovered = store::recover(&arguments.from).map_err(|error| CliError::Answer(error.to_string()))?;
    note(&format!(
        "the directory is a cluster of one node now: cluster {}, node {}, log index {}",
        recovered.cluster_id, recovered.node_id, recovered.last_log_index
    ));
    note("start it, then start the other nodes with empty data directories and --join");
    Ok(())
}
