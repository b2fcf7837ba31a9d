//! Reading and writing the few small files of the PKI directory.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::PkiError;

/// Mode of files that hold a private key.
pub const SECRET: u32 = 0o600;

/// Mode of files that hold certificates only.
pub const PUBLIC: u32 = 0o644;

/// Creates the directory (mode 0700) and its parents unless it exists.
pub fn create_directory(path: &Path) -> Result<(), PkiError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| PkiError::File {
        action: "create",
        path: path.to_owned(),
        error,
    })
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>, PkiError> {
    fs::read(path).map_err(|error| PkiError::File { action: "read", path: path.to_owned(), error })
}

/// Writes a file so that after a crash it has the old content or the new one, never a part. It has
/// `mode` from its first moment, so a key is never readable by others.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), PkiError> {
    let temporary = path.with_extension("new");
    let written = (|| {
        // A left-over of a crash may have another mode.
        let _ = fs::remove_file(&temporary);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        if let Some(parent) = path.parent() {
            fs::File::open(parent)?.sync_all()?;
        }
        Ok(())
    })();
    written.map_err(|error| PkiError::File { action: "write", path: path.to_owned(), error })
}
