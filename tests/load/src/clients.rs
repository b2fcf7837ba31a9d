//! The event loop: all connections of a driver on one thread.
//!
//! A turn takes what the kernel has ready, reads and handles all of it, lets publishers add what they may send,
//! and only then writes to each connection once. So the generator pays few system calls for many messages, and
//! the broker sees the batches that a loaded network would deliver.

use std::collections::VecDeque;
use std::io;

use anyhow::Context;

use crate::clock;
use crate::connection::{Broken, Connection, Phase, Role};
use crate::epoll::{Epoll, Ready};
use crate::exchange::Exchange;
use crate::latency::Latency;
use crate::packet;
use crate::plan::ClientPlan;
use crate::target::{Endpoint, Recovery};
use crate::traffic::Traffic;
use crate::transport::Transport;

/// Bytes read from one socket at a time; the largest packet fits in beside it.
const CHUNK_BYTES: usize = 256 * 1024;
/// Room for the part of a packet left over from the chunk before.
const TAIL_BYTES_MAX: usize = 512 * 1024;
/// Chunks read from one socket before the others get their turn.
const CHUNKS_PER_TURN: usize = 4;
/// Pause before a client whose node is gone, or which was refused meanwhile, tries again.
const RETRY_NS: u64 = clock::SECOND_NS / 10;
/// Pause before another driver whose socket was full is told again.
const TELL_NS: u64 = clock::SECOND_NS / 5000;
/// Token of the [`Exchange`]; connections have their index.
const EXCHANGE: usize = usize::MAX;

/// What is kept of a client beside its connection.
struct Client {
    role: Role,
    plan: ClientPlan,
    /// When it was first started; a later attempt counts from then.
    started_ns: u64,
    /// Has been open before.
    opened: bool,
    /// When it lost its connection, if it is not back.
    lost_ns: Option<u64>,
}

/// All connections of a driver.
pub struct Clients {
    endpoint: Endpoint,
    qos: u8,
    epoll: Epoll,
    events: Vec<Ready>,
    clients: Vec<Client>,
    connections: Vec<Option<Connection>>,
    retries: VecDeque<(u64, usize)>,
    recovery: Option<Recovery>,
    exchange: Option<Exchange>,
    untold: bool,
    publisher_tokens: Vec<Option<usize>>,
    buffer: Vec<u8>,
    dirty: Vec<usize>,
    unfinished: Vec<usize>,
    ready: Vec<u32>,
    opened: usize,
    open_latency: Latency,
    away_latency: Latency,
    stalled_closed: u32,
}

