//! The bytes that a connection has still to write: small frames in one growing buffer, large payloads by reference.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

/// The byte stream of a connection, TCP or TLS; what is below is not the business of this room.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Transport for T {}

/// At most so many pieces go into one vectored write.
const PIECES_PER_WRITE_MAX: usize = 64;

/// Emptied buffers up to this capacity go back to the lane's pool; larger ones are freed.
const POOLED_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// A small frame goes into a new piece when the last one has so many bytes. A piece is freed as a whole, so this bounds
/// what a reader that is always a little behind keeps of what it has read already.
const PIECE_BYTES_MAX: usize = POOLED_BUFFER_BYTES_MAX;

/// A lane keeps at most so many emptied buffers.
const POOLED_BUFFERS_MAX: usize = 256;

#[derive(Debug)]
enum Piece {
    Copied(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Piece {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// Emptied buffers of one lane, to be used again.
#[derive(Debug, Default)]
pub struct BufferPool {
    free: Vec<Vec<u8>>,
}

impl BufferPool {
    fn take(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_default()
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= POOLED_BUFFER_BYTES_MAX && self.free.len() < POOLED_BUFFERS_MAX {
            buffer.clear();
            self.free.push(buffer);
        }
    }
}

/// What a connection has still to write, in order.
#[derive(Debug, Default)]
pub struct OutputBuffer {
    pieces: VecDeque<Piece>,
    /// How much of the first piece is written already.
    written: usize,
    /// Bytes not yet written.
    pending_bytes: usize,
}

impl OutputBuffer {
    /// Bytes not yet written.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Whether all is written.
    pub fn is_empty(&self) -> bool {
        self.pending_bytes == 0
    }

    /// The buffer to append small things to, for `bytes` more bytes (which the caller must append).
    fn tail(&mut self, pool: &mut BufferPool, bytes: usize) -> &mut Vec<u8> {
        self.pending_bytes += bytes;
        let has_room =
            |piece: &Piece| matches!(piece, Piece::Copied(buffer) if buffer.len() < PIECE_BYTES_MAX);
        if !self.pieces.back().is_some_and(has_room) {
            self.pieces.push_back(Piece::Copied(pool.take()));
        }
        match self.pieces.back_mut() {
            Some(Piece::Copied(buffer)) => buffer,
            _ => unreachable!("the last piece was just made a copied one"),
        }
    }

    /// Appends a copy of `bytes`.
    pub fn push_copied(&mut self, pool: &mut BufferPool, bytes: &[u8]) {
        self.tail(pool, bytes.len()).extend_from_slice(bytes);
    }

    /// Appends a copy of `head` with the two bytes at `at` replaced by `packet_identifier` and the first byte
    /// combined with `flags` (the DUP bit of a redelivery).
    pub fn push_patched(
        &mut self,
        pool: &mut BufferPool,
        head: &[u8],
        at: usize,
        packet_identifier: u16,
        flags: u8,
    ) {
        let buffer = self.tail(pool, head.len());
        let start = buffer.len();
        buffer.extend_from_slice(head);
        buffer[start] |= flags;
        buffer[start + at..start + at + 2].copy_from_slice(&packet_identifier.to_be_bytes());
    }

    /// Appends a reference to `bytes`.
    pub fn push_shared(&mut self, bytes: Arc<[u8]>) {
        if !bytes.is_empty() {
            self.pending_bytes += bytes.len();
            self.pieces.push_back(Piece::Shared(bytes));
        }
    }

    /// Writes as much as the transport takes now.
    ///
    /// Returns `Ready(Ok(n))` when all is written and flushed, `Pending` when the transport is full (the waker of
    /// `task` is then registered); `written_bytes` counts what was written in either case.
    pub fn write(
        &mut self,
        transport: &mut dyn Transport,
        pool: &mut BufferPool,
        task: &mut Context<'_>,
        written_bytes: &mut usize,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let result = match self.pieces.front() {
                Some(first) if self.pieces.len() == 1 => {
                    Pin::new(&mut *transport).poll_write(task, &first.as_slice()[self.written..])
                }
                _ => self.write_vectored(transport, task),
            };
            match result {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(bytes)) => {
                    *written_bytes += bytes;
                    self.consume(bytes, pool);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Pin::new(transport).poll_flush(task)
    }

    fn write_vectored(
        &self,
        transport: &mut dyn Transport,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); PIECES_PER_WRITE_MAX];
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            let skip = if count == 0 { self.written } else { 0 };
            *slice = IoSlice::new(&piece.as_slice()[skip..]);
            count += 1;
        }
        Pin::new(transport).poll_write_vectored(task, &slices[..count])
    }

    fn consume(&mut self, bytes: usize, pool: &mut BufferPool) {
        self.pending_bytes -= bytes;
        self.written += bytes;
        while let Some(first) = self.pieces.front() {
            let length = first.as_slice().len();
            if self.written < length {
                return;
            }
            self.written -= length;
            if let Some(Piece::Copied(buffer)) = self.pieces.pop_front() {
                pool.give(buffer);
            }
        }
        self.pieces = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(buffer: &mut OutputBuffer, pool: &mut BufferPool) -> Vec<u8> {
        let mut sink = std::io::Cursor::new(Vec::new());
        let mut written = 0;
        let mut task = Context::from_waker(std::task::Waker::noop());
        assert!(matches!(buffer.write(&mut sink, pool, &mut task, &mut written), Poll::Ready(Ok(()))));
        assert_eq!(written, sink.get_ref().len());
        sink.into_inner()
    }

    #[test]
    fn pieces_come_out_in_order_and_the_packet_identifier_is_patched_per_copy() {
        let (mut buffer, mut pool) = (OutputBuffer::default(), BufferPool::default());
        buffer.push_copied(&mut pool, b"ab");
        buffer.push_shared(Arc::from(&b"LARGE"[..]));
        buffer.push_patched(&mut pool, &[0x32, 9, 0, 0, 7], 2, 0x0102, 0x08);
        buffer.push_copied(&mut pool, b"z");
        assert_eq!(buffer.pending_bytes(), 13);
        assert_eq!(drain(&mut buffer, &mut pool), b"abLARGE\x3a\x09\x01\x02\x07z");
        assert!(buffer.is_empty());
        assert_eq!(pool.free.len(), 2, "both small buffers are kept for the next frames");
    }

    /// Takes `self.1` bytes at a time and then is full.
    struct Slow(usize, usize);

    impl AsyncRead for Slow {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let room = std::mem::take(&mut self.0).min(bytes.len());
            if room == 0 { Poll::Pending } else { Poll::Ready(Ok(room)) }
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// A subscriber that was never quite up to date kept every byte that it had ever been sent.
    #[test]
    fn a_reader_that_is_always_a_little_behind_costs_bounded_memory() {
        let (mut buffer, mut pool) = (OutputBuffer::default(), BufferPool::default());
        let mut slow = Slow(0, 1000);
        let mut task = Context::from_waker(std::task::Waker::noop());
        buffer.push_copied(&mut pool, b"always one byte more than it reads");
        for _ in 0..10_000 {
            buffer.push_copied(&mut pool, &[7; 1000]);
            slow.0 = slow.1;
            assert!(buffer.write(&mut slow, &mut pool, &mut task, &mut 0).is_pending());
        }
        let kept: usize = buffer.pieces.iter().map(|piece| piece.as_slice().len()).sum();
        assert!(buffer.pending_bytes() < 1100 && kept < 3 * PIECE_BYTES_MAX, "{kept} bytes are kept");
    }
}
