//! The messages of a run, apart from sockets: who may send what now, and what has arrived where.
//!
//! A run may be shared by several driver processes. Each has the whole plan and handles its [`Share`] of the
//! connections. The closed loop needs to know what has arrived at the subscribers of others: see
//! [`Traffic::take_progress`].

mod recording;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::pace::Pace;
use crate::packet::PublishTemplate;
use crate::plan::Plan;
use crate::sequence::{Arrival, Sequence};
use crate::stamp::Stamp;
use crate::window::Window;

pub use self::recording::Recording;
use self::recording::Recordings;

/// Unwritten bytes of one publisher past which it is given no more to write.
const UNWRITTEN_BYTES_MAX: usize = 256 * 1024;

/// Counters of a whole run, warm-up and drain included.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Messages written.
    pub sent: u64,
    /// PUBACKs received for them.
    pub acknowledged: u64,
    /// Messages received by subscribers that count.
    pub delivered: u64,
    /// Received more than once.
    pub duplicates: u64,
    /// Received after a later message of the same publisher.
    pub reordered: u64,
    /// Received by a subscriber that must not get this publisher's messages.
    pub misrouted: u64,
    /// Payload is not the one that was sent.
    pub corrupt: u64,
    /// PUBACKs that no PUBLISH was waiting for, or out of order (MQTT-4.6.0-2).
    pub stray_acknowledgements: u64,
    /// Unacknowledged when the connection of their publisher was lost with its node.
    pub abandoned: u64,
}

impl Counts {
    /// Adds the counters of another driver.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.misrouted += other.misrouted;
        self.corrupt += other.corrupt;
        self.stray_acknowledgements += other.stray_acknowledgements;
        self.abandoned += other.abandoned;
    }
}

/// The part of the connections that one driver has.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Share {
    /// Which driver, from 0.
    pub driver: u32,
    /// How many there are.
    pub drivers: u32,
}

impl Share {
    /// All of it.
    #[cfg(test)]
    pub const WHOLE: Self = Self { driver: 0, drivers: 1 };

    /// Which driver has the connection with this index among those of its kind. Pairs stay together.
    pub fn owner(&self, index: u32) -> u32 {
        index % self.drivers
    }

    /// Whether this one has it.
    pub fn has(&self, index: u32) -> bool {
        self.owner(index) == self.driver
    }
}

#[derive(Debug)]
struct Publisher {
    template: PublishTemplate,
    payload_bytes: usize,
    sent: u64,
    window: Window,
    pace: Option<Pace>,
    next_identifier: u16,
    unacknowledged: VecDeque<(u16, u64)>,
    ready: bool,
    scheduled: bool,
    /// Subscribers of all drivers that must get each message.
    copies: u32,
    /// How far the other drivers have told that theirs have all messages.
    told: Vec<u64>,
    /// Has subscribers here that have got further since the last [`Traffic::take_progress`].
    moved: bool,
    /// Has lost its connection.
    disturbed: bool,
}

#[derive(Debug)]
struct Subscriber {
    first_publisher: u32,
    streams: Vec<Sequence>,
    /// Has lost its connection.
    disturbed: bool,
}

/// Bounds on what may be on its way.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Messages of one publisher on their way end to end; `None` in a paced run.
    pub window: Option<u32>,
    /// Unacknowledged QoS 1 messages of one publisher.
    pub inflight: u32,
}

/// The state of all publishers and subscribers.
#[derive(Debug)]
pub struct Traffic {
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    bounds: Bounds,
    share: Share,
    ready: Vec<u32>,
    moved: Vec<u32>,
    arrivals: u64,
    due: BinaryHeap<Reverse<(u64, u32)>>,
    saturated: bool,
    paced_until_ns: u64,
    counts: Counts,
    recordings: Recordings,
}

