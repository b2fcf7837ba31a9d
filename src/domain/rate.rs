//! How often something may happen: a bucket of tokens, told by a single number.

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// So many times per second, and as often at once after a second of rest.
///
/// What a caller keeps for each limited party is one number, at first 0: the moment at which its bucket would be full
/// again (the generic cell rate algorithm).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    interval_ns: u64,
}

impl Rate {
    /// `None` for 0, which stands for no limit.
    pub fn per_second(times: u32) -> Option<Self> {
        (times > 0).then(|| Self { interval_ns: NANOSECONDS_PER_SECOND / u64::from(times) })
    }

    /// Takes one token at `now_ns`, on any clock that does not go back. Returns the number to keep instead of `full_at_ns`,
    /// or `None` if the bucket is empty.
    pub fn admit(self, full_at_ns: u64, now_ns: u64) -> Option<u64> {
        let full_at_ns = full_at_ns.max(now_ns) + self.interval_ns;
        (full_at_ns - now_ns <= NANOSECONDS_PER_SECOND).then_some(full_at_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `asked` are admitted at this moment.
    fn admitted(rate: Rate, full_at: &mut u64, now: u64, asked: usize) -> usize {
        let mut ask = || rate.admit(*full_at, now).map(|next| *full_at = next).is_some();
        (0..asked).filter(|_| ask()).count()
    }

    #[test]
    fn a_second_of_rest_fills_the_bucket_and_no_more() {
        let rate = Rate::per_second(10).expect("not 0");
        let (start, second) = (77 * NANOSECONDS_PER_SECOND, NANOSECONDS_PER_SECOND);
        let mut full_at = 0;
        assert_eq!(admitted(rate, &mut full_at, start, 100), 10, "a full bucket at first");
        assert_eq!(admitted(rate, &mut full_at, start + second / 2, 100), 5);
        assert_eq!(admitted(rate, &mut full_at, start + 60 * second, 100), 10);
        assert_eq!(Rate::per_second(0), None);
    }

    #[test]
    fn one_per_second_is_one_per_second() {
        let rate = Rate::per_second(1).expect("not 0");
        let mut full_at = 0;
        let moments = (0..100).map(|tenth| 5 * NANOSECONDS_PER_SECOND + tenth * NANOSECONDS_PER_SECOND / 10);
        assert_eq!(moments.map(|now| admitted(rate, &mut full_at, now, 3)).sum::<usize>(), 10);
    }

    #[test]
    fn the_highest_rate_is_no_limit_below_it() {
        let rate = Rate::per_second(u32::MAX).expect("not 0");
        let mut full_at = 0;
        assert_eq!(admitted(rate, &mut full_at, 1, 100_000), 100_000);
    }
}
