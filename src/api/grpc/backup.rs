//! `rookery.admin.v1.BackupService`.

use std::pin::Pin;

use bytes::BytesMut;
use futures::{Stream, stream};
use rookery_proto::rookery::admin::v1::{self as pb, backup_service_server::BackupService};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tonic::{Request, Response, Status};

use super::call::{Backend, accept};

/// Bytes of one message.
const CHUNK_BYTES: usize = 256 * 1024;

/// The service.
pub struct BackupApi {
    backend: Backend,
}

impl BackupApi {
    /// Backs up what this node has.
    pub fn new(backend: Backend) -> Self {
        Self { backend }
    }
}

#[tonic::async_trait]
impl BackupService for BackupApi {
    type CreateStream = Pin<Box<dyn Stream<Item = Result<pb::BackupChunk, Status>> + Send>>;

    async fn create(
        &self,
        request: Request<pb::CreateBackupRequest>,
    ) -> Result<Response<Self::CreateStream>, Status> {
        let (call, _) = accept(request)?;
        let (log_index, file) = self.backend.operators.backup().await.map_err(Status::unavailable)?;
        tracing::info!(log_index, subject = %call.caller.subject, "Create backup");
        let chunks =
            stream::try_unfold((File::from_std(file), log_index), |(mut file, log_index)| async move {
                let mut data = BytesMut::with_capacity(CHUNK_BYTES);
                file.read_buf(&mut data)
                    .await
                    .map_err(|error| Status::unavailable(format!("the snapshot cannot be read: {error}")))?;
                let chunk = pb::BackupChunk { data: data.freeze(), log_index };
                Ok((!chunk.data.is_empty()).then_some((chunk, (file, 0))))
            });
        Ok(Response::new(Box::pin(chunks)))
    }
}
