//! A relay between nodes, in this process, that can hold bytes back, refuse connections and delay.
//!
//! Node `i` listens on 127.0.1.(i+1) and advertises its *door* on 127.0.2.(i+1). Nodes dial from the address that
//! they listen on, so the relay knows who dials whom. Bytes that a cut holds back arrive after it, as with TCP,
//! which sends again what a broken wire has lost.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    process::id,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use rand::Rng as _;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp},
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::network::Delay;

/// Bytes read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks of one direction that wait for their time; then the sender is not read any more. 4 MiB.
const CHUNKS_MAX: usize = 256;
/// How long a connection that was dialled into a cut is kept.
const HELD: Duration = Duration::from_secs(60);
/// Ports of nodes: below those that the system gives to outgoing connections.
const PORTS: std::ops::Range<u16> = 10_000..30_000;

/// What happens between one ordered pair of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PairFault {
    /// Bytes are held back, new connections hang.
    pub(super) cut: bool,
    /// Connections of this dialler end, new ones are refused.
    pub(super) refuse: bool,
}

/// All faults.
#[derive(Clone, Debug)]
pub(super) struct Table {
    places: usize,
    pairs: Vec<PairFault>,
    pub(super) delay: Delay,
}

impl Table {
    fn new(places: usize) -> Self {
        Self { places, pairs: vec![PairFault::default(); places * places], delay: Delay::default() }
    }

    /// The entry of an ordered pair.
    pub(super) fn pair(&mut self, from: usize, to: usize) -> &mut PairFault {
        &mut self.pairs[from * self.places + to]
    }

    /// Removes all faults.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.places);
    }

    /// The fault between two ends; strangers (`None`) have none.
    fn fault(&self, from: Option<usize>, to: usize) -> PairFault {
        from.map_or_else(PairFault::default, |from| self.pairs[from * self.places + to])
    }

    fn back(&self, from: usize, to: Option<usize>) -> PairFault {
        to.map_or_else(PairFault::default, |to| self.pairs[from * self.places + to])
    }
}

/// The relay of one cluster. Ends when dropped.
pub struct Proxy {
    table: watch::Sender<Table>,
    doors: Vec<SocketAddr>,
    targets: Vec<SocketAddr>,
    _stop: oneshot::Sender<()>,
}

impl Proxy {
    /// Opens a door for each of up to `places` nodes.
    pub fn new(places: usize) -> Self {
        let host =
            |third: u8, node: usize| Ipv4Addr::new(127, 0, third, u8::try_from(node + 1).expect("few"));
        let targets: Vec<_> = (0..places).map(|node| free_port(host(1, node))).collect();
        let listeners: Vec<_> = (0..places)
            .map(|node| TcpListener::bind((host(2, node), 0)).expect("a loopback address can be bound"))
            .collect();
        let address = |listener: &TcpListener| listener.local_addr().expect("it is bound");
        let doors = listeners.iter().map(address).collect();
        let (table, watched) = watch::channel(Table::new(places));
        let (stop, stopped) = oneshot::channel();
        let ends = targets.clone();
        thread::Builder::new()
            .name("fault-proxy".to_owned())
            .spawn(move || serve(listeners, &ends, &watched, stopped))
            .expect("a thread can be started");
        Self { table, doors, targets, _stop: stop }
    }

    /// How many nodes there is room for.
    pub fn places(&self) -> usize {
        self.doors.len()
    }

    /// Where a node listens.
    pub fn target(&self, node: usize) -> SocketAddr {
        self.targets[node]
    }

    /// Where its peers dial.
    pub fn door(&self, node: usize) -> SocketAddr {
        self.doors[node]
    }

    /// Changes the faults, for open connections as well.
    pub(super) fn change(&self, change: impl FnOnce(&mut Table)) {
        self.table.send_modify(change);
    }
}

