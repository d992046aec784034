//! What people type: topics, filters, names, addresses, bookmarks. What is taken is kept as it was.

use steadfast_core::filter::{Filter, Topic};
use steadfast_core::id::{Address, NodeName};
use steadfast_core::subscriber::Bookmark;

/// The first line is taken for each of them, the second for a topic that a filter may match.
pub fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (text, other) = text.split_once('\n').unwrap_or((text, text));
    assert!(Topic::new(text).is_ok_and(|topic| topic.as_str() == text) == Topic::new(text).is_ok());
    if let Ok(filter) = Filter::new(text) {
        assert_eq!(filter.as_str(), text);
        if let Ok(topic) = Topic::new(other) {
            let matches = filter.matches(&topic);
            assert!(text != ">" || matches, "> matches everything");
            assert!(text != other || matches, "a filter without wildcards matches itself");
        }
    }
    if let Ok(name) = NodeName::new(text) {
        assert_eq!(name.as_str(), text);
    }
    if let Ok(address) = Address::new(text) {
        assert_eq!(address.as_str(), text);
    }
    if let Ok(bookmark) = text.parse::<Bookmark>() {
        assert_eq!(bookmark.to_string(), text);
    }
}

/// One of each.
pub fn seeds() -> Vec<Vec<u8>> {
    let bookmark = "3-00000ab0000000000000000000000000-2-7-123456789012-00000000";
    let texts =
        ["a.*.c\na.b.c", "a.>\na.b.c", ">\na", "a.b\na.b", "broker-1", "tcp://127.0.0.1:7401", bookmark];
    texts.map(|text| text.as_bytes().to_vec()).into()
}
