//! The identifier of this node's request to join, kept on disk until the node is a member.
//!
//! A node that is cut off while it joins asks again with the same identifier and gets the same Raft
//! identifier, so none is lost. Before the node runs for the first time the file is removed for good: an
//! empty log under a Raft identifier that has voted could elect two leaders, so nothing may lead back to it.

use std::path::{Path, PathBuf};

use super::proof::random;
use crate::error::StartError;
use crate::identity::{io_error, sync_parent, write_atomically};

/// Length of a request's identifier in bytes.
pub(crate) const REQUEST_ID_BYTES: usize = 16;

/// The identifier from the data directory, or a new one, which is on disk when this returns.
pub(crate) fn load_or_create(data_dir: &Path) -> Result<Vec<u8>, StartError> {
    let path = path(data_dir);
    match std::fs::read(&path) {
        Ok(id) if id.len() == REQUEST_ID_BYTES => Ok(id),
        // Written by rename, so never half; whatever it is, a new identifier is always right.
        Ok(_other) => create(&path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => create(&path),
        Err(error) => Err(io_error("read", &path)(error)),
    }
}

/// The identifier of a new request.
pub(crate) fn new_request_id() -> Vec<u8> {
    random(REQUEST_ID_BYTES)
}

/// Makes sure that the identifier is never used again.
pub(crate) fn discard(data_dir: &Path) -> Result<(), StartError> {
    let path = path(data_dir);
    match std::fs::remove_file(&path) {
        Ok(()) => sync_parent(&path).map_err(io_error("sync", data_dir)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error("remove", &path)(error)),
    }
}

fn create(path: &Path) -> Result<Vec<u8>, StartError> {
    let id = new_request_id();
    write_atomically(path, &id).map_err(io_error("write", path))?;
    Ok(id)
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("join.request")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_stays_until_it_is_discarded() {
        let dir = tempfile::tempdir().unwrap();
        let first = load_or_create(dir.path()).unwrap();
        assert_eq!(load_or_create(dir.path()).unwrap(), first);
        discard(dir.path()).unwrap();
        discard(dir.path()).unwrap();
        assert_ne!(load_or_create(dir.path()).unwrap(), first);
    }
}
