//! Points in time as plain values. The clock itself is read in `crate::clock` only.

use time::OffsetDateTime;

/// Nanoseconds since 1970-01-01T00:00:00Z, never negative. Covers years up to 2554.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Nanoseconds since the epoch.
    pub nanoseconds: u64,
}

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

impl Timestamp {
    /// From nanoseconds since the epoch.
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self { nanoseconds }
    }

    /// Whole seconds since the epoch.
    pub const fn seconds(self) -> u64 {
        self.nanoseconds / NANOSECONDS_PER_SECOND
    }

    /// The nanoseconds past the whole second, below 1,000,000,000.
    pub const fn subsecond_nanoseconds(self) -> u32 {
        (self.nanoseconds % NANOSECONDS_PER_SECOND) as u32
    }

    /// RFC 3339 in UTC with 0, 3, 6 or 9 fractional digits, as protobuf's JSON mapping prints it.
    pub fn rfc3339(self) -> String {
        let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.nanoseconds))
            .expect("the years up to 2554 are representable");
        let (year, month, day) = (moment.year(), u8::from(moment.month()), moment.day());
        let (hour, minute, second) = moment.time().as_hms();
        let head = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        match self.subsecond_nanoseconds() {
            0 => format!("{head}Z"),
            n if n % 1_000_000 == 0 => format!("{head}.{:03}Z", n / 1_000_000),
            n if n % 1_000 == 0 => format!("{head}.{:06}Z", n / 1_000),
            n => format!("{head}.{n:09}Z"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_rfc3339_with_as_many_digits_as_needed() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
            (1_568_630_466_489_000_000, "2019-09-16T10:41:06.489Z"),
            (1_774_346_121_757_092_800, "2026-03-24T09:55:21.757092800Z"),
            (4_102_444_799_000_001_000, "2099-12-31T23:59:59.000001Z"),
        ];
        for (nanoseconds, text) in cases {
            assert_eq!(Timestamp::from_nanoseconds(nanoseconds).rfc3339(), text);
        }
    }
}
