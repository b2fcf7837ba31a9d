//! The in-flight window: what a session has sent with QoS 1 and not seen acknowledged, and what waits behind it.
//!
//! A pure machine: it hands out packet identifiers, keeps messages until their PUBACK, and says which to send (again).
//! It lives as long as the connection; no session state survives it (U-M2, U-M5).

use std::collections::VecDeque;

/// The limits of a window. Where they come from: the configuration (`limits.*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowLimits {
    /// Messages sent and not yet acknowledged, at most. 1 to 65,535.
    pub in_flight_messages_max: u16,
    /// Messages in flight and waiting together, at most.
    pub messages_max: usize,
    /// Their bytes together, at most.
    pub bytes_max: usize,
}

/// What to do with a message that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// Send it now, with this packet identifier.
    Send(u16),
    /// It waits until the window has room.
    Queued,
    /// The window is full, and so is the queue behind it; the message was not taken.
    Full,
}

#[derive(Debug)]
struct InFlight<F> {
    packet_identifier: u16,
    sent_tick: u32,
    /// `None` once acknowledged; it is removed when all before it are acknowledged too.
    frame: Option<(F, usize)>,
}

/// The window of one session over frames of type `F`. Time comes in as ticks of any unit.
#[derive(Debug)]
pub struct Window<F> {
    in_flight: VecDeque<InFlight<F>>,
    waiting: VecDeque<(F, usize)>,
    bytes: usize,
    next_packet_identifier: u16,
}

impl<F> Default for Window<F> {
    fn default() -> Self {
        Self { in_flight: VecDeque::new(), waiting: VecDeque::new(), bytes: 0, next_packet_identifier: 1 }
    }
}

/// The largest packet identifier (MQTT-2.3.1-1: never zero).
const PACKET_IDENTIFIER_MAX: u16 = u16::MAX;

impl<F> Window<F> {
    /// Bytes of all messages in flight and waiting.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages in flight.
    pub fn in_flight_messages(&self) -> usize {
        self.in_flight.len()
    }

    /// Messages that wait for room in the window.
    pub fn waiting_messages(&self) -> usize {
        self.waiting.len()
    }

    /// Offers a message of `bytes` bytes. `make` is called only if the message is taken.
    pub fn offer(
        &mut self,
        make: impl FnOnce() -> F,
        bytes: usize,
        tick: u32,
        limits: &WindowLimits,
    ) -> Offer {
        let messages = self.in_flight.len() + self.waiting.len();
        if messages >= limits.messages_max || self.bytes + bytes > limits.bytes_max {
            return Offer::Full;
        }
        self.bytes += bytes;
        if self.waiting.is_empty() && self.in_flight.len() < usize::from(limits.in_flight_messages_max) {
            Offer::Send(self.start(make(), bytes, tick))
        } else {
            self.waiting.push_back((make(), bytes));
            Offer::Queued
        }
    }

    fn start(&mut self, frame: F, bytes: usize, tick: u32) -> u16 {
        let packet_identifier = self.next_packet_identifier;
        self.next_packet_identifier =
            if packet_identifier == PACKET_IDENTIFIER_MAX { 1 } else { packet_identifier + 1 };
        self.in_flight.push_back(InFlight {
            packet_identifier,
            sent_tick: tick,
            frame: Some((frame, bytes)),
        });
        packet_identifier
    }

    /// Takes a PUBACK. Returns whether it acknowledged something; an unknown identifier is ignored, as MQTT 3.1.1
    /// does not make it an error.
    pub fn acknowledge(&mut self, packet_identifier: u16) -> bool {
        let Some(first) = self.in_flight.front() else { return false };
        // Identifiers in flight follow one another without gaps, so the place is the distance from the first.
        let first = first.packet_identifier;
        let place = if packet_identifier >= first {
            packet_identifier - first
        } else {
            packet_identifier.wrapping_add(PACKET_IDENTIFIER_MAX - first)
        };
        let Some(entry) = self.in_flight.get_mut(usize::from(place)) else { return false };
        if entry.packet_identifier != packet_identifier {
            return false;
        }
        let Some((_, bytes)) = entry.frame.take() else { return false };
        self.bytes -= bytes;
        while self.in_flight.front().is_some_and(|entry| entry.frame.is_none()) {
            self.in_flight.pop_front();
        }
        true
    }

