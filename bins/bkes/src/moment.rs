//! Moments: as `2026-11-30T12:00:00Z` (RFC 3339) or in milliseconds since the Unix epoch.

use bkes_api::TimestampMs;

/// Digits of a number that is taken for milliseconds: those of any moment since March 1973 have as many, and no year and no seconds of our
/// time do.
const MILLISECONDS_DIGITS_MIN: usize = 12;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The moment that is written so.
pub fn parse(text: &str) -> Result<TimestampMs, String> {
    if let Ok(milliseconds) = text.parse() {
        let digits = text.trim_start_matches(['+', '-']).len();
        // A year, or seconds.
        if digits < MILLISECONDS_DIGITS_MIN {
            return Err(format!(
                "milliseconds since 1970 have {MILLISECONDS_DIGITS_MIN} digits at least; write 2026-11-30T12:00:00Z"
            ));
        }
        return Ok(TimestampMs(milliseconds));
    }
    rfc3339(text).map(TimestampMs).ok_or_else(|| {
        "not a moment: write 2026-11-30T12:00:00Z, 2026-11-30T13:00:00.5+01:00, or milliseconds since 1970"
            .to_owned()
    })
}

/// A moment in UTC, to the millisecond; outside the years 0 to 9999 in milliseconds.
pub fn shown(moment: TimestampMs) -> String {
    let TimestampMs(all) = moment;
    let (days, rest) = (all.div_euclid(DAY_MS), all.rem_euclid(DAY_MS));
    let (year, month, day) = date(days);
    if !(0..=9999).contains(&year) {
        return format!("{all} ms");
    }
    let (seconds, ms) = (rest / 1000, rest % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

fn rfc3339(text: &str) -> Option<i64> {
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (time, rest) = (rest.get(..8)?, rest.get(8..)?);
    let (year, month, day) = triple(date, '-', [4, 2, 2])?;
    let (hour, minute, second) = triple(time, ':', [2, 2, 2])?;
    let is_date = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    // A leap second counts as the second after it.
    let is_time = hour < 24 && minute < 60 && second <= 60;
    let (fraction_ms, zone) = match rest.strip_prefix('.') {
        None => (0, rest),
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            let digits = &rest[..end];
            (format!("{digits:0<3}").get(..3)?.parse::<i64>().ok().filter(|_| end > 0)?, &rest[end..])
        }
    };
    let zone_minutes = match zone {
        "Z" | "z" => 0,
        _ => {
            let sign = if zone.starts_with('+') { 1 } else { -1 };
            let (hours, minutes) = zone.strip_prefix(['+', '-'])?.split_once(':')?;
            let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
            (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))?
        }
    };
    let seconds = (hour * 60 + minute - zone_minutes) * 60 + second;
    (is_date && is_time).then(|| days_since_epoch(year, month, day) * DAY_MS + seconds * 1000 + fraction_ms)
}

/// Three numbers of so many digits.
fn triple(text: &str, between: char, widths: [usize; 3]) -> Option<(i64, i64, i64)> {
    let mut parts = text.split(between);
    let mut next = |width| digits(parts.next()?, width);
    let numbers = (next(widths[0])?, next(widths[1])?, next(widths[2])?);
    parts.next().is_none().then_some(numbers)
}

fn digits(text: &str, width: usize) -> Option<i64> {
    let is_number = text.len() == width && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

fn days_of(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

// Years that begin in March have their leap day at the end, and 400 of them have 146,097 days. 719,468 days lie between the first of March
// of the year 0 and the first of January 1970.

fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12 + 1;
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        let table = [
            ("0", None),
            ("2026", None),
            ("1796040000", None),
            ("1796040000123", Some(1_796_040_000_123)),
            ("000000000000", Some(0)),
            ("-000000000005", Some(-5)),
            ("-99999999999", None),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-11-30T12:00:00Z", Some(1_796_040_000_000)),
            ("2026-11-30T13:00:00.5+01:00", Some(1_796_040_000_500)),
            ("2026-11-30 07:30:00.123456789-04:30", Some(1_796_040_000_123)),
            ("1969-12-31T23:59:59.999Z", Some(-1)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800_000)),
            ("2023-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-11-30T24:00:00Z", None),
            ("2026-11-30T12:00:00", None),
            ("2026-11-30T12:00:00.Z", None),
            ("2026-11-30T12:00:00.5", None),
            ("2026-11-30", None),
            ("+026-11-30T12:00:00Z", None),
            ("2026-11-30T12:00:00+1:00", None),
            ("2026-11-30T12:00:0\u{e9}Z", None),
            ("yesterday", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).ok(), expected.map(TimestampMs), "{text}");
        }
    }

    #[test]
    fn moments_are_shown_as_they_are_read() {
        for all in (-62_167_219_200_000..=253_402_300_799_999_i64).step_by(86_399_977_331) {
            let text = shown(TimestampMs(all));
            assert_eq!(rfc3339(&text), Some(all), "{text}");
        }
        assert_eq!(shown(TimestampMs(1_796_040_000_123)), "2026-11-30T12:00:00.123Z");
        assert_eq!(shown(TimestampMs(i64::MAX)), format!("{} ms", i64::MAX));
        assert_eq!(shown(TimestampMs(i64::MIN)), format!("{} ms", i64::MIN));
    }
}
