//! Edge-triggered readiness of many sockets for one thread, with timeouts finer than a millisecond.

use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;

use crate::clock;

/// Events taken from the kernel at a time.
const EVENTS_MAX: usize = 1024;

/// What happened to one socket.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// The number the socket was added with.
    pub token: usize,
    /// There is something to read, or the peer has closed, or an error to be picked up by reading.
    pub readable: bool,
    /// There is room to write again.
    pub writable: bool,
    /// The peer has closed, or the socket failed.
    pub closed: bool,
}

/// An epoll instance.
pub struct Epoll {
    handle: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Epoll {
    /// An empty one.
    pub fn new() -> std::io::Result<Self> {
        let handle = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { handle, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Watches a socket, edge-triggered, for reading and writing. It is forgotten when closed.
    pub fn add(&self, socket: impl AsFd, token: usize) -> std::io::Result<()> {
        let flags =
            epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        Ok(epoll::add(&self.handle, socket, epoll::EventData::new_u64(token as u64), flags)?)
    }

    /// Waits for events, at most `timeout_ns`, and writes them into `ready` (cleared first).
    pub fn wait(&mut self, timeout_ns: u64, ready: &mut Vec<Ready>) -> std::io::Result<()> {
        ready.clear();
        self.events.clear();
        match epoll::wait(&self.handle, spare_capacity(&mut self.events), Some(&clock::timespec(timeout_ns)))
        {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let broken = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        ready.extend(self.events.iter().map(|event| {
            let flags = event.flags;
            Ready {
                token: event.data.u64() as usize,
                readable: flags.intersects(epoll::EventFlags::IN | broken),
                writable: flags.contains(epoll::EventFlags::OUT),
                closed: flags.intersects(broken),
            }
        }));
        Ok(())
    }
}
