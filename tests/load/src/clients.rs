//! The event loop: all connections of a run on one thread.
//!
//! A turn takes what the kernel has ready, reads and handles all of it, lets publishers add what they may send,
//! and only then writes to each connection once. So the generator pays few system calls for many messages, and
//! the broker sees the batches that a loaded network would deliver.

use std::io;
use std::net::SocketAddr;

use anyhow::Context;

use crate::clock;
use crate::connection::{Broken, Connection, Phase, Role};
use crate::epoll::{Epoll, Ready};
use crate::latency::Latency;
use crate::packet;
use crate::plan::ClientPlan;
use crate::tls::Tls;
use crate::traffic::Traffic;
use crate::transport::Transport;

/// Bytes read from one socket at a time; the largest packet fits in beside it.
const CHUNK_BYTES: usize = 256 * 1024;
/// Room for the part of a packet left over from the chunk before.
const TAIL_BYTES_MAX: usize = 512 * 1024;
/// Chunks read from one socket before the others get their turn.
const CHUNKS_PER_TURN: usize = 4;

/// Where the broker is.
#[derive(Debug, Clone)]
pub struct Target {
    /// Addresses of its nodes, in the order that [`ClientPlan::node`] counts; at least one.
    pub addresses: Vec<SocketAddr>,
    /// TLS, if any.
    pub tls: Option<Tls>,
}

/// All connections of a run.
pub struct Clients {
    target: Target,
    qos: u8,
    epoll: Epoll,
    events: Vec<Ready>,
    connections: Vec<Option<Connection>>,
    publisher_tokens: Vec<usize>,
    buffer: Vec<u8>,
    dirty: Vec<usize>,
    unfinished: Vec<usize>,
    ready: Vec<u32>,
    opened: usize,
    open_latency: Latency,
    stalled_closed: u32,
}

impl Clients {
    /// No connections yet.
    pub fn new(target: Target, qos: u8) -> io::Result<Self> {
        Ok(Self {
            target,
            qos,
            epoll: Epoll::new()?,
            events: Vec::new(),
            connections: Vec::new(),
            publisher_tokens: Vec::new(),
            buffer: vec![0; TAIL_BYTES_MAX + CHUNK_BYTES],
            dirty: Vec::new(),
            unfinished: Vec::new(),
            ready: Vec::new(),
            opened: 0,
            open_latency: Latency::default(),
            stalled_closed: 0,
        })
    }

    /// Opens connections, at most `opening_max` at a time, and returns when all are open (subscribed, where they
    /// have filters). Publishers must come in the order of their indexes.
    pub fn open(
        &mut self,
        clients: &[(Role, &ClientPlan)],
        opening_max: usize,
        traffic: &mut Traffic,
        deadline_ns: u64,
    ) -> anyhow::Result<()> {
        let target = self.opened + clients.len();
        let mut waiting = clients.iter();
        while self.opened < target {
            while self.connections.len() - self.opened < opening_max
                && let Some((role, plan)) = waiting.next()
            {
                self.start(*role, plan).with_context(|| format!("connection {}", plan.client_id))?;
            }
            anyhow::ensure!(
                clock::now_ns() < deadline_ns,
                "only {} of {target} connections were open at the deadline",
                self.opened
            );
            self.turn(traffic, clock::SECOND_NS / 10)?;
        }
        Ok(())
    }

    fn start(&mut self, role: Role, plan: &ClientPlan) -> anyhow::Result<()> {
        let token = self.connections.len();
        let now_ns = clock::now_ns();
        let address = self.target.addresses[plan.node];
        let session =
            self.target.tls.as_ref().map(|tls| tls.session(plan.identity.as_deref())).transpose()?;
        let transport = Transport::start(address, session, role == Role::Stalled)?;
        self.epoll.add(&transport, token)?;
        if let Role::Publisher(_) = role {
            self.publisher_tokens.push(token);
        }
        self.connections.push(Some(Connection::new(transport, role, plan, self.qos, now_ns)));
        Ok(())
    }

    /// One turn of the loop; waits at most `timeout_ns` when nothing is ready.
    pub fn turn(&mut self, traffic: &mut Traffic, timeout_ns: u64) -> anyhow::Result<()> {
        let busy = !self.unfinished.is_empty() || traffic.has_ready();
        let mut events = std::mem::take(&mut self.events);
        self.epoll.wait(if busy { 0 } else { timeout_ns }, &mut events)?;
        let unfinished = std::mem::take(&mut self.unfinished);
        for token in unfinished {
            self.read(token, traffic)?;
        }
        for event in &events {
            if event.writable {
                self.unblock(event.token, traffic);
            }
            if event.readable {
                self.read(event.token, traffic)?;
            }
            if event.closed {
                self.closed_unread(event.token)?;
            }
        }
        self.events = events;
        self.fill(traffic);
        self.write_dirty(traffic)
    }

    fn unblock(&mut self, token: usize, traffic: &mut Traffic) {
        let Some(connection) = &mut self.connections[token] else { return };
        if !connection.blocked {
            return;
        }
        connection.blocked = false;
        if let (Role::Publisher(index), Phase::Open) = (connection.role, connection.phase) {
            traffic.wake(index);
        }
        mark(&mut self.dirty, token, connection);
    }

