//! Values as people write them on a command line.

use std::time::Duration;
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::id::{Address, InvalidText, NodeName};
use steadfast_core::subscriber::{Bookmark, Start};
use steadfast_runtime::address;

/// A duration: `2s`, `500ms`, `1m`; a bare number counts seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        _ => return Err("write for example 2s, 500ms or 1m".into()),
    };
    let number: f64 = digits.parse().map_err(|_| "write for example 2s, 500ms or 1m".to_owned())?;
    match Duration::try_from_secs_f64(number * unit) {
        Ok(duration) if duration > Duration::ZERO && duration <= Duration::from_secs(86_400) => Ok(duration),
        _ => Err("it must be longer than zero and at most a day".into()),
    }
}

/// A number of bytes: `64KiB`, `512MiB`, `1GiB`; a bare number counts bytes.
pub fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err("write for example 64MiB or 1GiB".into()),
    };
    let number: u64 = digits.parse().map_err(|_| "write for example 64MiB or 1GiB".to_owned())?;
    match number.checked_mul(1 << shift) {
        Some(0) | None => Err("it must be more than zero and fit in 64 bits".into()),
        Some(bytes) => Ok(bytes),
    }
}

/// A topic.
pub fn topic(text: &str) -> Result<Topic, String> {
    Topic::new(text).map_err(|error| {
        let hint = match error {
            InvalidText::Wildcard => "wildcards are for filters",
            _ => "a topic is words with dots between, for example orders.eu",
        };
        format!("the topic {error}; {hint}")
    })
}

/// A filter.
pub fn filter(text: &str) -> Result<Filter, String> {
    Filter::new(text)
        .map_err(|error| format!("the filter {error}; for example orders.eu, orders.* or orders.>"))
}

/// Where a subscription begins.
pub fn start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        _ => text
            .parse::<Bookmark>()
            .map(Start::At)
            .map_err(|error| format!("it is neither 'earliest' nor 'latest', and {error}")),
    }
}

/// A broker's name.
pub fn node_name(text: &str) -> Result<NodeName, String> {
    NodeName::new(text)
        .map_err(|error| format!("the name {error}; use lower-case letters, digits, '-' and '_'"))
}

/// A cluster's name: one word of a path in the coordination tree.
pub fn cluster(text: &str) -> Result<String, String> {
    node_name(text).map(|name| name.to_string())
}

/// `HOST:PORT`.
pub fn address(text: &str) -> Result<Address, String> {
    address::parse(text).map_err(|error| error.to_string())
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
        for wrong in ["", "s", "0", "-1s", "1h", "nan", "inf", "2 s", "1e99"] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(bytes("64KiB"), Ok(65_536));
        assert_eq!(bytes("7"), Ok(7));
        for wrong in ["", "0", "1.5GiB", "1TB", "99999999999GiB", "-1"] {
            assert!(bytes(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn wrong_names_say_what_a_right_one_looks_like() {
        assert!(topic("a..b").unwrap_err().contains("empty word"));
        assert!(topic("a.*").unwrap_err().contains("wildcards are for filters"));
        assert!(filter(">.a").unwrap_err().contains("orders.>"));
        assert!(start("first").unwrap_err().contains("earliest"));
        assert_eq!(start("latest"), Ok(Start::Latest));
        assert!(node_name("A").unwrap_err().contains("lower-case"));
    }
}
