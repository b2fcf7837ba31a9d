//! A small file system for a node's data, to be filled.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use crate::janitor;

/// Name of the file that takes the room.
const FILLER: &str = "filler";

/// A memory file system of its own. Unmounted when dropped, or when the process ends.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of so many mebibytes; `None` where the tests may not mount.
    pub fn mount(mebibytes: u32) -> Option<Self> {
        let directory = janitor::new_directory("disk-");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "rookery-test"])
            .arg(&directory)
            .status();
        status.is_ok_and(|status| status.success()).then_some(Self(directory))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes until only so many bytes are free.
    pub fn fill(&self, left: u64) {
        let mut file = File::create(self.0.join(FILLER)).expect("a file can be created");
        for block in [1 << 20, 4096, 512, 1] {
            let zeros = vec![0; block];
            while file.write_all(&zeros).is_ok() {}
        }
        let bytes = file.metadata().expect("it has a size").len();
        file.set_len(bytes.saturating_sub(left)).expect("it can be made shorter");
    }

    /// Gives the room back.
    pub fn free(&self) {
        // It is not there when nothing was filled.
        let _ = fs::remove_file(self.0.join(FILLER));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, as the node may still be dying; failure leaves a mount that the janitor reports by not removing it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
