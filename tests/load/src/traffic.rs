//! The messages of a run, apart from sockets: who may send what now, and what has arrived where.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::latency::Latency;
use crate::pace::Pace;
use crate::packet::PublishTemplate;
use crate::plan::Plan;
use crate::sequence::{Arrival, Sequence};
use crate::stamp::Stamp;
use crate::window::Window;

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
}

#[derive(Debug)]
struct Subscriber {
    first_publisher: u32,
    streams: Vec<Sequence>,
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
    ready: Vec<u32>,
    due: BinaryHeap<Reverse<(u64, u32)>>,
    saturated: bool,
    paced_until_ns: u64,
    counts: Counts,
    latency: Latency,
    acknowledge_latency: Latency,
    lateness: Latency,
    recorded_ns: Range<u64>,
}

impl Traffic {
    /// Everything at rest.
    pub fn new(plan: &Plan, bounds: Bounds) -> Self {
        let publisher = |index: usize| {
            let source = &plan.publishers[index];
            Publisher {
                payload_bytes: source.template.bytes.len() - source.template.payload_at,
                template: source.template.clone(),
                sent: 0,
                window: Window::new(bounds.window.unwrap_or(1), plan.copies(index as u32)),
                pace: None,
                next_identifier: 1,
                unacknowledged: VecDeque::new(),
                ready: false,
                scheduled: false,
            }
        };
        let subscriber = |publishers: &Range<u32>| Subscriber {
            first_publisher: publishers.start,
            streams: publishers.clone().map(|_| Sequence::default()).collect(),
        };
        Self {
            publishers: (0..plan.publishers.len()).map(publisher).collect(),
            subscribers: plan.subscribers.iter().map(|plan| subscriber(&plan.publishers)).collect(),
            bounds,
            ready: Vec::new(),
            due: BinaryHeap::new(),
            saturated: false,
            paced_until_ns: 0,
            counts: Counts::default(),
            latency: Latency::default(),
            acknowledge_latency: Latency::default(),
            lateness: Latency::default(),
            recorded_ns: 0..0,
        }
    }

    /// Starts the closed loop.
    pub fn start_saturated(&mut self) {
        self.saturated = true;
        (0..self.publishers.len()).for_each(|index| self.wake(index as u32));
    }