impl Traffic {
    /// Everything at rest.
    pub fn new(plan: &Plan, bounds: Bounds, share: Share) -> Self {
        let publisher = |index: usize| {
            let source = &plan.publishers[index];
            let mine = share.has(index as u32);
            let awaited = if mine { awaited(plan, index as u32, share) } else { 0 };
            Publisher {
                payload_bytes: source.template.bytes.len() - source.template.payload_at,
                template: source.template.clone(),
                sent: 0,
                window: Window::new(bounds.window.unwrap_or(1), awaited),
                pace: None,
                next_identifier: 1,
                unacknowledged: VecDeque::new(),
                ready: false,
                scheduled: false,
                copies: plan.copies(index as u32),
                told: vec![0; share.drivers as usize],
                moved: false,
                disturbed: false,
            }
        };
        let subscriber = |(index, publishers): (usize, &Range<u32>)| Subscriber {
            first_publisher: publishers.start,
            streams: match share.has(index as u32) {
                true => publishers.clone().map(|_| Sequence::default()).collect(),
                false => Vec::new(),
            },
            disturbed: false,
        };
        let publishers_of = plan.subscribers.iter().map(|subscriber| &subscriber.publishers);
        Self {
            publishers: (0..plan.publishers.len()).map(publisher).collect(),
            subscribers: publishers_of.enumerate().map(subscriber).collect(),
            bounds,
            share,
            ready: Vec::new(),
            moved: Vec::new(),
            arrivals: 0,
            due: BinaryHeap::new(),
            saturated: false,
            paced_until_ns: 0,
            counts: Counts::default(),
            recordings: Recordings::default(),
        }
    }

    /// Starts the closed loop.
    pub fn start_saturated(&mut self) {
        self.saturated = true;
        self.wake_all();
    }

    fn wake_all(&mut self) {
        for index in 0..self.publishers.len() as u32 {
            if self.share.has(index) {
                self.wake(index);
            }
        }
    }

    /// Starts the open loop, with a pace for each publisher of the run.
    pub fn start_paced(&mut self, paces: Vec<Pace>) {
        self.paced_until_ns = u64::MAX;
        for (index, pace) in paces.into_iter().enumerate() {
            if !self.share.has(index as u32) {
                continue;
            }
            self.due.push(Reverse((pace.due_ns(), index as u32)));
            self.publishers[index].scheduled = true;
            self.publishers[index].pace = Some(pace);
        }
    }

    /// Nothing new from now on. Paced messages that were due before are still sent: leaving them out would hide
    /// the latency of a broker that cannot keep up.
    pub fn stop(&mut self, now_ns: u64) {
        self.saturated = false;
        self.paced_until_ns = self.paced_until_ns.min(now_ns);
    }

    /// Paced messages that were due before `now_ns` and are not sent.
    pub fn behind(&self, now_ns: u64) -> u64 {
        let end_ns = now_ns.min(self.paced_until_ns);
        self.publishers
            .iter()
            .filter_map(|publisher| publisher.pace.as_ref())
            .map(|pace| pace.owed(end_ns))
            .sum()
    }

    /// Begins a measured window: messages due within it enter its histograms, whenever they arrive. The end may
    /// be open ([`u64::MAX`]) until [`Self::end_record`].
    pub fn record(&mut self, due_ns: Range<u64>) {
        self.recordings.begin(due_ns);
    }

    /// Ends an open window.
    pub fn end_record(&mut self, at_ns: u64) {
        self.recordings.end(at_ns);
    }

    /// The histograms of all windows so far, which are forgotten.
    pub fn take_recordings(&mut self) -> Vec<Recording> {
        std::mem::take(&mut self.recordings).into_inner()
    }

