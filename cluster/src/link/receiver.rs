//! The receiving side of a link.
//!
//! Each connection has a task that takes its messages. A task is never aborted, because a delivery must not be left in
//! the middle: it is told to end, and the next connection of the same node begins when it has.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::poll;
use futures::stream::BoxStream;
use rookery_proto::rookery::cluster::v1::link_server::Link;
use rookery_proto::rookery::cluster::v1::{
    AskRequest, AskResponse, DeliverRequest, DeliverResponse, LinkOpening,
};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::answers::Answers;
use super::intake::{Admission, Epochs, Intake, IntakeError};
use super::peer::Peer;
use super::table::{Table, Verdict};
use super::{Context, Links, SILENCE_MAX};
use crate::formats::Formats;
use crate::network::{ask, authenticated};
use crate::peer::LinkSource;

/// How long a connection waits for this node to apply the entries that began its epochs.
const APPLY_TIME_MAX: Duration = Duration::from_secs(2);

/// The server of `Link`.
pub(crate) struct LinkService {
    links: Links,
}

impl LinkService {
    pub(super) fn new(links: Links) -> LinkService {
        LinkService { links }
    }

    fn context(&self) -> Result<&Arc<Context>, Status> {
        let context = self.links.inner.context.get();
        context.ok_or_else(|| Status::unavailable("the node does not belong to a cluster yet"))
    }
}

#[tonic::async_trait]
impl Link for LinkService {
    type DeliverStream = BoxStream<'static, Result<DeliverResponse, Status>>;

    async fn deliver(
        &self,
        request: Request<Streaming<DeliverRequest>>,
    ) -> Result<Response<Self::DeliverStream>, Status> {
        let caller = authenticated(&request)?;
        let context = self.context()?;
        if caller == context.own_id {
            return Err(Status::invalid_argument("the caller claims to be this node"));
        }
        let peer = Arc::clone(self.links.inner.peers.get_or_add(caller));
        let mut number = 0;
        peer.newest_stream.send_modify(|newest| {
            *newest += 1;
            number = *newest;
        });
        let (accepted, accepted_receiver) = watch::channel(None);
        let stop = Stop {
            own_id: context.own_id,
            node_id: caller,
            number,
            newest: peer.newest_stream.subscribe(),
            table: self.links.inner.table.subscribe(),
        };
        let delivery = Delivery { context: Arc::clone(context), peer, stop, accepted };
        let delivering = tokio::spawn(delivery.run(request.into_inner()));
        let answers = Answers::new(accepted_receiver, context.effects.watch(), delivering);
        Ok(Response::new(Box::pin(answers.into_stream())))
    }

    async fn ask(&self, request: Request<AskRequest>) -> Result<Response<AskResponse>, Status> {
        ask::answer(&self.context()?.service, request).await
    }
}

/// When a connection has to end.
struct Stop {
    own_id: u64,
    node_id: u64,
    number: u64,
    newest: watch::Receiver<u64>,
    table: watch::Receiver<Table>,
}

impl Stop {
    /// Why the connection has to end, if it has to.
    fn reason(&self, epochs: Epochs) -> Option<Status> {
        if *self.newest.borrow() != self.number {
            return Some(Status::aborted("a newer connection of the same node replaces this one"));
        }
        match self.table.borrow().judge(self.node_id, self.own_id, epochs) {
            Verdict::Over => Some(Status::failed_precondition("an epoch of the link is over")),
            Verdict::Current | Verdict::NotYet => None,
        }
    }

    /// Whether [`Self::reason`] may have changed.
    fn may_have_changed(&self) -> bool {
        self.newest.has_changed().unwrap_or(true) || self.table.has_changed().unwrap_or(true)
    }

    /// Returns when the connection has to end.
    async fn wait(&mut self, epochs: Epochs) -> Status {
        loop {
            self.newest.mark_unchanged();
            self.table.mark_unchanged();
            if let Some(reason) = self.reason(epochs) {
                return reason;
            }
            let changed = tokio::select! {
                changed = self.newest.changed() => changed,
                changed = self.table.changed() => changed,
            };
            if changed.is_err() {
                return Status::unavailable("the node is shutting down");
            }
        }
    }
}

/// One connection.
struct Delivery {
    context: Arc<Context>,
    peer: Arc<Peer>,
    stop: Stop,
    /// The last accepted sequence, for the answers.
    accepted: watch::Sender<Option<u64>>,
}

impl Delivery {
    /// Takes messages until the connection ends; says why.
    async fn run(mut self, mut requests: Streaming<DeliverRequest>) -> Status {
        let status = match self.receive(&mut requests).await {
            Ok(()) => Status::ok(""),
            Err(status) => status,
        };
        tracing::debug!(node = self.peer.node_id, reason = status.message(), "a link from a node ended");
        status
    }

