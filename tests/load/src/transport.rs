//! A non-blocking byte stream to the broker: TCP, or TLS over it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;
use socket2::{Domain, Socket, Type};

/// Receive buffer of a connection that never reads, in bytes: small, so that what it does not read stays in the
/// broker and not in the kernel.
const STALLED_RECEIVE_BYTES: usize = 4096;

/// How to secure a connection.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Trust and versions.
    pub config: Arc<ClientConfig>,
    /// The name that the server's certificate must bear.
    pub server_name: ServerName<'static>,
}

/// The stream.
#[derive(Debug)]
pub enum Transport {
    /// Bare TCP.
    Plain(TcpStream),
    /// TLS; the handshake runs as a side effect of reading and writing.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Transport {
    /// Starts connecting; the outcome shows when the socket becomes writable.
    pub fn start(address: SocketAddr, tls: Option<&Tls>, stalled: bool) -> io::Result<Self> {
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
        let Some(tls) = tls else { return Ok(Self::Plain(stream)) };
        let session =
            ClientConnection::new(tls.config.clone(), tls.server_name.clone()).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(session, stream))))
    }

    /// Reads what is there; `WouldBlock` when nothing is.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }

    /// Whether a read of `read` bytes into `space` bytes took everything there was. (A short read from a stream
    /// socket says so, epoll(7); a TLS record ends where it likes.)
    #[inline]
    pub fn drained(&self, read: usize, space: usize) -> bool {
        matches!(self, Self::Plain(_)) && read < space
    }

    /// Writes as much as fits; `WouldBlock` when nothing does.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    /// Writes what TLS still holds back: handshake messages and records.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(stream) if stream.conn.wants_write() => stream.flush(),
            Self::Tls(_) => Ok(()),
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.sock.as_fd(),
        }
    }
}