    /// Starts the open loop.
    pub fn start_paced(&mut self, paces: Vec<Pace>) {
        self.paced_until_ns = u64::MAX;
        for (index, pace) in paces.into_iter().enumerate() {
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

    /// Only messages due within this time enter the histograms, whenever they arrive.
    pub fn record(&mut self, due_ns: Range<u64>) {
        self.recorded_ns = due_ns;
        self.latency.clear();
        self.acknowledge_latency.clear();
        self.lateness.clear();
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
            if publisher.pace.is_some() && self.recorded_ns.contains(&due_ns) {
                self.lateness.record_ns(now_ns - due_ns);
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
        if payload.len() != publisher.payload_bytes || stamp.sequence >= publisher.sent {
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
        if self.recorded_ns.contains(&stamp.due_ns) {
            self.latency.record_ns(now_ns.saturating_sub(stamp.due_ns));
        }
        if self.bounds.window.is_some() {
            self.wake(stamp.publisher);
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
        if let Some((_, sent_ns)) = publisher.unacknowledged.remove(place)
            && self.recorded_ns.contains(&sent_ns)
        {
            self.acknowledge_latency.record_ns(now_ns.saturating_sub(sent_ns));
        }
        self.wake(index);
    }

    /// Counters so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Time from when a message was due to its arrival.
    pub fn latency(&self) -> &Latency {
        &self.latency
    }

    /// Time from when a message was due to its PUBACK.
    pub fn acknowledge_latency(&self) -> &Latency {
        &self.acknowledge_latency
    }

    /// Time from when a paced message was due to its sending. It is part of [`Self::latency`]; where it is large,
    /// the generator (or its machine) was late, or the broker held the publisher back.
    pub fn lateness(&self) -> &Latency {
        &self.lateness
    }

    /// Messages written but not yet received by a subscriber that must get them.
    pub fn missing(&self) -> u64 {
        let of = |subscriber: &Subscriber| {
            let publishers = self.publishers[subscriber.first_publisher as usize..].iter();
            let streams = subscriber.streams.iter().zip(publishers);
            streams.map(|(stream, publisher)| stream.missing(publisher.sent)).sum::<u64>()
        };
        self.subscribers.iter().map(of).sum()
    }

    /// Messages written but not yet acknowledged.
    pub fn unacknowledged(&self) -> u64 {
        self.publishers.iter().map(|publisher| publisher.unacknowledged.len() as u64).sum()
    }

    /// Gives up on every message that is on its way, for when nothing moves any more.
    pub fn give_up(&mut self) -> u64 {
        let given_up = self.publishers.iter_mut().map(|publisher| publisher.window.give_up()).sum();
        (0..self.publishers.len()).for_each(|index| self.wake(index as u32));
        given_up
    }
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
mod tests {
    use super::*;
    use crate::plan::{Access, Addressing};
    use crate::scenario::{built_in, find};

    const WINDOW: Bounds = Bounds { window: Some(4), inflight: 2 };

    fn traffic(name: &str, qos: u8, bounds: Bounds) -> Traffic {
        let mut scenario = find(&built_in().unwrap(), name).unwrap();
        (scenario.publishers, scenario.qos) = (2, qos);
        scenario.subscribers = if name == "pairs" { 2 } else { 1 };
        let access = Access::by_password(Addressing::Free(None));
        Traffic::new(&Plan::new(&scenario, &access, 1, ""), bounds)
    }

    fn fill(traffic: &mut Traffic, publisher: u32, now_ns: u64) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        traffic.fill(publisher, &mut out, now_ns);
        let mut payloads = Vec::new();
        let mut rest = &out[..];
        while let Some(frame) = crate::packet::split(rest).unwrap() {
            payloads.push(crate::packet::read_publish(&frame).unwrap().payload.to_vec());
            rest = &rest[frame.length..];
        }
        payloads
    }

    #[test]
    fn the_closed_loop_sends_a_window_and_then_one_for_each_arrival() {
        let mut traffic = traffic("pairs", 0, WINDOW);
        traffic.start_saturated();
        let sent = fill(&mut traffic, 0, 10);
        assert_eq!(sent.len(), 4);
        assert!(fill(&mut traffic, 0, 10).is_empty());
        traffic.delivered(0, &sent[0], 20);
        assert_eq!(fill(&mut traffic, 0, 20).len(), 1);
        traffic.stop(20);
        traffic.delivered(0, &sent[1], 20);
        assert!(fill(&mut traffic, 0, 20).is_empty());
        assert_eq!(traffic.missing(), 3);
    }

    #[test]
    fn qos_1_also_waits_for_acknowledgements() {
        let mut traffic = traffic("pairs", 1, WINDOW);
        traffic.start_saturated();
        assert_eq!(fill(&mut traffic, 0, 10).len(), 2);
        traffic.acknowledged(0, 1, 20);
        assert_eq!(fill(&mut traffic, 0, 20).len(), 1);
        traffic.acknowledged(0, 3, 30);
        traffic.acknowledged(0, 9, 30);
        assert_eq!((traffic.counts().acknowledged, traffic.counts().stray_acknowledgements), (2, 2));
        assert_eq!(traffic.unacknowledged(), 1);
    }

    #[test]
    fn every_kind_of_fault_is_told_apart() {
        let mut traffic = traffic("pairs", 0, WINDOW);
        traffic.start_saturated();
        let sent = fill(&mut traffic, 0, 10);
        for index in [0, 2, 1, 2] {
            traffic.delivered(0, &sent[index], 20);
        }
        traffic.delivered(1, &sent[3], 20);
        traffic.delivered(0, &sent[3][..50], 20);
        traffic.delivered(0, b"foreign", 20);
        let counts = traffic.counts();
        assert_eq!((counts.delivered, counts.reordered, counts.duplicates), (3, 1, 1));
        assert_eq!((counts.misrouted, counts.corrupt, traffic.missing()), (1, 2, 1));
    }

    #[test]
    fn a_late_generator_shows_as_latency_and_not_as_fewer_messages() {
        let mut traffic = traffic("fanin", 0, Bounds { window: None, inflight: 2 });
        traffic.start_paced(crate::pace::spread(0, 2_000.0, 2));
        traffic.record(0..10_000_000);
        traffic.wake_due(4_000_000);
        let sent = fill(&mut traffic, 0, 4_000_000);
        assert_eq!(sent.len(), 5, "due at 0, 1, 2, 3 and 4 ms");
        traffic.delivered(0, &sent[0], 4_000_000);
        let latency_us = traffic.latency().summary().unwrap().max_us;
        assert!((4_000..4_010).contains(&latency_us), "{latency_us}");
        assert_eq!(traffic.next_due_ns(), Some(5_000_000));
        traffic.stop(6_000_000);
        assert_eq!(
            traffic.behind(8_000_000),
            1 + 6,
            "of the first at 5 ms, of the second from 0.5 to 5.5 ms"
        );
        assert_eq!(fill(&mut traffic, 1, 8_000_000).len(), 6);
        assert_eq!(traffic.behind(8_000_000), 1);
    }
}
