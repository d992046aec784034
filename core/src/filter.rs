//! Topics and filters: dot-separated words; in a filter `*` stands for one word and a final `>` for
//! one or more; a filter without wildcards matches exactly itself.

use crate::id::{InvalidText, check_length};
use alloc::sync::Arc;
use core::fmt;
use serde::{Deserialize, Serialize};
use steadfast_proto::limits::{MAX_TOPIC_LEN, MAX_TOPIC_TOKENS};

/// A checked topic. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Topic(Arc<str>);

impl Topic {
    /// Checks the topic.
    ///
    /// # Errors
    /// When it is empty, too long, has an empty word, a wildcard, white space or a control character.
    pub fn new(topic: &str) -> Result<Self, InvalidText> {
        check_words(topic)?;
        match topic.bytes().any(|byte| matches!(byte, b'*' | b'>')) {
            true => Err(InvalidText::Wildcard),
            false => Ok(Self(topic.into())),
        }
    }

    /// The topic as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A checked filter. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Filter(Arc<str>);

impl Filter {
    /// Checks the filter.
    ///
    /// # Errors
    /// As [`Topic::new`], but `*` may stand for any word and `>` for the last ones.
    pub fn new(filter: &str) -> Result<Self, InvalidText> {
        check_words(filter)?;
        let rest = filter.split('.').position(|word| word == ">");
        match rest.is_some_and(|index| index + 1 != filter.split('.').count()) {
            true => Err(InvalidText::Wildcard),
            false => Ok(Self(filter.into())),
        }
    }

    /// Whether the topic matches.
    pub fn matches(&self, topic: &Topic) -> bool {
        // Every delivered batch comes through here: bytes are split faster than characters.
        let mut topic = topic.0.as_bytes().split(|byte| *byte == b'.');
        for word in self.0.as_bytes().split(|byte| *byte == b'.') {
            match (word, topic.next()) {
                (_, None) => return false,
                (b">", Some(_)) => return true,
                (b"*", Some(_)) => {}
                (word, Some(other)) if word == other => {}
                _ => return false,
            }
        }
        topic.next().is_none()
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_words(text: &str) -> Result<(), InvalidText> {
    check_length(text, MAX_TOPIC_LEN)?;
    let forbidden = |c: &char| c.is_whitespace() || c.is_control();
    // Every batch comes through here: most texts are ASCII, and looked at byte by byte.
    if !text.bytes().all(|byte| byte.is_ascii_graphic())
        && let Some(c) = text.chars().find(forbidden)
    {
        return Err(InvalidText::BadCharacter(c));
    }
    let words = || text.as_bytes().split(|byte| *byte == b'.');
    if words().any(<[u8]>::is_empty) {
        return Err(InvalidText::EmptyToken);
    }
    // A wildcard inside a longer word would look like a pattern and match nothing.
    if words().any(|word| word.len() > 1 && word.iter().any(|byte| matches!(byte, b'*' | b'>'))) {
        return Err(InvalidText::Wildcard);
    }
    match words().count() > MAX_TOPIC_TOKENS {
        true => Err(InvalidText::TooManyTokens(MAX_TOPIC_TOKENS)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_whole_words() {
        let cases = [
            ("a.b", "a.b", true),
            ("a.b", "a.bc", false),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("*.b", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
            (">", "a.b.c", true),
            ("*", "a.b", false),
        ];
        for (filter, topic, expected) in cases {
            let matched = Filter::new(filter).unwrap().matches(&Topic::new(topic).unwrap());
            assert_eq!(matched, expected, "{filter} on {topic}");
        }
    }

    #[test]
    fn bad_topics_and_filters_are_refused() {
        for topic in ["", ".", "a..b", "a.", ".a", "a b", "a.*", "a.>", "a\n", "a.b*"] {
            assert!(Topic::new(topic).is_err(), "{topic:?}");
        }
        for filter in ["", ">.a", "a..>", "a>", "*a"] {
            assert!(Filter::new(filter).is_err(), "{filter:?}");
        }
    }
}
