//! Durations and sizes as people write them, on a command line and in a configuration file.

use std::ops::RangeInclusive;
use std::time::Duration;

const SECOND: u64 = 1;
const DAY: u64 = 86_400;
/// Longest age that can be asked for: ten years.
const MAX_AGE: u64 = 3_650 * DAY;
/// Longest moment.
const MAX_MOMENT: Duration = Duration::from_millis(10);
const NOT_ZERO: Duration = Duration::from_nanos(1);

/// A duration: `2s`, `500ms`, `1m`, `1h`; a bare number counts seconds.
///
/// # Errors
/// When it is no such text, is zero, or is longer than a day.
pub fn duration(text: &str) -> Result<Duration, String> {
    span(text, NOT_ZERO..=Duration::from_secs(DAY), "it must be longer than zero and at most a day")
}

/// A moment: `50us`, `1ms`; `0` is none.
///
/// # Errors
/// When it is no such text, or is longer than 10 ms.
pub fn moment(text: &str) -> Result<Duration, String> {
    span(text, Duration::ZERO..=MAX_MOMENT, "it must be at most 10ms; write for example 50us, or 0 for none")
}

/// An age: as [`duration`], and `7d`.
///
/// # Errors
/// When it is no such text, is zero, or is longer than ten years.
pub fn age(text: &str) -> Result<Duration, String> {
    span(text, NOT_ZERO..=Duration::from_secs(MAX_AGE), "it must be longer than zero and at most 3650d")
}

fn span(text: &str, range: RangeInclusive<Duration>, words: &str) -> Result<Duration, String> {
    let example = || "write for example 2s, 500ms or 1m".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => SECOND as f64,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => DAY as f64,
        _ => return Err(example()),
    };
    let number: f64 = digits.parse().map_err(|_| example())?;
    match Duration::try_from_secs_f64(number * unit) {
        Ok(duration) if range.contains(&duration) => Ok(duration),
        _ => Err(words.to_owned()),
    }
}

/// A number of bytes: `64KiB`, `512MiB`, `1GiB`; a bare number counts bytes.
///
/// # Errors
/// When it is no such text, is zero, or does not fit in 64 bits.
pub fn bytes(text: &str) -> Result<u64, String> {
    let example = || "write for example 64MiB or 1GiB".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(example()),
    };
    let number: u64 = digits.parse().map_err(|_| example())?;
    match number.checked_mul(1 << shift) {
        Some(0) | None => Err("it must be more than zero and fit in 64 bits".into()),
        Some(bytes) => Ok(bytes),
    }
}

/// A count above zero.
///
/// # Errors
/// When it is no such number.
pub fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("write a whole number above zero".into()),
    }
}

/// A number of copies, 1 to 8.
///
/// # Errors
/// When it is no such number.
pub fn copies(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number @ 1..=8) => Ok(number),
        _ => Err("write a whole number from 1 to 8".into()),
    }
}

/// A duration in the largest unit that needs no fraction.
pub fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        _ if !duration.as_micros().is_multiple_of(1_000) => format!("{}us", duration.as_micros()),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        _ => format!("{millis}ms"),
    }
}

/// A number of bytes in the largest unit that needs no fraction.
pub fn show_bytes(bytes: u64) -> String {
    match bytes {
        _ if bytes.is_multiple_of(1 << 30) => format!("{}GiB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read() {
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1_500)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3_600)));
        assert_eq!(age("7d"), Ok(Duration::from_secs(7 * DAY)));
        for wrong in ["", "s", "0", "-1s", "1w", "2d", "nan", "inf", "2 s", "1e99"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
        assert!(age("4000d").is_err());
        assert_eq!(moment("50us"), Ok(Duration::from_micros(50)));
        assert_eq!((moment("0"), moment("0ms")), (Ok(Duration::ZERO), Ok(Duration::ZERO)));
        assert!(moment("11ms").is_err() && moment("-1us").is_err() && moment("50").is_err());
        assert_eq!(bytes("64KiB"), Ok(65_536));
        assert_eq!(bytes("7"), Ok(7));
        for wrong in ["", "0", "1.5GiB", "1TB", "99999999999GiB", "-1"] {
            assert!(bytes(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(count("3"), Ok(3));
        assert_eq!((copies("1"), copies("8")), (Ok(1), Ok(8)));
        assert!(copies("0").is_err() && copies("9").is_err());
        assert!(count("0").is_err() && count("-1").is_err() && count("x").is_err());
    }

    #[test]
    fn what_is_shown_is_read_again() {
        for (millis, text) in [(250, "250ms"), (2_000, "2s"), (2_500, "2500ms"), (120_000, "2m")] {
            let value = Duration::from_millis(millis);
            assert_eq!(show_duration(value), text);
            assert_eq!(duration(text), Ok(value));
        }
        assert_eq!(show_duration(Duration::from_micros(50)), "50us");
        for (value, text) in [(1 << 30, "1GiB"), (3 << 20, "3MiB"), (1 << 10, "1KiB"), (1_025, "1025B")] {
            assert_eq!(show_bytes(value), text);
            assert_eq!(bytes(text), Ok(value));
        }
    }
}