/// A port that is free on the address now and that nobody is given by chance.
fn free_port(host: Ipv4Addr) -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    for _ in 0..count {
        let offset = (id().wrapping_mul(101) + NEXT.fetch_add(1, Ordering::Relaxed)) % count;
        let address = (host, PORTS.start + u16::try_from(offset).expect("below the number of ports"));
        if TcpListener::bind(address).is_ok() {
            return address.into();
        }
    }
    panic!("no port of {host} is free");
}

fn serve(
    listeners: Vec<TcpListener>,
    targets: &[SocketAddr],
    table: &watch::Receiver<Table>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    runtime.block_on(async {
        for (node, (listener, target)) in listeners.into_iter().zip(targets).enumerate() {
            listener.set_nonblocking(true).expect("a listener can be set so");
            let listener = tokio::net::TcpListener::from_std(listener).expect("it is a listener");
            let (table, target) = (table.clone(), *target);
            tokio::spawn(async move {
                loop {
                    if let Ok((stream, from)) = listener.accept().await {
                        let pair = Pair { from: place(from.ip(), &table), to: node, table: table.clone() };
                        tokio::spawn(pair.relay(stream, target));
                    }
                }
            });
        }
        // The sender is never used: it ends with the proxy.
        let _ = stopped.await;
    });
}

/// The node that dials from an address.
fn place(address: IpAddr, table: &watch::Receiver<Table>) -> Option<usize> {
    let IpAddr::V4(address) = address else { return None };
    match address.octets() {
        [127, 0, 1, last] => usize::from(last).checked_sub(1).filter(|node| *node < table.borrow().places),
        _ => None,
    }
}

/// Who dials whom.
#[derive(Clone)]
struct Pair {
    from: Option<usize>,
    to: usize,
    table: watch::Receiver<Table>,
}

impl Pair {
    /// Carries one connection to its end.
    async fn relay(self, near: TcpStream, target: SocketAddr) {
        let mut refusal = self.table.clone();
        let (from, to) = (self.from, self.to);
        tokio::select! {
            _ = self.carry(near, target) => {}
            _ = refusal.wait_for(|table| table.fault(from, to).refuse) => {}
        }
    }

    async fn carry(&self, near: TcpStream, target: SocketAddr) -> io::Result<()> {
        let (from, to) = (self.from, self.to);
        let mut table = self.table.clone();
        let open = table.wait_for(|table| !table.fault(from, to).cut && !table.back(to, from).cut);
        if tokio::time::timeout(HELD, open).await.is_err() {
            return Ok(());
        }
        let far = TcpStream::connect(target).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
        let forth = self.direction(near_read, far_write, move |table| table.fault(from, to).cut);
        let back = self.direction(far_read, near_write, move |table| table.back(to, from).cut);
        tokio::join!(forth, back);
        Ok(())
    }

    /// Carries one direction: reads as fast as the queue allows, writes each chunk when its time has come.
    async fn direction(
        &self,
        mut read: tcp::OwnedReadHalf,
        mut write: tcp::OwnedWriteHalf,
        is_cut: impl Fn(&Table) -> bool,
    ) {
        let (queue, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
        let reading = async move {
            loop {
                let mut chunk = Vec::with_capacity(CHUNK_BYTES);
                let length = read.read_buf(&mut chunk).await.unwrap_or(0);
                let delay = self.table.borrow().delay;
                let random = rand::rng().random_range(Duration::ZERO..=delay.random);
                if length == 0 || queue.send((Instant::now() + delay.fixed + random, chunk)).await.is_err() {
                    break;
                }
            }
        };
        let mut table = self.table.clone();
        let writing = async move {
            while let Some((time, chunk)) = due.recv().await {
                tokio::time::sleep_until(time).await;
                if table.wait_for(|table| !is_cut(table)).await.is_err()
                    || write.write_all(&chunk).await.is_err()
                {
                    return;
                }
            }
            // The end travels like bytes do.
            if table.wait_for(|table| !is_cut(table)).await.is_ok() {
                let _ = write.shutdown().await;
            }
        };
        tokio::join!(reading, writing);
    }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
