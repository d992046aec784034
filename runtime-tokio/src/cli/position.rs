//! Positions as text: what `subscribe --json` prints and `--from` takes.

use std::str::FromStr;
use steadfast_core::id::GroupId;
use steadfast_core::message::{History, Position};

const VERSION: &str = "1";

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The oldest record kept.
    Earliest,
    /// The next record.
    Latest,
    /// After what was handled before.
    At(GroupId, Position),
}

/// The text of a position: version, group identity, lineage, epoch and offset.
pub fn format(group_id: GroupId, position: Position) -> String {
    let Position { lineage, epoch, offset } = position;
    format!("{VERSION}-{group_id}-{lineage}-{epoch}-{offset}")
}

/// Reads the value of `--from`.
///
/// # Errors
/// When it is none of the words and no position.
pub fn parse_from(text: &str) -> Result<From, String> {
    match text {
        "earliest" => Ok(From::Earliest),
        "latest" => Ok(From::Latest),
        _ => parse(text)
            .ok_or_else(|| "write earliest, latest or a position that 'subscribe --json' printed".to_owned()),
    }
}

fn parse(text: &str) -> Option<From> {
    let parts: Vec<_> = text.split('-').collect();
    let &[VERSION, group_id, lineage, epoch, offset] = parts.as_slice() else { return None };
    let group_id = Some(group_id).filter(|id| id.len() == 32)?;
    let group_id = GroupId(u128::from_str_radix(group_id, 16).ok()?);
    let history = History { group_id, lineage: number(lineage)? };
    let position = Position { lineage: history.lineage, epoch: number(epoch)?, offset: number(offset)? };
    Some(From::At(group_id, position))
}

/// A number that the protocol can carry.
fn number(text: &str) -> Option<u64> {
    u64::from_str(text).ok().filter(|&number| number <= steadfast_core::limits::MAX_NUMBER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_its_text() {
        let position = Position { lineage: 2, epoch: 17, offset: 104_334 };
        let text = format(GroupId(0xfeed), position);
        assert_eq!(parse_from(&text), Ok(From::At(GroupId(0xfeed), position)));
        assert_eq!(parse_from("earliest"), Ok(From::Earliest));
    }

    #[test]
    fn other_texts_are_no_positions() {
        let good = format(GroupId(1), Position::default());
        let wrong = ["", "first", "1-2-3-4-5", &good[1..], &good[..good.len() - 1], &format!("{good}-1")];
        for text in wrong {
            assert!(parse_from(text).is_err(), "{text:?}");
        }
        assert!(parse_from(&format!("{}9999999999999999999", &good)).is_err());
    }
}
