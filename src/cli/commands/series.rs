//! A directory of backups that are made on a schedule: their names tell when, and the oldest make room.

use std::fs;
use std::path::{Path, PathBuf};

use super::backup::using;
use crate::cli::error::CliError;
use crate::cli::output::note;
use crate::domain::timestamp::Timestamp;

const PREFIX: &str = "rookery-";
const SUFFIX: &str = ".backup";
/// Of a time to the second: `2026-11-26T23:04:05`.
const SECONDS: usize = 19;

/// The file for a backup that is made now.
pub fn next_file(directory: &Path, now: Timestamp) -> PathBuf {
    let time = now.rfc3339();
    let digits: String = time.chars().take(SECONDS).filter(|char| !matches!(char, '-' | ':')).collect();
    directory.join(format!("{PREFIX}{digits}Z{SUFFIX}"))
}

/// Removes all backups with such names but the newest `keep`. Other files are not touched.
///
/// # Errors
/// [`CliError::File`]; what could be removed before is gone.
pub fn remove_oldest(directory: &Path, keep: usize) -> Result<(), CliError> {
    let mut backups = Vec::new();
    for entry in fs::read_dir(directory).map_err(using(directory))? {
        let name = entry.map_err(using(directory))?.file_name();
        if let Some(name) = name.to_str().filter(|name| is_one(name)) {
            backups.push(name.to_owned());
        }
    }
    backups.sort_unstable();
    let old = backups.len().saturating_sub(keep);
    for name in &backups[..old] {
        let path = directory.join(name);
        fs::remove_file(&path).map_err(using(&path))?;
        note(&format!("{} was removed: --keep {keep}", path.display()));
    }
    Ok(())
}

/// Whether the name is one that [`next_file`] gives.
fn is_one(name: &str) -> bool {
    let time = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    let fits = |(place, char): (usize, char)| match place {
        8 => char == 'T',
        15 => char == 'Z',
        _ => char.is_ascii_digit(),
    };
    time.is_some_and(|time| time.len() == 16 && time.chars().enumerate().all(fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_and_so_does_what_is_none_of_ours() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let second = |second: u64| Timestamp::from_nanoseconds(second * 1_000_000_000);
        let files: Vec<_> = [5, 3, 4].map(|at| next_file(directory.path(), second(at))).to_vec();
        assert_eq!(files[0], path("rookery-19700101T000005Z.backup"));
        let foreign = [
            "rookery-first.backup",
            "rookery-19700101T000005Z.backup.unfinished",
            "rookery-1970010é000001Z.backup",
        ];
        for file in files.iter().cloned().chain(foreign.map(path)) {
            fs::write(file, "x").unwrap();
        }
        remove_oldest(directory.path(), 2).unwrap();
        assert!(files[0].exists() && !files[1].exists() && files[2].exists());
        remove_oldest(directory.path(), 7).unwrap();
        assert_eq!(directory.path().read_dir().unwrap().count(), 2 + foreign.len());
    }
}
