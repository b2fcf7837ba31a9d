//! Points in time as plain values. The clock itself is read in `crate::clock` only.

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
        let (year, month, day) = civil_date(self.seconds() / 86_400);
        let second_of_day = self.seconds() % 86_400;
        let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        let head = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        match self.subsecond_nanoseconds() {
            0 => format!("{head}Z"),
            n if n % 1_000_000 == 0 => format!("{head}.{:03}Z", n / 1_000_000),
            n if n % 1_000 == 0 => format!("{head}.{:06}Z", n / 1_000),
            n => format!("{head}.{n:09}Z"),
        }
    }
}

/// Year, month and day of a day number since 1970-01-01 in the proleptic Gregorian calendar.
///
/// Works in eras of 400 years that start on 1 March, so that the leap day is the last day of a year.
fn civil_date(days_since_epoch: u64) -> (u64, u64, u64) {
    const DAYS_FROM_0000_03_01: u64 = 719_468;
    const DAYS_PER_ERA: u64 = 146_097;
    let days = days_since_epoch + DAYS_FROM_0000_03_01;
    let era = days / DAYS_PER_ERA;
    let day_of_era = days % DAYS_PER_ERA;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
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
