//! Receives a snapshot file in chunks and hands it to the Raft core.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rookery_proto::rookery::cluster::v1::{SnapshotChunk, SnapshotHead};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::convert;
use crate::disk::DiskGuard;
use crate::election::Heard;
use crate::raft::{LogId, Raft, Snapshot, SnapshotFile, Vote};
use crate::snapshot::format::Verified;
use crate::snapshot::store;

/// A sender that sends no chunk for this long is given up.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a snapshot that is being installed counts as word of the leader; shorter than the silence after which one may
/// be missed.
const BEAT: Duration = Duration::from_millis(250);

/// A snapshot that arrives.
pub(crate) struct SnapshotIntake {
    raft: Raft,
    guard: Arc<DiskGuard>,
    heard: Arc<Heard>,
    chunks: Streaming<SnapshotChunk>,
    first: bytes::Bytes,
    head: SnapshotHead,
    /// The leader's.
    pub(crate) vote: Vote,
}

/// Counts the snapshot as word of the leader, which sends nothing else to this node until it is installed. Otherwise a node
/// that takes in a large one would ask for votes as soon as it is done, and a leader that is well would have to go.
struct Beat {
    heard: Arc<Heard>,
    /// A leader of an earlier term is none.
    is_of_leader: bool,
}

impl Beat {
    fn note(&self) {
        if self.is_of_leader {
            self.heard.note();
        }
    }

    /// While `work` is under way, which ends with the call of the leader at the latest.
    async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut beats = tokio::time::interval(BEAT);
        loop {
            tokio::select! {
                done = &mut work => {
                    self.note();
                    return done;
                }
                _ = beats.tick() => self.note(),
            }
        }
    }
}

/// Removes the file unless it was taken over.
struct Temporary {
    file: SnapshotFile,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Taken over means renamed. What is left of a failed attempt would only take space until the next start.
        let _absent = std::fs::remove_file(&self.file.path);
    }
}

impl SnapshotIntake {
    /// Waits for the first chunk.
    pub(crate) async fn begin(
        raft: Raft,
        guard: Arc<DiskGuard>,
        heard: Arc<Heard>,
        mut chunks: Streaming<SnapshotChunk>,
    ) -> Result<SnapshotIntake, Status> {
        let incomplete = || Status::invalid_argument("a snapshot begins with its description");
        let SnapshotChunk { head, data: first } = next(&mut chunks).await?.ok_or_else(incomplete)?;
        let head = head.ok_or_else(incomplete)?;
        let vote = convert::vote(head.vote).map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(SnapshotIntake { raft, guard, heard, chunks, first, head, vote })
    }

    /// Receives the rest, checks it and installs it. Returns the vote of this node, which is higher than the leader's if it
    /// has seen a newer one.
    pub(crate) async fn run(self) -> Result<Vote, Status> {
        let SnapshotIntake { raft, guard, heard, mut chunks, first, head, vote } = self;
        let beat = Beat { heard, is_of_leader: vote.is_committed() && vote >= raft.metrics().borrow().vote };
        let needed = guard.reserve_bytes().saturating_add(head.total_bytes);
        if guard.reserve_bytes() > 0 && guard.refresh() < needed {
            return Err(Status::resource_exhausted("the disk has no space for the snapshot"));
        }
        let file =
            raft.begin_receiving_snapshot().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let temporary = Temporary { file: *file };
        receive(&temporary.file, head.total_bytes, first, &mut chunks, &beat).await?;
        let path = temporary.file.path.clone();
        // The file says what its membership is; the description only what it must cover.
        let meta = tokio::task::spawn_blocking(move || {
            let verified = Verified::open(&path).map_err(|error| error.to_string())?;
            store::meta(&verified.header).map_err(|error| error.to_string())
        });
        let meta = beat
            .during(meta)
            .await
            .unwrap_or_else(|panic| Err(panic.to_string()))
            .map_err(Status::data_loss)?;
        if meta.last_log_id != head.last_log_id.map(convert::log_id) || meta.snapshot_id != head.snapshot_id {
            return Err(Status::data_loss("the snapshot is not the one that was announced"));
        }
        let covered = meta.last_log_id.as_ref().map(|id: &LogId| id.index);
        tracing::info!(?covered, bytes = head.total_bytes, "a snapshot of the leader has arrived");
        let snapshot = Snapshot { meta, snapshot: Box::new(temporary.file.clone()) };
        let installed = beat.during(raft.install_full_snapshot(vote, snapshot)).await;
        Ok(installed.map_err(|fatal| Status::unavailable(fatal.to_string()))?.vote)
    }
}

async fn receive(
    file: &SnapshotFile,
    total: u64,
    first: bytes::Bytes,
    chunks: &mut Streaming<SnapshotChunk>,
    beat: &Beat,
) -> Result<(), Status> {
    let failed = |error: std::io::Error| Status::unavailable(format!("cannot write the snapshot: {error}"));
    let mut file = tokio::fs::OpenOptions::new().write(true).open(&file.path).await.map_err(failed)?;
    let mut received = 0;
    let mut chunk = Some(first);
    while let Some(data) = chunk {
        received += data.len() as u64;
        if received > total {
            return Err(Status::invalid_argument("the snapshot is longer than it was announced"));
        }
        file.write_all(&data).await.map_err(failed)?;
        beat.note();
        chunk = next(chunks).await?.map(|chunk| chunk.data);
    }
    if received < total {
        return Err(Status::data_loss("the snapshot is shorter than it was announced"));
    }
    file.sync_all().await.map_err(failed)
}

async fn next(chunks: &mut Streaming<SnapshotChunk>) -> Result<Option<SnapshotChunk>, Status> {
    let late = |_elapsed| Status::deadline_exceeded("the snapshot does not arrive");
    timeout(CHUNK_TIMEOUT, chunks.message()).await.map_err(late)?
}
