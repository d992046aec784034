//! A place in a group's log that can be written down.

use crate::id::{Group, GroupId};
use crate::message::{History, Position};
use crate::wire::records;
use alloc::format;
use core::fmt;
use core::str::FromStr;

/// A place in one group's log: every matching committed record below it has been handled.
///
/// Its text ([`fmt::Display`], [`FromStr`]) is opaque to people and holds a checksum, so that a
/// mistyped one is refused instead of meaning another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bookmark {
    /// Which group.
    pub group: Group,
    /// Which log.
    pub group_id: GroupId,
    /// Where in it.
    pub position: Position,
}

impl Bookmark {
    /// The history that the place lies in.
    pub const fn history(&self) -> History {
        History { group_id: self.group_id, lineage: self.position.lineage }
    }

    /// The beginning of a history.
    pub(super) const fn beginning(group: Group, history: History) -> Self {
        let position = Position { lineage: history.lineage, epoch: 0, offset: 0 };
        Self { group, group_id: history.group_id, position }
    }
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { lineage, epoch, offset } = self.position;
        let place = format!("{}-{}-{lineage}-{epoch}-{offset}", self.group, self.group_id);
        write!(f, "{place}-{:08x}", records::checksum(place.as_bytes()))
    }
}

/// The text is not a bookmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidBookmark;

impl fmt::Display for InvalidBookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is not a position: copy one whole, as a subscriber has printed it")
    }
}

impl core::error::Error for InvalidBookmark {}

impl FromStr for Bookmark {
    type Err = InvalidBookmark;

    fn from_str(text: &str) -> Result<Self, InvalidBookmark> {
        let bookmark = parse(text).ok_or(InvalidBookmark)?;
        // One place has one text: this checks the checksum, and lets no leading zero or sign through.
        if format!("{bookmark}") == text { Ok(bookmark) } else { Err(InvalidBookmark) }
    }
}

fn parse(text: &str) -> Option<Bookmark> {
    let mut parts = text.split('-');
    let group = parts.next()?.parse().ok()?;
    let group_id = GroupId(u128::from_str_radix(parts.next()?, 16).ok()?);
    let mut number = || parts.next()?.parse().ok();
    let position = Position { lineage: number()?, epoch: number()?, offset: number()? };
    Some(Bookmark { group, group_id, position })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn bookmark() -> Bookmark {
        let position = Position { lineage: 2, epoch: 7, offset: 123_456_789_012 };
        Bookmark { group: 3, group_id: GroupId(0xab << 100), position }
    }

    #[test]
    fn a_bookmark_survives_being_written_down() {
        let text = bookmark().to_string();
        assert_eq!(text.parse(), Ok(bookmark()));
        assert!(text.starts_with("3-00000ab0000000000000000000000000-2-7-123456789012-"), "{text}");
    }

    #[test]
    fn any_changed_character_is_noticed() {
        let text = bookmark().to_string();
        for index in 0..text.len() {
            for replacement in ["0", "1", "9", "f", "-", "x", ""] {
                let mut changed = text.clone();
                changed.replace_range(index..=index, replacement);
                let expected = if changed == text { Ok(bookmark()) } else { Err(InvalidBookmark) };
                assert_eq!(changed.parse::<Bookmark>(), expected, "{changed}");
            }
        }
        assert_eq!("".parse::<Bookmark>(), Err(InvalidBookmark));
        assert_eq!(format!("{text}-0").parse::<Bookmark>(), Err(InvalidBookmark));
    }
}
