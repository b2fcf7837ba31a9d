//! The floor: what a machine can do with no broker at all.
//!
//! One thread that finds packet borders, looks up the topic once for each run of adjacent packets and copies the
//! run to the subscribers' sockets. It has no sessions, no packet identifiers of its own, no retries, no checks of
//! logins; QoS 1 is acknowledged at once. Filters are exact topics, or a prefix with `/#`.
//! With a TLS listener it is also the floor of a handshake: see [`crate::tls::server`].

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};

use crate::clock::SECOND_NS;
use crate::epoll::{Epoll, Ready};
use crate::packet::{self, Frame, Malformed};
use crate::transport::Transport;

/// Token of the first listener; further ones count down from it. Connections have their index.
const LISTENER: usize = usize::MAX;
/// Listeners at most.
const LISTENERS_MAX: usize = 16;
/// Bytes read from one socket at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// Unwritten bytes of one subscriber past which no publisher is read: back-pressure.
const UNWRITTEN_BYTES_MAX: usize = 4 * 1024 * 1024;

struct Peer {
    transport: Transport,
    tail: Vec<u8>,
    outgoing: Vec<u8>,
    dirty: bool,
    blocked: bool,
    publishes: bool,
    overfull: bool,
}

/// The relay.
pub struct Relay {
    listeners: Vec<(TcpListener, Option<Arc<ServerConfig>>)>,
    epoll: Epoll,
    peers: Vec<Option<Peer>>,
    routes: HashMap<Vec<u8>, Vec<usize>>,
    prefixes: Vec<(Vec<u8>, usize)>,
    dirty: Vec<usize>,
    unfinished: Vec<usize>,
    overfull: usize,
}