    /// The next waiting message that the window has room for now, if any: its identifier and itself.
    pub fn next_to_send(&mut self, tick: u32, limits: &WindowLimits) -> Option<(u16, &F)> {
        if self.in_flight.len() >= usize::from(limits.in_flight_messages_max) {
            return None;
        }
        let (frame, bytes) = self.waiting.pop_front()?;
        let packet_identifier = self.start(frame, bytes, tick);
        let (frame, _) = self.in_flight.back()?.frame.as_ref()?;
        Some((packet_identifier, frame))
    }

    /// The messages that have been in flight for `age_ticks` or more, oldest first, to be sent again with DUP
    /// (MQTT-3.3.1-1); each counts as sent at `tick`.
    pub fn overdue(&mut self, tick: u32, age_ticks: u32) -> impl Iterator<Item = (u16, &F)> {
        self.in_flight.iter_mut().filter_map(move |entry| {
            if tick.wrapping_sub(entry.sent_tick) < age_ticks {
                return None;
            }
            entry.sent_tick = tick;
            entry.frame.as_ref().map(|(frame, _)| (entry.packet_identifier, frame))
        })
    }

    /// Gives the memory of emptied queues back; for sessions that have gone quiet.
    pub fn shrink(&mut self) {
        if self.in_flight.is_empty() && self.waiting.is_empty() {
            self.in_flight = VecDeque::new();
            self.waiting = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: WindowLimits = WindowLimits { in_flight_messages_max: 2, messages_max: 4, bytes_max: 100 };

    fn offer(window: &mut Window<char>, name: char) -> Offer {
        window.offer(|| name, 10, 0, &LIMITS)
    }

    #[test]
    fn messages_beyond_the_window_wait_in_order_and_then_it_is_full() {
        let mut window = Window::default();
        assert_eq!(offer(&mut window, 'a'), Offer::Send(1));
        assert_eq!(offer(&mut window, 'b'), Offer::Send(2));
        assert_eq!(offer(&mut window, 'c'), Offer::Queued);
        assert_eq!(offer(&mut window, 'd'), Offer::Queued);
        assert_eq!(offer(&mut window, 'e'), Offer::Full);
        assert!(window.acknowledge(1));
        assert_eq!(window.next_to_send(0, &LIMITS), Some((3, &'c')));
        assert_eq!(window.next_to_send(0, &LIMITS), None);
        assert_eq!(window.bytes(), 30);
    }

    #[test]
    fn bytes_are_a_limit_of_their_own() {
        let mut window = Window::default();
        assert_eq!(window.offer(|| 'a', 95, 0, &LIMITS), Offer::Send(1));
        assert_eq!(window.offer(|| 'b', 6, 0, &LIMITS), Offer::Full);
        assert_eq!(window.offer(|| 'b', 5, 0, &LIMITS), Offer::Send(2));
    }

    #[test]
    fn acknowledgements_may_come_out_of_order_twice_or_for_nothing() {
        let mut window = Window::default();
        offer(&mut window, 'a');
        offer(&mut window, 'b');
        assert!(window.acknowledge(2));
        assert!(!window.acknowledge(2));
        assert!(!window.acknowledge(7));
        assert_eq!(window.in_flight_messages(), 2, "the place of b stays until a is acknowledged");
        assert!(window.acknowledge(1));
        assert_eq!((window.in_flight_messages(), window.bytes()), (0, 0));
        assert!(!window.acknowledge(1));
    }

    #[test]
    fn packet_identifiers_wrap_around_without_zero() {
        let mut window = Window::default();
        for round in 0..70_000_u32 {
            let expected = u16::try_from(round % 65_535 + 1).expect("at most 65,535");
            assert_eq!(offer(&mut window, 'x'), Offer::Send(expected));
            if round > 0 {
                let previous = if expected == 1 { 65_535 } else { expected - 1 };
                assert!(window.acknowledge(previous));
            }
        }
    }

    #[test]
    fn overdue_messages_come_once_per_interval_and_acknowledged_ones_never() {
        let mut window = Window::default();
        offer(&mut window, 'a');
        offer(&mut window, 'b');
        window.acknowledge(2);
        assert_eq!(window.overdue(39, 40).count(), 0);
        assert_eq!(window.overdue(40, 40).collect::<Vec<_>>(), [(1, &'a')]);
        assert_eq!(window.overdue(41, 40).count(), 0);
    }
}
