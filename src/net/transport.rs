//! A connection's byte stream, and its journey from the listener's runtime to the thread that
//! serves it.
//!
//! A tokio socket is bound to the runtime it was registered with. The listener and the handshakes
//! run on one runtime, connections on the threads of another kind, so a finished stream travels as a
//! [`Transport`], which holds the bare socket, and becomes a [`Stream`] again where it is served.
//! The TLS state travels inside: it knows nothing about runtimes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::server::TlsStream;

/// A socket that can be taken off one runtime and put on another while a TLS layer owns it.
#[derive(Debug)]
pub struct Socket(State);

#[derive(Debug)]
enum State {
    Attached(TcpStream),
    Detached(std::net::TcpStream),
    /// Only after a failed move; every use reports `NotConnected`.
    Lost,
}

impl Socket {
    /// Wraps a stream that is registered with the current runtime.
    pub fn new(stream: TcpStream) -> Self {
        Self(State::Attached(stream))
    }

    /// Takes the socket off its runtime.
    fn detach(&mut self) -> io::Result<()> {
        if let State::Attached(stream) = std::mem::replace(&mut self.0, State::Lost) {
            self.0 = State::Detached(stream.into_std()?);
            return Ok(());
        }
        Err(io::ErrorKind::NotConnected.into())
    }

    /// Registers the socket with the current runtime.
    fn attach(&mut self) -> io::Result<()> {
        if let State::Detached(stream) = std::mem::replace(&mut self.0, State::Lost) {
            self.0 = State::Attached(TcpStream::from_std(stream)?);
            return Ok(());
        }
        Err(io::ErrorKind::NotConnected.into())
    }

    fn attached(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        match &mut self.0 {
            State::Attached(stream) => Ok(Pin::new(stream)),
            State::Detached(_) | State::Lost => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().attached()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().attached()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().attached()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().attached()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().attached()?.poll_shutdown(cx)
    }
}

/// A connection on its way: may cross threads, cannot be read or written. [`Transport::attach`] makes
/// it a [`Stream`]. Dropping it closes the connection.
#[derive(Debug)]
pub struct Transport {
    inner: Inner,
    permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Inner {
    Plain(Socket),
    /// Boxed: the TLS state is about 1 kB, and a plain connection must not pay for it.
    Tls(Box<TlsStream<Socket>>),
}

impl Transport {
    /// Takes a plain TCP connection off the current runtime.
    pub fn plain(stream: TcpStream) -> io::Result<Self> {
        let mut socket = Socket::new(stream);
        socket.detach()?;
        Ok(Self { inner: Inner::Plain(socket), permit: None })
    }

    /// Takes a finished TLS connection off the current runtime.
    pub fn tls(mut stream: TlsStream<Socket>) -> io::Result<Self> {
        stream.get_mut().0.detach()?;
        Ok(Self { inner: Inner::Tls(Box::new(stream)), permit: None })
    }

    /// Ties the connection's place in the limit of open connections to the life of the stream.
    pub(super) fn with_permit(mut self, permit: OwnedSemaphorePermit) -> Self {
        self.permit = Some(permit);
        self
    }

    /// Registers the connection with the current runtime and returns it as a stream.
    ///
    /// Must be called within the runtime (or `LocalSet`, or actix arbiter) that will read and write
    /// the stream. Fails when the reactor is out of file descriptors or the socket is already dead.
    pub fn attach(self) -> io::Result<Stream> {
        let Self { mut inner, permit } = self;
        match &mut inner {
            Inner::Plain(socket) => socket.attach()?,
            Inner::Tls(stream) => stream.get_mut().0.attach()?,
        }
        Ok(Stream { inner, _permit: permit })
    }
}

/// A connection's byte stream, plain or TLS, bound to the runtime that called
/// [`Transport::attach`].
///
/// Data written to a TLS stream may wait in the TLS layer: call `poll_flush` after the last write of
/// a turn, as with any `AsyncWrite`. The end of a TLS stream without `close_notify` is reported as an
/// ordinary end, because many small clients just close the socket and MQTT has its own framing.
#[derive(Debug)]
pub struct Stream {
    inner: Inner,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Stream {
    /// Wraps a plain TCP connection that is registered with the current runtime already.
    pub fn from_tcp(stream: TcpStream) -> Self {
        Self { inner: Inner::Plain(Socket::new(stream)), _permit: None }
    }

    /// Wraps a finished TLS connection that is registered with the current runtime already.
    pub fn from_tls(stream: TlsStream<Socket>) -> Self {
        Self { inner: Inner::Tls(Box::new(stream)), _permit: None }
    }

    /// Whether the bytes are encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self.inner, Inner::Tls(_))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().inner {
            Inner::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Inner::Tls(stream) => match Pin::new(stream.as_mut()).poll_read(cx, buf) {
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Poll::Ready(Ok(()))
                }
                other => other,
            },
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().inner {
            Inner::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Inner::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().inner {
            Inner::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Inner::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().inner {
            Inner::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Inner::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().inner {
            Inner::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Inner::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
