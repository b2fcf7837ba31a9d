//! Socket options: listening sockets and accepted connections.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// Pending connections the kernel holds before `accept`; the kernel lowers it to
/// `net.core.somaxconn`. Beyond it the kernel drops SYNs and clients retry by themselves.
const LISTEN_BACKLOG: i32 = 4096;

/// Options of accepted sockets.
#[derive(Clone, Debug)]
pub struct SocketSettings {
    /// How long sent data may stay unacknowledged before the kernel closes the connection
    /// (TCP_USER_TIMEOUT). Without it a vanished peer with data in flight costs memory for about
    /// 15 minutes. Default 60 s.
    pub user_timeout: Duration,
    /// Idle time before the first TCP keep-alive probe. It only matters for clients that announce an
    /// MQTT keep-alive of 0 or a very long one. Default 300 s.
    pub keep_alive_idle: Duration,
    /// Time between further probes. Default 30 s.
    pub keep_alive_interval: Duration,
    /// Unanswered probes until the connection is closed. Default 4.
    pub keep_alive_probes: u32,
}

impl Default for SocketSettings {
    fn default() -> Self {
        Self {
            user_timeout: Duration::from_secs(60),
            keep_alive_idle: Duration::from_secs(300),
            keep_alive_interval: Duration::from_secs(30),
            keep_alive_probes: 4,
        }
    }
}

/// Binds a listening socket. Port 0 asks the kernel for a free port; read the real address from the
/// returned listener. An IPv6 address is bound for IPv6 and, where the system permits, IPv4.
///
/// Must be called within a tokio runtime; the listener belongs to that runtime.
pub fn listen(address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Without it a restart has to wait until old connections leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Refused on systems without IPv4; then the listener serves IPv6 alone.
        let _ = socket.set_only_v6(false);
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    tokio::net::TcpListener::from_std(socket.into())
}

/// Applies the options to an accepted connection. MQTT packets are small and latency matters, so
/// Nagle's algorithm is off; the writer coalesces instead.
pub fn configure(stream: &tokio::net::TcpStream, settings: &SocketSettings) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    let keep_alive = TcpKeepalive::new()
        .with_time(settings.keep_alive_idle)
        .with_interval(settings.keep_alive_interval)
        .with_retries(settings.keep_alive_probes);
    socket.set_tcp_keepalive(&keep_alive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(settings.user_timeout))?;
    Ok(())
}