    async fn receive(&mut self, requests: &mut Streaming<DeliverRequest>) -> Result<(), Status> {
        let Some(first) = next_message(requests).await? else { return Ok(()) };
        let opening = first.opening.as_ref().ok_or_else(|| Status::invalid_argument("no opening"))?;
        let epochs = checked(opening, self.context.release.formats)?;
        self.until_current(epochs).await?;
        self.report(epochs, &first);
        let peer = Arc::clone(&self.peer);
        // The connection before ends first; a delivery that it has begun is finished.
        let mut intake = tokio::select! {
            intake = peer.intake.lock() => intake,
            reason = self.ended(epochs) => return Err(reason),
        };
        if let Some(reason) = self.stop.reason(epochs) {
            return Err(reason);
        }
        let accepted = if epochs.sender == 0 {
            first.first_sequence.saturating_sub(1)
        } else {
            intake.open(epochs, first.first_sequence).map_err(refused)?
        };
        self.publish(accepted);
        loop {
            let message = tokio::select! {
                biased;
                reason = self.ended(epochs) => return Err(reason),
                message = next_message(requests) => message?,
            };
            let Some(message) = message else { return Ok(()) };
            self.report(epochs, &message);
            if epochs.sender == 0 && !message.chunks.is_empty() {
                return Err(Status::failed_precondition("a node that is not registered delivers nothing"));
            }
            self.deliver(epochs, &mut intake, message).await?;
        }
    }

    /// Waits until this node has applied the entries that began the epochs.
    async fn until_current(&mut self, epochs: Epochs) -> Result<(), Status> {
        let (node_id, own_id) = (self.stop.node_id, self.stop.own_id);
        let mut table = self.stop.table.clone();
        let known = table.wait_for(|table| table.judge(node_id, own_id, epochs) != Verdict::NotYet);
        tokio::select! {
            biased;
            known = timeout(APPLY_TIME_MAX, known) => match known {
                Ok(Ok(_known)) => {}
                Ok(Err(_closed)) => return Err(Status::unavailable("the node is shutting down")),
                Err(_elapsed) => return Err(Status::unavailable("an epoch of the link is not known here yet")),
            },
            reason = self.ended(epochs) => return Err(reason),
        }
        self.stop.reason(epochs).map_or(Ok(()), Err)
    }

    /// Returns when the connection has to end for another reason than what comes on it.
    async fn ended(&mut self, epochs: Epochs) -> Status {
        tokio::select! {
            reason = self.stop.wait(epochs) => reason,
            () = self.accepted.closed() => Status::cancelled("the caller is gone"),
        }
    }

    /// Takes the chunks of a message, one after the other.
    async fn deliver(
        &mut self,
        epochs: Epochs,
        intake: &mut Intake,
        message: DeliverRequest,
    ) -> Result<(), Status> {
        let source = LinkSource { node_id: self.peer.node_id, epoch: epochs.sender };
        let counters = &self.peer.counters;
        let mut accepted = None;
        let mut sequence = message.first_sequence;
        for chunk in message.chunks {
            if self.stop.may_have_changed()
                && let Some(reason) = self.stop.reason(epochs)
            {
                return Err(reason);
            }
            if intake.admit(sequence).map_err(refused)? == Admission::Next {
                counters.chunks_received.fetch_add(1, Ordering::Relaxed);
                counters.bytes_received.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                let mut delivery = self.context.service.deliver(source, chunk);
                // What was accepted is told after the message, or now if the next chunk takes its time.
                if poll!(delivery.as_mut()).is_pending() {
                    accepted.take().into_iter().for_each(|sequence| self.publish(sequence));
                    delivery.await;
                }
                accepted = Some(intake.accepted());
            }
            sequence = sequence.saturating_add(1);
        }
        accepted.into_iter().for_each(|sequence| self.publish(sequence));
        Ok(())
    }

    fn publish(&self, accepted: u64) {
        self.accepted.send_replace(Some(accepted));
    }

    fn report(&self, epochs: Epochs, message: &DeliverRequest) {
        // Nobody waits for a node that is not registered.
        if epochs.sender != 0 && message.effective_index > 0 {
            self.context.barrier.report(self.peer.node_id, message.effective_index);
        }
    }
}

/// The next message; `None` at the orderly end. May be dropped without loss.
async fn next_message(requests: &mut Streaming<DeliverRequest>) -> Result<Option<DeliverRequest>, Status> {
    match timeout(SILENCE_MAX, requests.message()).await {
        Ok(message) => message,
        Err(_elapsed) => Err(Status::deadline_exceeded("the sender of the link says nothing")),
    }
}

fn checked(opening: &LinkOpening, readable: Formats) -> Result<Epochs, Status> {
    let (format, version) = (opening.format, &opening.version);
    if format == 0 || format > readable.newest() {
        let newest = readable.newest();
        return Err(Status::failed_precondition(format!(
            "this node reads formats up to {newest} on a link; version {version} writes {format}"
        )));
    }
    Ok(Epochs { sender: opening.sender_epoch, receiver: opening.receiver_epoch })
}

/// A sender that breaks the protocol is cut off.
fn refused(error: IntakeError) -> Status {
    Status::failed_precondition(error.to_string())
}