    /// When the next paced message is due.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((due_ns, _))| *due_ns)
    }

    /// Wakes the publishers whose time has come.
    pub fn wake_due(&mut self, now_ns: u64) {
        while let Some(&Reverse((due_ns, index))) = self.due.peek()
            && due_ns <= now_ns
        {
            self.due.pop();
            self.publishers[index as usize].scheduled = false;
            self.wake(index);
        }
    }

    /// Puts a publisher into the list of [`Self::take_ready`], once.
    pub fn wake(&mut self, index: u32) {
        let publisher = &mut self.publishers[index as usize];
        if !publisher.ready {
            publisher.ready = true;
            self.ready.push(index);
        }
    }

    /// The publishers that may have something to send. The caller calls [`Self::fill`] for each and gives the
    /// list back as `recycled` next time.
    pub fn take_ready(&mut self, mut recycled: Vec<u32>) -> Vec<u32> {
        recycled.clear();
        std::mem::replace(&mut self.ready, recycled)
    }

    /// Whether some publisher waits for [`Self::take_ready`].
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Appends to `out` everything that the publisher may send now.
    pub fn fill(&mut self, index: u32, out: &mut Vec<u8>, now_ns: u64) {
        let publisher = &mut self.publishers[index as usize];
        publisher.ready = false;
        while out.len() < UNWRITTEN_BYTES_MAX && publisher.may_send(&self.bounds) {
            let due_ns = match &publisher.pace {
                None if !self.saturated => return,
                None => now_ns,
                Some(pace) if pace.due_ns() >= self.paced_until_ns => return,
                Some(pace) if pace.due_ns() <= now_ns => pace.due_ns(),
                Some(pace) => {
                    // Blocked publishers are not in the heap; what frees them wakes them.
                    if !publisher.scheduled {
                        publisher.scheduled = true;
                        self.due.push(Reverse((pace.due_ns(), index)));
                    }
                    return;
                }
            };
            if publisher.pace.is_some()
                && !publisher.disturbed
                && let Some(recording) = self.recordings.at(due_ns)
            {
                recording.lateness.record_ns(now_ns - due_ns);
            }
            publisher.send(index, out, due_ns, self.bounds.window.is_some());
            self.counts.sent += 1;
        }
    }

    /// A PUBLISH reached subscriber `index`.
    #[inline]
    pub fn delivered(&mut self, index: u32, payload: &[u8], now_ns: u64) {
        let Some(stamp) = Stamp::read(payload) else {
            self.counts.corrupt += 1;
            return;
        };
        let subscriber = &mut self.subscribers[index as usize];
        let stream = stamp.publisher.wrapping_sub(subscriber.first_publisher);
        let Some(stream) = subscriber.streams.get_mut(stream as usize) else {
            self.counts.misrouted += 1;
            return;
        };
        let publisher = &mut self.publishers[stamp.publisher as usize];
        let mine = self.share.has(stamp.publisher);
        // How many a publisher of another driver has sent is compared at the end.
        if payload.len() != publisher.payload_bytes || (mine && stamp.sequence >= publisher.sent) {
            self.counts.corrupt += 1;
            return;
        }
        match stream.arrive(stamp.sequence) {
            Arrival::InOrder => publisher.window.arrived(stamp.sequence),
            Arrival::Gap(gap) => (gap.start..=stamp.sequence).for_each(|it| publisher.window.arrived(it)),
            Arrival::Late => self.counts.reordered += 1,
            Arrival::Duplicate => {
                self.counts.duplicates += 1;
                return;
            }
        }
        self.counts.delivered += 1;
        self.arrivals += 1;
        // How long clients were away is told apart: the histograms are those of the ones that stayed.
        if !(subscriber.disturbed || publisher.disturbed)
            && let Some(recording) = self.recordings.at(stamp.due_ns)
        {
            recording.delivery.record_ns(now_ns.saturating_sub(stamp.due_ns));
        }
        if self.bounds.window.is_none() {
            return;
        }
        if mine {
            self.wake(stamp.publisher);
        } else if !publisher.moved {
            publisher.moved = true;
            self.moved.push(stamp.publisher);
        }
    }

    /// A PUBACK reached publisher `index`.
    #[inline]
    pub fn acknowledged(&mut self, index: u32, packet_identifier: u16, now_ns: u64) {
        let publisher = &mut self.publishers[index as usize];
        let mut waiting = publisher.unacknowledged.iter();
        let Some(place) = waiting.position(|(waiting, _)| *waiting == packet_identifier) else {
            self.counts.stray_acknowledgements += 1;
            return;
        };
        if place > 0 {
            self.counts.stray_acknowledgements += 1;
        }
        self.counts.acknowledged += 1;
        self.arrivals += 1;
        if let Some((_, due_ns)) = publisher.unacknowledged.remove(place)
            && !publisher.disturbed
            && let Some(recording) = self.recordings.at(due_ns)
        {
            recording.acknowledgement.record_ns(now_ns.saturating_sub(due_ns));
        }
        self.wake(index);
    }

    /// Counters so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Counts whatever has come in: while it stands still, nothing moves.
    pub fn arrivals(&self) -> u64 {
        self.arrivals
    }

    /// For publishers of other drivers: how many of their first messages have arrived (or were overtaken) at all
    /// subscribers here. Only those with news, each once.
    pub fn take_progress(&mut self) -> Vec<(u32, u64)> {
        let moved = std::mem::take(&mut self.moved);
        moved
            .into_iter()
            .map(|publisher| {
                self.publishers[publisher as usize].moved = false;
                let streams = self.subscribers.iter().filter_map(|subscriber| {
                    subscriber.streams.get(publisher.wrapping_sub(subscriber.first_publisher) as usize)
                });
                (publisher, streams.map(Sequence::next).min().unwrap_or(0))
            })
            .collect()
    }

    /// Takes what another driver's [`Self::take_progress`] says of a publisher here.
    pub fn told(&mut self, driver: u32, publisher: u32, arrived: u64) {
        let Some(source) = self.publishers.get_mut(publisher as usize) else { return };
        let Some(told) = source.told.get_mut(driver as usize) else { return };
        // Never more than was sent, whatever it says.
        let arrived = arrived.min(source.sent);
        for number in *told..arrived {
            source.window.arrived(number);
        }
        *told = arrived.max(*told);
        self.arrivals += 1;
        self.wake(publisher);
    }

    /// Messages of the publishers here, counted once for each subscriber that must get them, here or elsewhere.
    pub fn expected(&self) -> u64 {
        self.publishers.iter().map(|publisher| publisher.sent * u64::from(publisher.copies)).sum()
    }

    /// Messages that have not arrived where publisher or subscriber have lost their connection. Nobody promised
    /// them.
    pub fn excused(&self) -> u64 {
        let of = |subscriber: &Subscriber| {
            let publishers = self.publishers[subscriber.first_publisher as usize..].iter();
            let streams = subscriber.streams.iter().zip(publishers);
            let disturbed = streams.filter(|(_, publisher)| subscriber.disturbed || publisher.disturbed);
            disturbed.map(|(stream, publisher)| stream.missing(publisher.sent)).sum::<u64>()
        };
        self.subscribers.iter().map(of).sum()
    }

    /// A publisher's connection is lost, and with it all that it has not got acknowledged.
    pub fn publisher_lost(&mut self, index: u32) {
        let publisher = &mut self.publishers[index as usize];
        publisher.disturbed = true;
        self.counts.abandoned += publisher.unacknowledged.len() as u64;
        publisher.unacknowledged.clear();
    }

    /// A subscriber's connection is lost. What is published until it is back does not reach it.
    pub fn subscriber_lost(&mut self, index: u32) {
        self.subscribers[index as usize].disturbed = true;
    }

    /// A publisher cannot send now; whoever opens its connection wakes it.
    pub fn hold(&mut self, index: u32) {
        self.publishers[index as usize].ready = false;
    }

    /// Messages written but not yet acknowledged.
    pub fn unacknowledged(&self) -> u64 {
        self.publishers.iter().map(|publisher| publisher.unacknowledged.len() as u64).sum()
    }

    /// Gives up on every message that is on its way, for when nothing moves any more.
    pub fn give_up(&mut self) -> u64 {
        let given_up = self.publishers.iter_mut().map(|publisher| publisher.window.give_up()).sum();
        self.wake_all();
        given_up
    }
}

