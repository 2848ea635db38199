//! Partition of a timestamp, as in `sharded_events`.

/// Microseconds per day.
const DAY: i64 = 86_400_000_000;
/// First and last month with a separate partition (`clamp` in `sql/events/4_sharded_events.sql`).
const MONTHS: (u32, u32) = (202_001, 203_512);

/// `clamp(toYYYYMM(timestamp), 202001, 203512)` of microseconds since 1970 in UTC.
pub(crate) fn month(timestamp: i64) -> u32 {
    let (year, month) = civil(timestamp.div_euclid(DAY));
    let number = year.saturating_mul(100).saturating_add(month);
    u32::try_from(number).unwrap_or_default().clamp(MONTHS.0, MONTHS.1)
}

/// Year and month of a day since 1970 in the proleptic Gregorian calendar.
///
/// Years start in March, so that the leap day is the last day. An era has 400 years and always
/// 146,097 days.
fn civil(day: i64) -> (i64, i64) {
    let since_march_0 = day + 719_468;
    let (era, of_era) = (since_march_0.div_euclid(146_097), since_march_0.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn every_day_of_the_bounds_has_the_month_of_the_calendar() {
        let mut day = date(1900, 1, 1);
        let mut timestamp = -25_567 * DAY;
        while day.year() < 2300 {
            let number = day.year() as u32 * 100 + day.month() as u32;
            for moment in [timestamp, timestamp + DAY - 1] {
                assert_eq!(month(moment), number.clamp(202_001, 203_512), "{day}");
            }
            day = day.tomorrow().expect("a day");
            timestamp += DAY;
        }
    }

    #[test]
    fn no_timestamp_panics() {
        assert_eq!(month(i64::MIN), 202_001);
        assert_eq!(month(i64::MAX), 203_512);
    }
}
