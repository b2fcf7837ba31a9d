//! The closed loop: how many messages of one publisher may be on their way end to end.

/// Messages on their way, each with the number of copies that have not arrived.
///
/// A slot is free again when *every* subscriber has the message, so a fan-out runs at the pace of its slowest
/// reader and nothing piles up in the broker without bound.
#[derive(Debug)]
pub struct Window {
    outstanding: Box<[u32]>,
    copies: u32,
    oldest: u64,
    next: u64,
}

impl Window {
    /// A window of `messages` messages, each awaited `copies` times.
    pub fn new(messages: u32, copies: u32) -> Self {
        let slots = messages.max(1).next_power_of_two();
        Self { outstanding: vec![0; slots as usize].into(), copies, oldest: 0, next: 0 }
    }

    #[inline]
    fn slot(&self, number: u64) -> usize {
        number as usize & (self.outstanding.len() - 1)
    }

    /// Messages on their way.
    #[inline]
    pub fn used(&self) -> u64 {
        self.next - self.oldest
    }

    /// Notes that the next message is sent. At most the window's size may be on their way.
    #[inline]
    pub fn sent(&mut self) {
        debug_assert!((self.used() as usize) < self.outstanding.len());
        let slot = self.slot(self.next);
        self.outstanding[slot] = self.copies;
        self.next += 1;
        self.advance();
    }

    /// Notes one copy of message `number`; of a message given up before it is ignored.
    #[inline]
    pub fn arrived(&mut self, number: u64) {
        if number < self.oldest || number >= self.next {
            return;
        }
        let slot = self.slot(number);
        self.outstanding[slot] = self.outstanding[slot].saturating_sub(1);
        if number == self.oldest {
            self.advance();
        }
    }

    #[inline]
    fn advance(&mut self) {
        while self.oldest < self.next && self.outstanding[self.slot(self.oldest)] == 0 {
            self.oldest += 1;
        }
    }

    /// Gives up on everything on its way, so that a lossy broker cannot stop the loop.
    pub fn give_up(&mut self) -> u64 {
        let given_up = self.used();
        self.oldest = self.next;
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_free_when_the_last_copy_arrived_in_whatever_order() {
        let mut window = Window::new(3, 2);
        window.sent();
        window.sent();
        for (number, used) in [(1, 2), (1, 2), (0, 2), (0, 0)] {
            window.arrived(number);
            assert_eq!(window.used(), used, "after a copy of {number}");
        }
    }

    #[test]
    fn copies_of_messages_given_up_do_not_free_new_ones() {
        let mut window = Window::new(4, 1);
        (0..4).for_each(|_| window.sent());
        assert_eq!(window.give_up(), 4);
        (0..4).for_each(|_| window.sent());
        window.arrived(0);
        assert_eq!(window.used(), 4);
        window.arrived(4);
        assert_eq!(window.used(), 3);
    }

    #[test]
    fn without_subscribers_nothing_is_awaited() {
        let mut window = Window::new(1, 0);
        (0..9).for_each(|_| window.sent());
        assert_eq!(window.used(), 0);
    }
}
