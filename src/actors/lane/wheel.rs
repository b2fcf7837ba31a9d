//! A timer wheel: one entry per connection, looked at when its tick comes round.

/// Milliseconds per tick.
pub const TICK_MS: u64 = 500;

/// Ticks per turn of the wheel; nothing is scheduled further ahead than one turn less one tick.
const TICKS: u32 = 64;

/// A wheel of connections to look at. It keeps no deadlines: whoever is looked at says when to look again.
#[derive(Debug)]
pub struct Wheel {
    buckets: Vec<Vec<(u32, u32)>>,
    now: u32,
}

impl Default for Wheel {
    fn default() -> Self {
        Self { buckets: (0..TICKS).map(|_| Vec::new()).collect(), now: 0 }
    }
}

impl Wheel {
    /// The current tick. It wraps around; compare by wrapping subtraction.
    pub fn now(&self) -> u32 {
        self.now
    }

    /// Looks at the connection (index, generation) again after `ticks`, at least one and at most one turn less one.
    pub fn schedule(&mut self, connection: (u32, u32), ticks: u32) {
        let at = self.now.wrapping_add(ticks.clamp(1, TICKS - 1)) % TICKS;
        self.buckets[at as usize].push(connection);
    }

    /// Goes on by one tick and returns the connections to look at now.
    pub fn advance(&mut self) -> Vec<(u32, u32)> {
        self.now = self.now.wrapping_add(1);
        std::mem::take(&mut self.buckets[(self.now % TICKS) as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_round_at_their_tick_and_far_ones_within_a_turn() {
        let mut wheel = Wheel::default();
        wheel.schedule((1, 0), 0);
        wheel.schedule((2, 0), 3);
        wheel.schedule((3, 0), 1_000);
        let seen: Vec<_> =
            (1..=64).flat_map(|tick| wheel.advance().into_iter().map(move |c| (tick, c.0))).collect();
        assert_eq!(seen, [(1, 1), (3, 2), (63, 3)]);
    }
}