impl Relay {
    /// A relay that listens nowhere yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            listeners: Vec::new(),
            epoll: Epoll::new()?,
            peers: Vec::new(),
            routes: HashMap::new(),
            prefixes: Vec::new(),
            dirty: Vec::new(),
            unfinished: Vec::new(),
            overfull: 0,
        })
    }

    /// Binds one more listener, for plain connections or for `tls`, and returns where it is; port 0 takes any.
    pub fn listen(&mut self, address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> io::Result<SocketAddr> {
        if self.listeners.len() == LISTENERS_MAX {
            return Err(io::Error::other(format!("at most {LISTENERS_MAX} listeners")));
        }
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        socket.set_nonblocking(true)?;
        self.epoll.add(&socket, LISTENER - self.listeners.len())?;
        let listener = TcpListener::from(socket);
        let bound = listener.local_addr()?;
        self.listeners.push((listener, tls));
        Ok(bound)
    }

    /// Relays until the process is ended.
    pub fn serve(mut self) -> io::Result<()> {
        let mut buffer = vec![0; 2 * CHUNK_BYTES];
        let mut events: Vec<Ready> = Vec::new();
        loop {
            let idle = self.unfinished.is_empty() || self.overfull > 0;
            self.epoll.wait(if idle { SECOND_NS } else { 0 }, &mut events)?;
            for event in &events {
                if event.token > LISTENER - LISTENERS_MAX {
                    self.accept(LISTENER - event.token)?;
                    continue;
                }
                if event.writable {
                    self.unblock(event.token);
                }
                if event.readable {
                    self.unfinished.push(event.token);
                }
            }
            for token in std::mem::take(&mut self.unfinished) {
                self.read(token, &mut buffer);
            }
            self.write_dirty();
        }
    }

    fn accept(&mut self, listener: usize) -> io::Result<()> {
        let (listener, tls) = &self.listeners[listener];
        loop {
            let socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let transport = Transport::accepted(socket, tls.as_ref())?;
            let token = self.peers.len();
            self.epoll.add(&transport, token)?;
            self.peers.push(Some(Peer {
                transport,
                tail: Vec::new(),
                outgoing: Vec::new(),
                dirty: false,
                blocked: false,
                publishes: false,
                overfull: false,
            }));
        }
    }

    fn unblock(&mut self, token: usize) {
        let Some(peer) = &mut self.peers[token] else { return };
        if std::mem::take(&mut peer.blocked) && !peer.dirty {
            peer.dirty = true;
            self.dirty.push(token);
        }
    }

    fn read(&mut self, token: usize, buffer: &mut [u8]) {
        let Some(peer) = &mut self.peers[token] else { return };
        if peer.publishes && self.overfull > 0 {
            self.unfinished.push(token);
            return;
        }
        let kept = peer.tail.len();
        buffer[..kept].copy_from_slice(&peer.tail);
        peer.tail.clear();
        let space = CHUNK_BYTES.min(buffer.len() - kept);
        match peer.transport.read(&mut buffer[kept..kept + space]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                peer.tail.extend_from_slice(&buffer[..kept]);
            }
            Ok(read) if read > 0 => {
                if !peer.transport.drained(read, space) {
                    self.unfinished.push(token);
                }
                if self.handle(token, &buffer[..kept + read]).is_err() {
                    self.close(token);
                }
            }
            _ => self.close(token),
        }
    }

    fn handle(&mut self, token: usize, bytes: &[u8]) -> Result<(), Malformed> {
        let mut at = 0;
        while let Some(frame) = packet::split(&bytes[at..])? {
            if frame.kind() == packet::PUBLISH {
                at += self.relay_run(token, &bytes[at..])?;
                continue;
            }
            self.control(token, &frame)?;
            at += frame.length;
        }
        if let Some(peer) = &mut self.peers[token] {
            peer.tail.extend_from_slice(&bytes[at..]);
        }
        Ok(())
    }

    /// Copies the adjacent PUBLISH packets with one topic at the start of `bytes`; returns their length.
    fn relay_run(&mut self, token: usize, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut topic: &[u8] = &[];
        let mut length = 0;
        let mut acknowledgements = Vec::new();
        while let Some(frame) = packet::split(&bytes[length..])?
            && frame.kind() == packet::PUBLISH
        {
            let publish = packet::read_publish(&frame)?;
            if length > 0 && publish.topic != topic {
                break;
            }
            topic = publish.topic;
            length += frame.length;
            if let Some(packet_identifier) = publish.packet_identifier {
                acknowledgements.extend_from_slice(&packet::puback(packet_identifier));
            }
        }
        let exact = self.routes.get(topic).into_iter().flatten();
        let prefixed =
            self.prefixes.iter().filter(|(prefix, _)| topic.starts_with(prefix)).map(|(_, token)| token);
        for &target in exact.chain(prefixed) {
            append(&mut self.peers, &mut self.dirty, target, &bytes[..length]);
        }
        append(&mut self.peers, &mut self.dirty, token, &acknowledgements);
        if let Some(peer) = &mut self.peers[token] {
            peer.publishes = true;
        }
        Ok(length)
    }

    fn control(&mut self, token: usize, frame: &Frame<'_>) -> Result<(), Malformed> {
        match frame.kind() {
            packet::CONNECT => self.answer(token, &[packet::CONNACK << 4, 2, 0, 0]),
            packet::PINGREQ => self.answer(token, &[packet::PINGRESP << 4, 0]),
            packet::DISCONNECT => self.close(token),
            packet::SUBSCRIBE => {
                let [high, low] = packet::read_identifier(frame)?.to_be_bytes();
                let mut body = vec![high, low];
                let mut rest = &frame.body[2..];
                while let Some((length, after)) = rest.split_first_chunk::<2>() {
                    let length = usize::from(u16::from_be_bytes(*length));
                    let cut = || Malformed::Truncated(packet::SUBSCRIBE);
                    let (filter, after) = after.split_at_checked(length).ok_or_else(cut)?;
                    let (qos, after) = after.split_first().ok_or_else(cut)?;
                    body.push(*qos);
                    self.subscribe(token, filter);
                    rest = after;
                }
                self.answer(token, &packet::packet(packet::SUBACK << 4, &body));
            }
            _ => {}
        }
        Ok(())
    }

    fn subscribe(&mut self, token: usize, filter: &[u8]) {
        match filter.strip_suffix(b"#") {
            Some(prefix) => self.prefixes.push((prefix.to_vec(), token)),
            None => self.routes.entry(filter.to_vec()).or_default().push(token),
        }
    }

    fn answer(&mut self, token: usize, bytes: &[u8]) {
        append(&mut self.peers, &mut self.dirty, token, bytes);
    }

    fn write_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for &token in &dirty {
            let Some(peer) = &mut self.peers[token] else { continue };
            peer.dirty = false;
            if !peer.blocked {
                match peer.transport.write(&mut peer.outgoing) {
                    Ok(whole) => peer.blocked = !whole,
                    Err(_) => {
                        self.close(token);
                        continue;
                    }
                }
            }
            let was = std::mem::replace(&mut peer.overfull, peer.outgoing.len() > UNWRITTEN_BYTES_MAX);
            self.overfull = self.overfull + usize::from(peer.overfull) - usize::from(was);
        }
        dirty.clear();
        self.dirty = dirty;
    }

    fn close(&mut self, token: usize) {
        if let Some(peer) = self.peers[token].take() {
            self.overfull -= usize::from(peer.overfull);
            self.routes.values_mut().for_each(|targets| targets.retain(|target| *target != token));
            self.prefixes.retain(|(_, target)| *target != token);
        }
    }
}

fn append(peers: &mut [Option<Peer>], dirty: &mut Vec<usize>, token: usize, bytes: &[u8]) {
    let Some(peer) = &mut peers[token] else { return };
    peer.outgoing.extend_from_slice(bytes);
    if !bytes.is_empty() && !peer.dirty {
        peer.dirty = true;
        dirty.push(token);
    }
}
