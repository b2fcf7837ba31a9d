//! The mark of a node that has left its cluster for good, in its data directory.
//!
//! A removed node is never heard again under its identifier, so what it stored is of no use to it. The mark says that the
//! directory may be emptied: started again, the node joins as a new one. Without the mark it would wait for ever.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::STORAGE_DIRECTORY;

/// The file, in the data directory.
const FILE: &str = "departed";

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

/// Marks the directory of a node that was removed from its cluster; `node` is its name, for people.
///
/// # Errors
/// Those of the file system.
pub fn mark(data_dir: &Path, node: &str) -> io::Result<()> {
    let text =
        format!("node {node} left its cluster; its next start empties {STORAGE_DIRECTORY}/ and joins anew\n");
    let file = path(data_dir);
    fs::write(&file, text)?;
    fs::File::open(&file)?.sync_all()?;
    fs::File::open(data_dir)?.sync_all()
}

/// Empties a directory that has the mark, and takes the mark away last. Returns whether there was one.
///
/// # Errors
/// Those of the file system; the next start goes on with it.
pub fn clean(data_dir: &Path) -> io::Result<bool> {
    let file = path(data_dir);
    if !file.try_exists()? {
        return Ok(false);
    }
    match fs::remove_dir_all(data_dir.join(STORAGE_DIRECTORY)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::File::open(data_dir)?.sync_all()?;
    fs::remove_file(&file)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_marked_directory_is_emptied_and_only_of_what_the_cluster_gave() {
        let dir = tempfile::tempdir().unwrap();
        let storage = dir.path().join(STORAGE_DIRECTORY);
        fs::create_dir(&storage).unwrap();
        fs::write(storage.join("identity.json"), "{}").unwrap();
        fs::write(dir.path().join("admin.token"), "secret").unwrap();
        assert!(!clean(dir.path()).unwrap());
        assert!(storage.exists());
        mark(dir.path(), "n4").unwrap();
        assert!(clean(dir.path()).unwrap());
        assert!(!storage.exists());
        assert!(dir.path().join("admin.token").exists());
        assert!(!clean(dir.path()).unwrap());
    }
}
