//! The sending side of a link: one task for each other node, for the life of the process.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use rand::Rng;
use rookery_proto::rookery::cluster::v1::{DeliverRequest, DeliverResponse, LinkOpening};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Status};

use super::codec::DeliverCodec;
use super::intake::Epochs;
use super::peer::{Attempt, Next, Peer};
use super::queue::{Batch, Violation};
use super::{Context, HEARTBEAT, SILENCE_MAX};
use crate::lease::now_ns;
use crate::network::ChannelError;

/// The method that carries a link.
const DELIVER: &str = "/rookery.cluster.v1.Link/Deliver";
/// First pause after a connection broke; doubles.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Time to connect and to get the first sign of life.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);

/// Why there is no connection (any more).
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("no connection within {} s", CONNECT_TIME_MAX.as_secs())]
    ConnectTimeout,
    #[error("nothing heard for {} ms", SILENCE_MAX.as_millis())]
    Silent,
    #[error("{} ({:?})", .0.message(), .0.code())]
    Refused(#[from] Status),
    #[error("the node ended the link")]
    Ended,
    #[error("the link serves other epochs now")]
    Retargeted,
    #[error(transparent)]
    Violation(#[from] Violation),
}

/// Keeps the link to one node going, whenever it is registered.
pub(super) async fn run(context: Arc<Context>, peer: Arc<Peer>) {
    let mut targets = peer.targets();
    let mut pause = PAUSE_MIN;
    let mut is_told = false;
    loop {
        let target = *targets.borrow_and_update();
        let attempt = target.and_then(|target| Some((target, peer.attempt(target)?)));
        let Some((target, attempt)) = attempt else {
            if targets.changed().await.is_err() {
                return;
            }
            continue;
        };
        let number = attempt.number;
        let error = tokio::select! {
            error = connection(&context, &peer, target, attempt) => error,
            _ = targets.changed() => LinkError::Retargeted,
        };
        let was_open = peer.broken(number);
        if was_open {
            context.service.link_changed(peer.node_id);
            pause = PAUSE_MIN;
        }
        match error {
            LinkError::Retargeted => {
                (pause, is_told) = (PAUSE_MIN, false);
                continue;
            }
            // After a start the table of nodes is there before the members are known.
            LinkError::Channel(ChannelError::UnknownNode(_)) if !was_open => {
                tracing::debug!(node = peer.node_id, %error, "no link yet");
            }
            LinkError::Violation(_) => tracing::error!(node = peer.node_id, %error, "the link broke"),
            _ if was_open || !is_told => tracing::warn!(node = peer.node_id, %error, "no link"),
            _ => tracing::debug!(node = peer.node_id, %error, "still no link"),
        }
        is_told |= !matches!(error, LinkError::Channel(ChannelError::UnknownNode(_)));
        let until = Instant::now() + pause.mul_f64(rand::rng().random_range(0.5..1.0));
        pause = (pause * 2).min(PAUSE_MAX);
        tokio::select! {
            () = sleep_until(until) => {}
            _ = targets.changed() => pause = PAUSE_MIN,
        }
    }
}

/// One connection, until it ends.
async fn connection(context: &Context, peer: &Arc<Peer>, target: Epochs, attempt: Attempt) -> LinkError {
    match converse(context, peer, target, attempt).await {
        Ok(()) => LinkError::Ended,
        Err(error) => error,
    }
}

async fn converse(
    context: &Context,
    peer: &Arc<Peer>,
    target: Epochs,
    attempt: Attempt,
) -> Result<(), LinkError> {
    let number = attempt.number;
    let requests = Requests::new(context, peer, target, attempt).into_stream();
    let connecting = async {
        // A connection of its own: one that was given up may swallow everything without an end.
        let channel = context.channels.fresh_channel(peer.node_id)?;
        let mut client = Grpc::new(channel);
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static(DELIVER);
        let answers = client.streaming(Request::new(requests), path, DeliverCodec).await?;
        Ok::<_, LinkError>(answers.into_inner())
    };
    let mut answers =
        timeout(CONNECT_TIME_MAX, connecting).await.map_err(|_| LinkError::ConnectTimeout)??;
    loop {
        let answer = timeout(SILENCE_MAX, answers.message()).await.map_err(|_| LinkError::Silent)??;
        let Some(answer) = answer else { return Ok(()) };
        peer.heard(now_ns());
        take_answer(context, peer, number, &answer)?;
    }
}

fn take_answer(
    context: &Context,
    peer: &Peer,
    attempt: u64,
    answer: &DeliverResponse,
) -> Result<(), Violation> {
    if answer.effective_index > 0 {
        context.barrier.report(peer.node_id, answer.effective_index);
    }
    let Some(accepted) = answer.accepted_sequence else { return Ok(()) };
    let answered = peer.answered(attempt, accepted)?;
    if answered.opened {
        tracing::info!(node = peer.node_id, "link open");
    }
    if let Some(sequence) = answered.acknowledged {
        context.service.acknowledged(peer.node_id, sequence);
    }
    if answered.opened || answered.relieved {
        context.service.link_changed(peer.node_id);
    }
    Ok(())
}

/// What goes out on one connection. It is polled by the connection itself, so nothing is taken from the queue that the
/// connection has no room for.
struct Requests {
    peer: Arc<Peer>,
    attempt: Attempt,
    opening: Option<LinkOpening>,
    effective: watch::Receiver<u64>,
    /// When the next message is due if there is nothing to say.
    heartbeat: Instant,
}

impl Requests {
    fn new(context: &Context, peer: &Arc<Peer>, target: Epochs, attempt: Attempt) -> Requests {
        let opening = LinkOpening {
            sender_epoch: target.sender,
            receiver_epoch: target.receiver,
            format: context.format.get(),
            version: context.release.version.clone(),
        };
        let mut effective = context.effects.watch();
        effective.mark_changed();
        let heartbeat = Instant::now() + HEARTBEAT;
        Requests { peer: Arc::clone(peer), attempt, opening: Some(opening), effective, heartbeat }
    }

    fn into_stream(self) -> impl Stream<Item = DeliverRequest> + Send + 'static {
        stream::unfold(self, |mut requests| async move {
            let request = requests.next().await?;
            Some((request, requests))
        })
    }

    async fn next(&mut self) -> Option<DeliverRequest> {
        if let Some(opening) = self.opening.take() {
            let first_sequence = self.attempt.first_sequence;
            return Some(DeliverRequest { opening: Some(opening), first_sequence, ..self.report() });
        }
        loop {
            match self.peer.next(self.attempt.number) {
                Next::Send(Batch { first_sequence, chunks, .. }) => {
                    return Some(DeliverRequest { first_sequence, chunks, ..self.report() });
                }
                Next::End => return None,
                Next::Sleep => {}
            }
            tokio::select! {
                biased;
                () = self.attempt.wake.notified() => {}
                // Fails only when the process ends.
                Ok(()) = self.effective.changed() => {
                    self.effective.mark_changed();
                    return Some(self.report());
                }
                () = sleep_until(self.heartbeat) => return Some(self.report()),
            }
        }
    }

    /// A message with the effective index, if it has changed, and nothing else.
    fn report(&mut self) -> DeliverRequest {
        self.heartbeat = Instant::now() + HEARTBEAT;
        let has_changed = self.effective.has_changed().unwrap_or(false);
        let effective_index = if has_changed { *self.effective.borrow_and_update() } else { 0 };
        DeliverRequest { effective_index, ..DeliverRequest::default() }
    }
}
