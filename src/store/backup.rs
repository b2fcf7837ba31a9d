//! Backups of the catalog, checked down to its records.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rookery_cluster::backup::{self, BackupError, BackupFacts};
use rookery_cluster::{Formats, Recovered, RestoreError, SnapshotError};

use super::open::{STORAGE_DIRECTORY, Store};
use super::replica::{read_catalog, state_hash};
use crate::domain::catalog::Catalog;

impl Store {
    /// Makes a snapshot and opens its file: everything that the cluster remembers, at the returned log index.
    ///
    /// # Errors
    /// Those of the snapshot.
    pub async fn backup(&self) -> Result<(u64, File), SnapshotError> {
        self.node.backup().await
    }
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupContent {
    /// What the file says about itself.
    pub facts: BackupFacts,
    /// Number of registries.
    pub registries: usize,
    /// Number of devices.
    pub devices: usize,
    /// Number of brokers.
    pub brokers: usize,
    /// Number of stored messages.
    pub stored_messages: u64,
    /// Of all records but sessions, which end with their cluster: equal for a backup and what was restored from it.
    pub hash: [u8; 32],
}

/// Reads a backup as a whole and checks every record, as a release of these formats.
///
/// # Errors
/// [`BackupError`], which names the rule.
pub fn verify(path: &Path, formats: Formats) -> Result<BackupContent, BackupError> {
    let mut content = Catalog::new();
    let facts = backup::verify(path, |body| {
        content = read_catalog(body, formats)?;
        Ok(())
    })?;
    let content = content.without_sessions();
    let (registries, devices, brokers) = content.counts();
    let (stored_messages, _) = content.stored_message_totals();
    Ok(BackupContent { facts, registries, devices, brokers, stored_messages, hash: state_hash(&content) })
}

/// Makes the data directory of the first node of a new cluster out of a backup, for a release of these formats.
///
/// # Errors
/// [`BackupError`]; the directory is as it was.
pub fn restore(path: &Path, data_dir: &Path, formats: Formats) -> Result<Recovered, BackupError> {
    let check = |body: &mut dyn Read| -> Result<(), RestoreError> { read_catalog(body, formats).map(drop) };
    backup::restore(&data_dir.join(STORAGE_DIRECTORY), path, check)
}
