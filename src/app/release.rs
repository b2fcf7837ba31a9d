//! Which release this source is.

use super::StartError;
use crate::config::Config;
use crate::store::{Formats, Release};

/// What this source writes to the log, to snapshots and to other nodes, and reads. A release that adds a format raises the
/// second number and writes the new one only where the cluster's format says so (`Proposer::format`); the release after it
/// may raise the first one. See docs/operations/upgrade.md.
const FORMATS: Formats = Formats::new(1, 1);

/// The release that this source is.
pub fn release() -> Release {
    Release { version: env!("CARGO_PKG_VERSION").to_owned(), formats: FORMATS }
}

/// The release as this node shows it to others: an operator may hold back the newest format.
pub(super) fn held(release: &Release, config: &Config) -> Result<Release, StartError> {
    let Some(newest) = config.cluster.hold_format else { return Ok(release.clone()) };
    let formats = release.formats.up_to(newest);
    let formats = formats.ok_or(StartError::HoldFormat { given: newest, formats: release.formats })?;
    Ok(Release { formats, ..release.clone() })
}