impl Clients {
    /// No connections yet. With `recovery`, clients may lose their node and go to another; with `exchange`, there
    /// are other drivers.
    pub fn new(
        endpoint: Endpoint,
        qos: u8,
        recovery: Option<Recovery>,
        exchange: Option<Exchange>,
    ) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        if let Some(exchange) = &exchange {
            epoll.add(exchange, EXCHANGE)?;
        }
        Ok(Self {
            endpoint,
            qos,
            epoll,
            events: Vec::new(),
            clients: Vec::new(),
            connections: Vec::new(),
            retries: VecDeque::new(),
            recovery,
            exchange,
            untold: false,
            publisher_tokens: Vec::new(),
            buffer: vec![0; TAIL_BYTES_MAX + CHUNK_BYTES],
            dirty: Vec::new(),
            unfinished: Vec::new(),
            ready: Vec::new(),
            opened: 0,
            open_latency: Latency::default(),
            away_latency: Latency::default(),
            stalled_closed: 0,
        })
    }

    /// Starts one more connection.
    pub fn start(&mut self, role: Role, plan: &ClientPlan) -> anyhow::Result<()> {
        let token = self.connections.len();
        let started_ns = clock::now_ns();
        if let Role::Publisher(index) = role {
            let index = index as usize;
            self.publisher_tokens.resize(self.publisher_tokens.len().max(index + 1), None);
            self.publisher_tokens[index] = Some(token);
        }
        self.clients.push(Client { role, plan: plan.clone(), started_ns, opened: false, lost_ns: None });
        self.connections.push(None);
        self.dial(token)
    }

    fn dial(&mut self, token: usize) -> anyhow::Result<()> {
        let client = &self.clients[token];
        let dial = || -> anyhow::Result<Transport> {
            let session = self.endpoint.session(client.plan.identity.as_deref())?;
            let address = self.endpoint.address(client.plan.node);
            Ok(Transport::start(address, session, client.role == Role::Stalled)?)
        };
        let transport = dial().with_context(|| format!("connection {}", client.plan.client_id))?;
        self.epoll.add(&transport, token)?;
        self.connections[token] = Some(Connection::new(transport, client.role, &client.plan, self.qos));
        Ok(())
    }

    /// Connections that were started and have never been open.
    pub fn opening(&self) -> usize {
        self.clients.len() - self.opened
    }

    /// One turn of the loop; waits at most `timeout_ns` when nothing is ready.
    pub fn turn(&mut self, traffic: &mut Traffic, timeout_ns: u64) -> anyhow::Result<()> {
        self.retry_due()?;
        let busy = !self.unfinished.is_empty() || traffic.has_ready();
        let mut events = std::mem::take(&mut self.events);
        self.epoll.wait(if busy { 0 } else { self.timeout_ns(timeout_ns) }, &mut events)?;
        let unfinished = std::mem::take(&mut self.unfinished);
        for token in unfinished {
            self.read(token, traffic)?;
        }
        for event in &events {
            if event.token == EXCHANGE {
                self.exchange.as_mut().map_or(Ok(()), |exchange| exchange.hear(traffic))?;
                continue;
            }
            if event.writable {
                self.unblock(event.token, traffic);
            }
            if event.readable {
                self.read(event.token, traffic)?;
            }
            if event.closed {
                self.closed_unread(event.token, traffic)?;
            }
        }
        self.events = events;
        self.fill(traffic);
        self.write_dirty(traffic)?;
        if let Some(exchange) = &mut self.exchange {
            self.untold = !exchange.tell(traffic)?;
        }
        Ok(())
    }

    fn timeout_ns(&self, timeout_ns: u64) -> u64 {
        let retry_ns =
            self.retries.front().map_or(u64::MAX, |(due_ns, _)| due_ns.saturating_sub(clock::now_ns()));
        let tell_ns = if self.untold { TELL_NS } else { u64::MAX };
        timeout_ns.min(retry_ns).min(tell_ns)
    }

    fn retry_due(&mut self) -> anyhow::Result<()> {
        while let Some(&(due_ns, token)) = self.retries.front()
            && due_ns <= clock::now_ns()
        {
            self.retries.pop_front();
            self.dial(token)?;
        }
        Ok(())
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
            let token = self.publisher_tokens.get(index as usize).copied().flatten();
            let connection = token.and_then(|token| Some((token, self.connections[token].as_mut()?)));
            match connection {
                Some((token, connection)) if connection.phase == Phase::Open => {
                    traffic.fill(index, &mut connection.outgoing, now_ns);
                    mark(&mut self.dirty, token, connection);
                }
                _ => traffic.hold(index),
            }
        }
        self.ready = ready;
    }

    fn read(&mut self, token: usize, traffic: &mut Traffic) -> anyhow::Result<()> {
        let Some(connection) = &mut self.connections[token] else { return Ok(()) };
        let was_open = connection.phase == Phase::Open;
        let result = read_connection(connection, &mut self.buffer, traffic);
        if !connection.outgoing.is_empty() || !was_open {
            mark(&mut self.dirty, token, connection);
        }
        if !was_open && connection.phase == Phase::Open {
            self.came_up(token, traffic);
        }
        match result {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.unfinished.push(token);
                Ok(())
            }
            Err(broken) => self.broken(token, broken, traffic),
        }
    }

    fn came_up(&mut self, token: usize, traffic: &mut Traffic) {
        let client = &mut self.clients[token];
        let now_ns = clock::now_ns();
        if let Some(lost_ns) = client.lost_ns.take() {
            self.away_latency.record_ns(now_ns - lost_ns);
        }
        if !client.opened {
            client.opened = true;
            self.opened += 1;
            self.open_latency.record_ns(now_ns - client.started_ns);
        }
        if let Role::Publisher(index) = client.role {
            traffic.wake(index);
        }
    }

    /// Whoever never reads does not meet the end of its stream by reading.
    fn closed_unread(&mut self, token: usize, traffic: &mut Traffic) -> anyhow::Result<()> {
        match &self.connections[token] {
            Some(connection) if connection.never_reads() => self.broken(token, Broken::Closed, traffic),
            _ => Ok(()),
        }
    }

    /// The broker may end a connection that never reads, and one to a node that is killed. Any other end fails the
    /// run.
    fn broken(&mut self, token: usize, broken: Broken, traffic: &mut Traffic) -> anyhow::Result<()> {
        let Some(connection) = self.connections[token].take() else { return Ok(()) };
        if connection.never_reads() {
            self.stalled_closed += 1;
            return Ok(());
        }
        let was_open = connection.phase == Phase::Open;
        let client = &mut self.clients[token];
        let Some(recovery) = self.recovery.filter(|recovery| recovery.permits(client.plan.node, was_open))
        else {
            let (role, phase) = (connection.role, connection.phase);
            return Err(broken).with_context(|| format!("connection {token} ({role:?}, {phase:?})"));
        };
        if was_open {
            client.lost_ns = Some(clock::now_ns());
            match client.role {
                Role::Publisher(index) => traffic.publisher_lost(index),
                Role::Subscriber(index) => traffic.subscriber_lost(index),
                Role::Stalled | Role::Idle => {}
            }
        }
        client.plan.node = recovery.next(client.plan.node, token, self.endpoint.nodes());
        self.retries.push_back((clock::now_ns() + RETRY_NS, token));
        Ok(())
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
                    self.broken(token, error.into(), traffic)?;
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

    /// Times from starting to connect to CONNACK, or to SUBACK where there are filters, since the last call.
    pub fn take_open_latency(&mut self) -> Latency {
        std::mem::take(&mut self.open_latency)
    }

    /// Times from losing a connection to being open again.
    pub fn away_latency(&self) -> &Latency {
        &self.away_latency
    }

    /// Connections that are open now.
    pub fn open_now(&self) -> usize {
        self.connections.iter().flatten().filter(|connection| connection.phase == Phase::Open).count()
    }

    /// Clients that have lost their connection and are not back.
    pub fn away_now(&self) -> usize {
        self.clients.iter().filter(|client| client.lost_ns.is_some()).count()
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
