//! The one way to put a message into an actor's mailbox.
//!
//! actix's own `do_send` ignores the capacity of a mailbox and loses the message silently when the actor is gone, so
//! it is banned by lint. A mailbox carries control only; volume goes through lanes.

use actix::dev::ToEnvelope;
use actix::prelude::{Actor, Addr, Handler, Message, SendError};

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// The mailbox is full; worth another try later.
    #[error("mailbox is full")]
    Overloaded,
    /// The actor has ended.
    #[error("actor has ended")]
    Gone,
}

/// Posts a message, within the capacity of the mailbox, or gives it back.
///
/// # Errors
/// [`PostError`] with the message.
pub fn offer<A, M>(address: &Addr<A>, message: M) -> Result<(), (PostError, M)>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    address.try_send(message).map_err(|error| match error {
        SendError::Full(message) => (PostError::Overloaded, message),
        SendError::Closed(message) => (PostError::Gone, message),
    })
}

/// Posts a message, within the capacity of the mailbox.
///
/// # Errors
/// [`PostError`]; the message is dropped then.
pub fn post<A, M>(address: &Addr<A>, message: M) -> Result<(), PostError>
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    offer(address, message).map_err(|(error, _)| error)
}

/// Posts a message that must not be lost, such as the end of a session. A fresh clone of an address may put one
/// message beyond the capacity, and each caller has few of these to post, so the mailbox stays bounded.
pub fn post_always<A, M>(address: &Addr<A>, message: M)
where
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    // An actor that has ended has nothing left to be told; its successor starts from nothing.
    let _ = post(&address.clone(), message);
}
