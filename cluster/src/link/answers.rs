//! What the receiving side of a link answers on one connection.

use futures::{Stream, stream};
use rookery_proto::rookery::cluster::v1::DeliverResponse;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::HEARTBEAT;

/// The answers on one connection. Polled by the connection itself: what changes in the meantime goes out together.
pub(crate) struct Answers {
    /// The last accepted sequence; `None` until it is known.
    accepted: watch::Receiver<Option<u64>>,
    effective: watch::Receiver<u64>,
    /// Delivers what comes on the connection; ends with the reason why it stopped. `None` once that was told.
    delivering: Option<JoinHandle<Status>>,
    heartbeat: Instant,
}

impl Answers {
    /// Answers for what `delivering` does, which publishes `accepted` and drops its sender at its end.
    pub(crate) fn new(
        accepted: watch::Receiver<Option<u64>>,
        mut effective: watch::Receiver<u64>,
        delivering: JoinHandle<Status>,
    ) -> Answers {
        effective.mark_changed();
        Answers { accepted, effective, delivering: Some(delivering), heartbeat: Instant::now() }
    }

    /// The answers as gRPC wants them.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<DeliverResponse, Status>> + Send + 'static {
        stream::unfold(self, |mut answers| async move {
            let answer = answers.next().await?;
            Some((answer, answers))
        })
    }

    async fn next(&mut self) -> Option<Result<DeliverResponse, Status>> {
        self.delivering.as_ref()?;
        let mut has_accepted = false;
        tokio::select! {
            biased;
            changed = self.accepted.changed() => match changed {
                Ok(()) => has_accepted = true,
                Err(_ended) => return Some(Err(self.end().await?)),
            },
            // How far this node is goes out at once on its own link; here with what else is said.
            () = sleep_until(self.heartbeat) => {}
        }
        self.heartbeat = Instant::now() + HEARTBEAT;
        has_accepted |= self.accepted.has_changed().unwrap_or(false);
        let accepted_sequence = if has_accepted { *self.accepted.borrow_and_update() } else { None };
        let has_advanced = self.effective.has_changed().unwrap_or(false);
        let effective_index = if has_advanced { *self.effective.borrow_and_update() } else { 0 };
        Some(Ok(DeliverResponse { accepted_sequence, effective_index }))
    }

    async fn end(&mut self) -> Option<Status> {
        let ended = self.delivering.take()?.await;
        Some(ended.unwrap_or_else(|_panic| Status::internal("the receiver of the link failed")))
    }
}
