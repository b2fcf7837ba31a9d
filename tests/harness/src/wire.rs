//! One connection of a test client: bytes out, packets in. It knows no deadlines; its users have them.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::TlsConnector;

use crate::{
    packet::{self, Packet},
    tls::{TlsOptions, client_config},
};

/// How much room for reading is kept, in bytes.
const READ_BYTES: usize = 16 * 1024;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open connection with the bytes that were read and not yet taken. Closed abruptly when dropped.
pub struct Wire {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Wire {
    /// Opens a plain TCP connection from an address of its own.
    ///
    /// # Errors
    /// As the system reports them.
    pub async fn tcp(address: SocketAddr) -> io::Result<Self> {
        Self::tcp_from(new_source(), address).await
    }

    /// Opens a plain TCP connection from the given loopback address.
    ///
    /// # Errors
    /// As the system reports them.
    pub async fn tcp_from(source: Ipv4Addr, address: SocketAddr) -> io::Result<Self> {
        Ok(Self::over(Box::new(open(source, address).await?)))
    }

    /// Opens a TLS connection from an address of its own.
    ///
    /// # Errors
    /// As the system reports them; a failed handshake is one, too.
    pub async fn tls(address: SocketAddr, ca_pem: &str, options: &TlsOptions) -> io::Result<Self> {
        let stream = open(new_source(), address).await?;
        let connector = TlsConnector::from(client_config(ca_pem, options));
        let name = "localhost".try_into().expect("localhost is a valid server name");
        Ok(Self::over(Box::new(connector.connect(name, stream).await?)))
    }

    fn over(stream: Box<dyn Stream>) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// The next packet, `None` at the end of the connection. Nothing is lost when the future is dropped early.
    pub async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some((packet, length)) = packet::decode(&self.buffer) {
                self.buffer.drain(..length);
                return Some(packet);
            }
            self.buffer.reserve(READ_BYTES);
            // A reset and a TLS stream without close_notify count as closed, too.
            if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Closes the sending half only: the server sees the end of its input, answers can still be read.
    pub async fn end_of_input(&mut self) {
        // The peer may have closed already.
        let _ = self.stream.shutdown().await;
    }
}

/// A loopback address that no other connection of this process has. The server slows clients down by address
/// (U-A10), and tests must not slow each other down.
pub fn new_source() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0x7f01_0001);
    Ipv4Addr::from(NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn open(source: Ipv4Addr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if address.ip() == IpAddr::from(Ipv4Addr::LOCALHOST) {
        // Only Linux owns all of 127.0.0.0/8; elsewhere the system chooses.
        let _ = socket.bind((source, 0).into());
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
