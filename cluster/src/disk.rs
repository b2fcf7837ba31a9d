//! Free disk space: how it is measured and when it stops the writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Default reserve: at most this many bytes.
const RESERVE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Default reserve: at most this share of the file system, in percent.
const RESERVE_PERCENT: u64 = 5;

/// Free space this close above the reserve is measured again for every command.
const NEAR_BYTES: u64 = 16 * 1024 * 1024;

/// The size of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes an unprivileged process may still write.
    pub free_bytes: u64,
    /// All bytes of the file system.
    pub total_bytes: u64,
}

/// Measures free space; replaced in tests.
pub trait DiskProbe: Send + Sync + 'static {
    /// The space on the file system that holds `path`.
    ///
    /// # Errors
    /// Those of the operating system.
    fn measure(&self, path: &Path) -> std::io::Result<DiskSpace>;
}

/// Asks the operating system with `statvfs`.
#[derive(Debug, Clone, Copy)]
pub struct StatvfsProbe;

impl DiskProbe for StatvfsProbe {
    fn measure(&self, path: &Path) -> std::io::Result<DiskSpace> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(DiskSpace {
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }
}

/// What a command is refused for when the disk is nearly full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Importance {
    /// It must leave the whole reserve.
    Ordinary,
    /// It may use half of the reserve: what comes and goes with the clients that a node has.
    Essential,
}

/// Keeps a reserve of free space. Between two measurements the accepted bytes are subtracted from the last one.
pub(crate) struct DiskGuard {
    probe: Arc<dyn DiskProbe>,
    path: PathBuf,
    reserve_bytes: u64,
    free_bytes: AtomicU64,
}

/// Free space is below the reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BelowReserve {
    pub(crate) free_bytes: u64,
    pub(crate) reserve_bytes: u64,
}

impl DiskGuard {
    /// Measures `path` once and fixes the reserve.
    pub(crate) fn new(
        probe: Arc<dyn DiskProbe>,
        path: &Path,
        reserve_bytes: Option<u64>,
    ) -> std::io::Result<DiskGuard> {
        let space = probe.measure(path)?;
        let default_reserve = RESERVE_BYTES_MAX.min(space.total_bytes / 100 * RESERVE_PERCENT);
        Ok(DiskGuard {
            probe,
            path: path.to_owned(),
            reserve_bytes: reserve_bytes.unwrap_or(default_reserve),
            free_bytes: AtomicU64::new(space.free_bytes),
        })
    }

    /// Bytes that must stay free.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes
    }

    /// Free bytes as last known.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// Measures again. When measuring fails the last value stays, because a failing `statvfs` says nothing about
    /// space and a write will tell.
    pub(crate) fn refresh(&self) -> u64 {
        match self.probe.measure(&self.path) {
            Ok(space) => self.free_bytes.store(space.free_bytes, Ordering::Relaxed),
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "cannot measure free disk space");
            }
        }
        self.free_bytes()
    }

    /// Whether the last known free space keeps the reserve.
    pub(crate) fn check(&self) -> Result<(), BelowReserve> {
        self.check_for(Importance::Ordinary)
    }

    fn check_for(&self, importance: Importance) -> Result<(), BelowReserve> {
        let free_bytes = self.free_bytes();
        let reserve_bytes = match importance {
            Importance::Ordinary => self.reserve_bytes,
            Importance::Essential => self.reserve_bytes / 2,
        };
        if free_bytes >= reserve_bytes { Ok(()) } else { Err(BelowReserve { free_bytes, reserve_bytes }) }
    }

    /// Decides about `bytes` more to write, measuring first when the reserve is near.
    pub(crate) fn admit(&self, bytes: u64, importance: Importance) -> Result<(), BelowReserve> {
        if self.reserve_bytes == 0 {
            return Ok(());
        }
        if self.free_bytes() < self.reserve_bytes.saturating_add(NEAR_BYTES) {
            self.refresh();
        }
        self.check_for(importance)?;
        let take = |free: u64| Some(free.saturating_sub(bytes));
        let _previous = self.free_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        Ok(())
    }
}
