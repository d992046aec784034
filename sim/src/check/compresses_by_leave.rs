//! CompressesByLeave (R37): a publisher compresses a batch, when it numbers it, as its present primary has named. Later
//! the batch keeps its form, whoever gets it.

use super::{Check, Fact, Kind, Ledger};
use steadfast_core::log::Codec;

/// The property.
#[derive(Clone, Debug)]
pub struct CompressesByLeave;

impl Check for CompressesByLeave {
    fn name(&self) -> &'static str {
        "CompressesByLeave"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Numbered]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        match *fact {
            Fact::Numbered { client, codec, named }
                if codec != Codec::None && !named.is_some_and(|named| named.contains(codec)) =>
            {
                Err(format!("publisher {client} compresses by {codec:?}, its primary has named {named:?}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;
    use steadfast_core::compression::Codecs;

    fn numbered(codec: Codec, named: Option<&[Codec]>) -> Story<CompressesByLeave> {
        let named = named.map(|named| named.iter().copied().collect::<Codecs>());
        let mut story = Story::new(CompressesByLeave);
        story.tell(&Fact::Numbered { client: 1, codec, named });
        story
    }

    #[test]
    fn what_the_primary_has_named_may_be_used() {
        numbered(Codec::Lz4, Some(&[Codec::Lz4, Codec::Zstd])).accepted();
    }

    #[test]
    fn nothing_has_to_be() {
        numbered(Codec::None, Some(&[Codec::Lz4])).accepted();
        numbered(Codec::None, None).accepted();
    }

    #[test]
    fn what_it_has_not_named_is_rejected() {
        numbered(Codec::Zstd, Some(&[Codec::Lz4])).rejected("compresses by Zstd");
        numbered(Codec::Lz4, Some(&[])).rejected("compresses by Lz4");
    }

    #[test]
    fn who_has_heard_of_no_primary_does_not_compress() {
        numbered(Codec::Lz4, None).rejected("has named None");
    }
}
