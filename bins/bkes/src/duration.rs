//! Durations as they are typed: `500ms`, `10s`, `2m`.

use crate::limits::DURATION_MAX;
use std::time::Duration;

/// The duration that is written so. A number alone are seconds.
pub fn parse(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let ms_each = match unit {
        "ms" => Some(1),
        "" | "s" => Some(1_000),
        "m" => Some(60_000),
        _ => None,
    };
    let ms = ms_each.and_then(|each| number.parse::<u64>().ok()?.checked_mul(each));
    let duration = ms.map(Duration::from_millis).filter(|duration| *duration <= DURATION_MAX);
    duration.ok_or_else(|| "not a duration of 365 days at most: write 500ms, 10s or 2m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        let table = [
            ("500ms", Some(500)),
            ("10s", Some(10_000)),
            ("10", Some(10_000)),
            ("2m", Some(120_000)),
            ("0", Some(0)),
            ("", None),
            ("s", None),
            ("1h", None),
            ("-1s", None),
            ("1.5s", None),
            ("525600m", Some(365 * 24 * 60 * 60 * 1_000)),
            ("525601m", None),
            ("18446744073709551615ms", None),
            ("18446744073709551615m", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).ok(), expected.map(Duration::from_millis), "{text}");
        }
    }
}
