//! The read side of a connection: one stream that drives the whole actor.
//!
//! It reads into a buffer of the thread, not of the connection, so that an idle connection keeps no buffer at all
//! (`ANCHORS`: 1.2 kB instead of 5.4 kB per idle connection). Only the beginning of an unfinished packet is kept.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::io::ReadBuf;

use crate::actors::close::CloseReason;
use crate::actors::lane::link::Link;
use crate::actors::lane::{self};
use crate::actors::slot::Slot;

/// Size of the read buffer of a thread, in bytes.
const READ_BUFFER_BYTES: usize = 128 * 1024;

/// An unfinished packet up to this size is moved to the front of the read buffer, so that what follows continues it in
/// place; a longer one grows on its own, so that nothing is moved twice.
const MOVED_TAIL_BYTES_MAX: usize = 4 * 1024;

thread_local! {
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER_BYTES].into_boxed_slice());
}

/// What the stream of a connection yields.
#[derive(Debug)]
pub enum ReadEvent {
    /// `length` bytes stand in the thread's read buffer; [`with_read_bytes`] gives access to them. The last `received`
    /// of them are new, those before were kept of an earlier read.
    Bytes {
        /// All bytes.
        length: usize,
        /// The new ones.
        received: usize,
    },
    /// What waited while the connection was paused can be handled now.
    Resumed,
    /// The connection is to end.
    Close(CloseReason),
}

/// Runs `handle` on the first `length` bytes of this thread's read buffer.
pub fn with_read_bytes<T>(length: usize, handle: impl FnOnce(&[u8]) -> T) -> T {
    READ_BUFFER.with_borrow(|buffer| handle(&buffer[..length]))
}

/// The stream of a connection.
pub struct ReadStream {
    link: Rc<Link>,
    slot: Slot,
    ended: bool,
}

impl ReadStream {
    /// The stream over `link`, whose outbox is in `slot`.
    pub fn new(link: Rc<Link>, slot: Slot) -> Self {
        Self { link, slot, ended: false }
    }

    /// Reads behind what was kept; the result is the length of both together and the number of new bytes.
    fn poll_read(&mut self, task: &mut Context<'_>) -> Poll<io::Result<(usize, usize)>> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let mut tail = self.link.tail.borrow_mut();
            let moved = if tail.len() <= MOVED_TAIL_BYTES_MAX { tail.len() } else { 0 };
            let end = self.link.read_bytes_max.get().saturating_add(moved).min(buffer.len());
            let mut free = ReadBuf::new(&mut buffer[moved..end]);
            let mut transport = self.link.transport.borrow_mut();
            std::task::ready!(Pin::new(&mut **transport).poll_read(task, &mut free))?;
            let received = free.filled().len();
            if received == 0 {
                return Poll::Ready(Ok((0, 0)));
            }
            if moved > 0 {
                buffer[..moved].copy_from_slice(&tail);
                *tail = Vec::new();
            }
            Poll::Ready(Ok((moved + received, received)))
        })
    }
}

impl Stream for ReadStream {
    type Item = ReadEvent;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<ReadEvent>> {
        let this = &mut *self;
        this.link.register(task.waker());
        if this.ended {
            return Poll::Pending;
        }
        if let Some(reason) = this.link.take_close() {
            this.ended = true;
            return Poll::Ready(Some(ReadEvent::Close(reason)));
        }
        if this.link.write_blocked.get() {
            // Woken perhaps because the socket takes bytes again.
            lane::current().borrow_mut().mark_dirty(this.slot.index);
        }
        if this.link.paused.get() || this.link.is_live.get() && lane::current().borrow().is_fenced() {
            return Poll::Pending;
        }
        if this.link.take_resumed() && !this.link.tail.borrow().is_empty() {
            return Poll::Ready(Some(ReadEvent::Resumed));
        }
        if this.link.read_again_at.get().is_some() || lane::current().borrow().congested() {
            return Poll::Pending;
        }
        match std::task::ready!(this.poll_read(task)) {
            Ok((0, _)) => {
                this.ended = true;
                Poll::Ready(Some(ReadEvent::Close(CloseReason::StreamEnded)))
            }
            Ok((length, received)) => Poll::Ready(Some(ReadEvent::Bytes { length, received })),
            Err(_) => {
                this.ended = true;
                Poll::Ready(Some(ReadEvent::Close(CloseReason::ConnectionLost)))
            }
        }
    }
}