/// How often each message of a publisher is awaited: once for each subscriber here, once for each other driver that
/// has some.
fn awaited(plan: &Plan, publisher: u32, share: Share) -> u32 {
    let mut others = vec![false; share.drivers as usize];
    let mut here = 0;
    for (index, subscriber) in plan.subscribers.iter().enumerate() {
        if subscriber.publishers.contains(&publisher) {
            match share.has(index as u32) {
                true => here += 1,
                false => others[share.owner(index as u32) as usize] = true,
            }
        }
    }
    here + others.into_iter().filter(|has| *has).count() as u32
}

impl Publisher {
    #[inline]
    fn may_send(&self, bounds: &Bounds) -> bool {
        self.unacknowledged.len() < bounds.inflight as usize
            && bounds.window.is_none_or(|window| self.window.used() < u64::from(window))
    }

    #[inline]
    fn send(&mut self, index: u32, out: &mut Vec<u8>, due_ns: u64, windowed: bool) {
        let start = out.len();
        out.extend_from_slice(&self.template.bytes);
        let packet = &mut out[start..];
        Stamp { publisher: index, sequence: self.sent, due_ns }
            .write(&mut packet[self.template.payload_at..]);
        if let Some(at) = self.template.identifier_at {
            packet[at..at + 2].copy_from_slice(&self.next_identifier.to_be_bytes());
            self.unacknowledged.push_back((self.next_identifier, due_ns));
            self.next_identifier = self.next_identifier.checked_add(1).unwrap_or(1);
        }
        self.sent += 1;
        if windowed {
            self.window.sent();
        }
        if let Some(pace) = &mut self.pace {
            pace.sent();
        }
    }
}

#[cfg(test)]
mod tests;
