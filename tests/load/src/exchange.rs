//! What driver processes tell each other: how far the messages of a publisher have arrived at the subscribers of
//! another driver, so that its closed loop can go on.
//!
//! Datagrams over local sockets. What they carry is cumulative: what does not fit in now is told with the next.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use crate::traffic::{Share, Traffic};

/// Bytes of the sender's number in front of a datagram.
const HEADER_BYTES: usize = 4;
/// Bytes of one entry: publisher and number.
const ENTRY_BYTES: usize = 12;
/// Entries of a datagram.
const ENTRIES_MAX: usize = 2048;

/// The sockets of one driver.
#[derive(Debug)]
pub struct Exchange {
    share: Share,
    socket: UnixDatagram,
    directory: PathBuf,
    /// What waits to be told: for each publisher how far it has come.
    waiting: BTreeMap<u32, u64>,
    buffer: Vec<u8>,
}

impl Exchange {
    /// Opens the socket of this driver in a directory that all drivers use.
    pub fn open(directory: &Path, share: Share) -> io::Result<Self> {
        let socket = UnixDatagram::bind(path(directory, share.driver))?;
        socket.set_nonblocking(true)?;
        let buffer = vec![0; HEADER_BYTES + ENTRIES_MAX * ENTRY_BYTES];
        Ok(Self { share, socket, directory: directory.to_owned(), waiting: BTreeMap::new(), buffer })
    }

    /// Tells the owners of the publishers what is new. `false`: somebody's socket is full, call again soon.
    pub fn tell(&mut self, traffic: &mut Traffic) -> io::Result<bool> {
        self.waiting.extend(traffic.take_progress());
        let owners: Vec<u32> = (0..self.share.drivers).filter(|owner| *owner != self.share.driver).collect();
        for owner in owners {
            while let Some(told) = self.datagram(owner) {
                match self.socket.send_to(&self.buffer, path(&self.directory, owner)) {
                    Ok(_) => self.waiting.retain(|publisher, _| !told.contains(publisher)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(self.waiting.is_empty())
    }

    /// Writes the next datagram for `owner` into the buffer; the publishers in it, or `None` if there is nothing.
    fn datagram(&mut self, owner: u32) -> Option<Vec<u32>> {
        let entries = self.waiting.iter().filter(|(publisher, _)| self.share.owner(**publisher) == owner);
        self.buffer.clear();
        self.buffer.extend_from_slice(&self.share.driver.to_le_bytes());
        let mut publishers = Vec::new();
        for (publisher, arrived) in entries.take(ENTRIES_MAX) {
            self.buffer.extend_from_slice(&publisher.to_le_bytes());
            self.buffer.extend_from_slice(&arrived.to_le_bytes());
            publishers.push(*publisher);
        }
        (!publishers.is_empty()).then_some(publishers)
    }

    /// Hands everything that others have told to the traffic.
    pub fn hear(&mut self, traffic: &mut Traffic) -> io::Result<()> {
        self.buffer.resize(HEADER_BYTES + ENTRIES_MAX * ENTRY_BYTES, 0);
        loop {
            let length = match self.socket.recv(&mut self.buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let Some((driver, entries)) = self.buffer[..length].split_first_chunk::<HEADER_BYTES>() else {
                continue;
            };
            let driver = u32::from_le_bytes(*driver);
            for entry in entries.chunks_exact(ENTRY_BYTES) {
                let Some((publisher, arrived)) = entry.split_first_chunk::<4>() else { continue };
                let Some(arrived) = arrived.first_chunk::<8>() else { continue };
                traffic.told(driver, u32::from_le_bytes(*publisher), u64::from_le_bytes(*arrived));
            }
        }
    }
}

impl AsFd for Exchange {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn path(directory: &Path, driver: u32) -> PathBuf {
    directory.join(format!("driver-{driver}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Access, Addressing, Plan};
    use crate::scenario::{built_in, find};
    use crate::traffic::Bounds;

    #[test]
    fn what_arrives_at_one_driver_opens_the_window_of_a_publisher_at_another() {
        let mut scenario = find(&built_in().unwrap(), "fanout").unwrap();
        (scenario.publishers, scenario.subscribers) = (1, 2);
        let plan = Plan::new(&scenario, &Access::by_password(Addressing::Free(None)), 1, "");
        let directory = tempfile::TempDir::new().unwrap();
        let driver = |driver| {
            let share = Share { driver, drivers: 2 };
            let traffic = Traffic::new(&plan, Bounds { window: Some(1), inflight: 1 }, share);
            (Exchange::open(directory.path(), share).unwrap(), traffic)
        };
        let ((mut here, mut publishing), (mut there, mut subscribing)) = (driver(0), driver(1));
        publishing.start_saturated();
        let mut packets = Vec::new();
        publishing.fill(0, &mut packets, 10);
        let payload = packets[packets.len() - scenario.payload_bytes..].to_vec();
        publishing.delivered(0, &payload, 20);
        let sent = publishing.counts().sent;
        publishing.fill(0, &mut packets, 30);
        assert_eq!(
            publishing.counts().sent,
            sent,
            "the other driver's subscriber has not told that it has it"
        );
        subscribing.delivered(1, &payload, 20);
        assert!(there.tell(&mut subscribing).unwrap());
        // Not a word of ours, and no reason to stop.
        there.socket.send_to(b"x", path(directory.path(), 0)).unwrap();
        here.hear(&mut publishing).unwrap();
        publishing.fill(0, &mut packets, 40);
        assert_eq!(publishing.counts().sent, sent + 1);
    }
}
