//! A non-blocking byte stream: TCP, or TLS over it from either side.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

/// Receive buffer of a connection that never reads, in bytes: small, so that what it does not read stays in the
/// broker and not in the kernel.
const STALLED_RECEIVE_BYTES: usize = 4096;

/// The stream.
#[derive(Debug)]
pub enum Transport {
    /// Bare TCP.
    Plain(TcpStream),
    /// TLS; the handshake runs as a side effect of reading and writing.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// The same on the server's side.
    Served(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Transport {
    /// Starts connecting; the outcome shows when the socket becomes writable. With `session`, over TLS.
    pub fn start(address: SocketAddr, session: Option<ClientConnection>, stalled: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if stalled {
            socket.set_recv_buffer_size(STALLED_RECEIVE_BYTES)?;
        }
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
                return Err(error);
            }
            Ok(()) | Err(_) => {}
        }
        let stream = TcpStream::from(socket);
        Ok(match session {
            None => Self::Plain(stream),
            Some(session) => Self::Tls(Box::new(StreamOwned::new(session, stream))),
        })
    }

    /// Takes an accepted socket, which becomes non-blocking. With `tls`, a handshake follows.
    pub fn accepted(socket: TcpStream, tls: Option<&Arc<ServerConfig>>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let Some(tls) = tls else { return Ok(Self::Plain(socket)) };
        let session = ServerConnection::new(tls.clone()).map_err(io::Error::other)?;
        Ok(Self::Served(Box::new(StreamOwned::new(session, socket))))
    }

    /// Reads what is there; `WouldBlock` when nothing is.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
            Self::Served(stream) => stream.read(buffer),
        }
    }

    /// Whether a read of `read` bytes into `space` bytes took everything there was. (A short read from a stream
    /// socket says so, epoll(7); a TLS record ends where it likes.)
    #[inline]
    pub fn drained(&self, read: usize, space: usize) -> bool {
        matches!(self, Self::Plain(_)) && read < space
    }

    /// Writes what fits of `outgoing` and takes it out. `false`: the socket is full, and the rest, or a part that
    /// TLS holds back, waits until it is not.
    pub fn write(&mut self, outgoing: &mut Vec<u8>) -> io::Result<bool> {
        let mut written = 0;
        let result = loop {
            if written == outgoing.len() {
                break self.flush();
            }
            match self.write_some(&outgoing[written..]) {
                Ok(count) => written += count,
                Err(error) => break Err(error),
            }
        };
        outgoing.drain(..written);
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            other => other.map(|()| true),
        }
    }

    #[inline]
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
            Self::Served(stream) => stream.write(bytes),
        }
    }

    /// Writes what TLS still holds back: handshake messages and records.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(stream) if stream.conn.wants_write() => stream.flush(),
            Self::Served(stream) if stream.conn.wants_write() => stream.flush(),
            Self::Plain(_) | Self::Tls(_) | Self::Served(_) => Ok(()),
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.sock.as_fd(),
            Self::Served(stream) => stream.sock.as_fd(),
        }
    }
}
