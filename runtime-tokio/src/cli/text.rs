//! Values as people write them on a command line.

use steadfast_core::filter::{Filter, Topic};
use steadfast_core::id::{Address, InvalidText};
use steadfast_core::subscriber::{Bookmark, Start};
use steadfast_runtime::address;

pub use steadfast_runtime::configuration::parse_node_name as node_name;
pub use steadfast_runtime::units::{age, bytes, copies, count, duration};

/// A parser that checks a text and keeps it as it is: the configuration reads it again, together
/// with the file and the environment.
pub fn kept<T: 'static>(
    parse: fn(&str) -> Result<T, String>,
) -> impl Fn(&str) -> Result<String, String> + Clone + Send + Sync + 'static {
    move |text| parse(text).map(|_| text.to_owned())
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

/// `HOST:PORT`.
pub fn address(text: &str) -> Result<Address, String> {
    address::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

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