    /// Lets every publisher with room add its messages.
    fn fill(&mut self, traffic: &mut Traffic) {
        let now_ns = clock::now_ns();
        traffic.wake_due(now_ns);
        let ready = traffic.take_ready(std::mem::take(&mut self.ready));
        for &index in &ready {
            let token = self.publisher_tokens[index as usize];
            let Some(connection) = &mut self.connections[token] else { continue };
            traffic.fill(index, &mut connection.outgoing, now_ns);
            mark(&mut self.dirty, token, connection);
        }
        self.ready = ready;
    }

    fn read(&mut self, token: usize, traffic: &mut Traffic) -> anyhow::Result<()> {
        let Some(connection) = &mut self.connections[token] else { return Ok(()) };
        let was_open = connection.phase == Phase::Open;
        let result = read_connection(connection, &mut self.buffer, traffic);
        if !was_open && connection.phase == Phase::Open {
            self.opened += 1;
            self.open_latency.record_ns(clock::now_ns() - connection.started_ns);
        }
        if !connection.outgoing.is_empty() || !was_open {
            mark(&mut self.dirty, token, connection);
        }
        match result {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.unfinished.push(token);
                Ok(())
            }
            Err(broken) => self.broken(token, broken),
        }
    }

    /// Whoever never reads does not meet the end of its stream by reading.
    fn closed_unread(&mut self, token: usize) -> anyhow::Result<()> {
        match &self.connections[token] {
            Some(connection) if connection.never_reads() => self.broken(token, Broken::Closed),
            _ => Ok(()),
        }
    }

    /// The broker may end a connection that never reads; any other end fails the run.
    fn broken(&mut self, token: usize, broken: Broken) -> anyhow::Result<()> {
        let Some(connection) = self.connections[token].take() else { return Ok(()) };
        if connection.never_reads() {
            self.stalled_closed += 1;
            return Ok(());
        }
        let (role, phase) = (connection.role, connection.phase);
        Err(broken).with_context(|| format!("connection {token} ({role:?}, {phase:?})"))
    }

    fn write_dirty(&mut self, traffic: &mut Traffic) -> anyhow::Result<()> {
        let mut dirty = std::mem::take(&mut self.dirty);
        for &token in &dirty {
            let Some(connection) = &mut self.connections[token] else { continue };
            connection.dirty = false;
            if connection.blocked {
                continue;
            }
            let full = connection.outgoing.len();
            match connection.transport.write(&mut connection.outgoing) {
                Ok(whole) => connection.blocked = !whole,
                Err(error) => {
                    self.broken(token, error.into())?;
                    continue;
                }
            }
            // A publisher stopped by its own unwritten bytes goes on when they are gone.
            if full >= CHUNK_BYTES
                && !connection.blocked
                && let Role::Publisher(index) = connection.role
            {
                traffic.wake(index);
            }
        }
        dirty.clear();
        self.dirty = dirty;
        Ok(())
    }

    /// Time from starting to connect to CONNACK, or to SUBACK where there are filters.
    pub fn open_latency(&self) -> &Latency {
        &self.open_latency
    }

    /// Connections that are open now.
    pub fn open_now(&self) -> usize {
        self.connections.iter().flatten().filter(|connection| connection.phase == Phase::Open).count()
    }

    /// Connections that never read and were ended by the broker for it.
    pub fn stalled_closed(&self) -> u32 {
        self.stalled_closed
    }
}

fn mark(dirty: &mut Vec<usize>, token: usize, connection: &mut Connection) {
    if !connection.dirty {
        connection.dirty = true;
        dirty.push(token);
    }
}

/// Reads and handles what is there. `false`: there may be more.
fn read_connection(
    connection: &mut Connection,
    buffer: &mut [u8],
    traffic: &mut Traffic,
) -> Result<bool, Broken> {
    for _ in 0..CHUNKS_PER_TURN {
        if connection.never_reads() {
            return Ok(true);
        }
        let kept = connection.tail.len();
        buffer[..kept].copy_from_slice(&connection.tail);
        let space = &mut buffer[kept..];
        let space_bytes = space.len();
        let read = match connection.transport.read(space) {
            Ok(0) => return Err(Broken::Closed),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let drained = connection.transport.drained(read, space_bytes);
        handle_packets(connection, &buffer[..kept + read], traffic)?;
        if drained {
            return Ok(true);
        }
    }
    Ok(false)
}

fn handle_packets(connection: &mut Connection, bytes: &[u8], traffic: &mut Traffic) -> Result<(), Broken> {
    let now_ns = clock::now_ns();
    let mut rest = bytes;
    while let Some(frame) = packet::split(rest)? {
        connection.handle(&frame, traffic, now_ns)?;
        rest = &rest[frame.length..];
    }
    connection.tail.clear();
    if rest.len() > TAIL_BYTES_MAX {
        return Err(io::Error::other(format!("packet of more than {TAIL_BYTES_MAX} bytes")).into());
    }
    connection.tail.extend_from_slice(rest);
    Ok(())
}
