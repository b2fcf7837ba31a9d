//! The leader's end of a stream of batches from another node.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use openraft::error::ClientWriteError;
use rookery_proto::rookery::cluster::v1::propose_response::Result as Verdict;
use rookery_proto::rookery::cluster::v1::{NotLeader, ProposeRequest, ProposeResponse};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::disk::{DiskGuard, Importance};
use crate::membership::pause::Pause;
use crate::options::{BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, COMMAND_BYTES_LIMIT, WINDOW_ENTRIES};
use crate::raft::{Payload, Raft};
use crate::record::{self, Batch, Group, SystemChange, SystemCommand};

type Answer = Result<ProposeResponse, Status>;

/// Tells a refusal of the leader from what the transport says with the same code.
pub(crate) const DISK_FULL: &str = "the leader's disk is full";

/// Appends the batches of one stream.
pub(crate) struct Intake {
    pub(crate) raft: Raft,
    pub(crate) guard: Arc<DiskGuard>,
    pub(crate) proposals: Pause,
    /// Who sends, by its certificate.
    pub(crate) from: u64,
}

impl Intake {
    /// Appends what comes in the order in which it comes, all from this task, and answers in the same order. Ends with the
    /// first batch that is not committed: what follows it must not be committed without it.
    pub(crate) async fn run(self, mut requests: Streaming<ProposeRequest>, answers: mpsc::Sender<Answer>) {
        let mut writes: FuturesOrdered<BoxFuture<'static, Answer>> = FuturesOrdered::new();
        let mut is_reading = true;
        while is_reading || !writes.is_empty() {
            tokio::select! {
                request = requests.message(), if is_reading && writes.len() < WINDOW_ENTRIES => match request {
                    Ok(Some(request)) => {
                        let first_sequence = request.first_sequence;
                        match self.batch(request) {
                            Ok(batch) => writes.push_back(self.append(first_sequence, batch).await),
                            // Nothing behind it is taken: the sender relies on that.
                            Err(refused) => {
                                is_reading = false;
                                writes.push_back(std::future::ready(Err(refused)).boxed());
                            }
                        }
                    }
                    // The sender has gone; what it sent so far still gets its answers, if anybody reads them.
                    Ok(None) | Err(_) => is_reading = false,
                },
                Some(answer) = writes.next(), if !writes.is_empty() => {
                    let is_last = !matches!(&answer, Ok(ProposeResponse { result: Some(Verdict::CommittedIndex(_)), .. }));
                    if answers.send(answer).await.is_err() || is_last {
                        return;
                    }
                }
                () = answers.closed() => return,
            }
        }
    }

    /// Hands a batch to the Raft core and returns the future of its answer.
    async fn append(&self, first_sequence: u64, batch: Batch) -> BoxFuture<'static, Answer> {
        let open = self.proposals.pass().await;
        let sent = self.raft.client_write_ff(Payload(Arc::new(batch))).await;
        drop(open);
        async move {
            let unavailable = || Status::unavailable("the node cannot write");
            let written = sent.map_err(|_fatal| unavailable())?.await.map_err(|_gone| unavailable())?;
            let verdict = match written {
                Ok(written) => Verdict::CommittedIndex(written.log_id.index),
                Err(ClientWriteError::ForwardToLeader(forward)) => {
                    Verdict::NotLeader(NotLeader { leader_id: forward.leader_id.unwrap_or_default() })
                }
                Err(error) => Verdict::Refused(error.to_string()),
            };
            Ok(ProposeResponse { first_sequence, result: Some(verdict) })
        }
        .boxed()
    }

    fn batch(&self, request: ProposeRequest) -> Result<Batch, Status> {
        let ProposeRequest { incarnation, first_sequence, commands, after_sequence, system } = request;
        if !system.is_empty() {
            return Ok(Batch { groups: Vec::new(), system: Some(self.system(system)?) });
        }
        let bytes: usize = commands.iter().map(Bytes::len).sum();
        let is_batch = (1..=BATCH_COMMANDS_MAX).contains(&commands.len()) && bytes <= BATCH_BYTES_MAX
            || commands.len() == 1 && bytes <= COMMAND_BYTES_LIMIT;
        if !is_batch || first_sequence == 0 || after_sequence >= first_sequence {
            return Err(Status::invalid_argument("not a batch of commands"));
        }
        // A batch may hold both kinds of commands; its sender has held back ordinary ones by the reserve of its own disk.
        self.guard
            .admit(bytes as u64, Importance::Essential)
            .map_err(|_below| Status::resource_exhausted(DISK_FULL))?;
        let group = Group { node_id: self.from, incarnation, first_sequence, commands, after_sequence };
        Ok(Batch { groups: vec![group], system: None })
    }

    /// A node may say of itself that it serves or ends; everything else the leader decides.
    fn system(&self, bytes: Bytes) -> Result<SystemCommand, Status> {
        let command: SystemCommand =
            record::decode(bytes).map_err(|error| Status::invalid_argument(error.to_string()))?;
        match &command.change {
            Some(SystemChange::Register(register)) if register.node_id == self.from => Ok(command),
            Some(SystemChange::GiveUp(given_up)) if given_up.node_id == self.from => Ok(command),
            _ => Err(Status::permission_denied("a node may only register itself and give itself up")),
        }
    }
}
