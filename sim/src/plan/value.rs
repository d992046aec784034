//! Values of a plan as text.

use crate::random::Span;
use std::time::Duration;
use steadfast_core::broker::OnTotalLoss;
use steadfast_core::log::Codec;

/// No duration of a plan is longer: times of a run fit into 64 bits with room to spare.
pub const LONGEST: Duration = Duration::from_secs(1_000_000);

const UNITS: [(&str, u64); 4] = [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000), ("ns", 1)];

/// Something that a plan writes down.
pub trait Value: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with the text.
    fn read(text: &str) -> Result<Self, String>;

    /// Its text: reading it gives the same value.
    fn write(&self) -> String;
}

/// A whole number.
fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number that fits here"))
}

macro_rules! numbers {
    ($($type:ty),*) => {
        $(impl Value for $type {
            fn read(text: &str) -> Result<Self, String> {
                number(text)
            }

            fn write(&self) -> String {
                self.to_string()
            }
        })*
    };
}

numbers!(u32, u64, usize, i64);

impl Value for bool {
    fn read(text: &str) -> Result<Self, String> {
        choose(text, &[("yes", true), ("no", false)])
    }

    fn write(&self) -> String {
        if *self { "yes" } else { "no" }.to_owned()
    }
}

impl Value for OnTotalLoss {
    fn read(text: &str) -> Result<Self, String> {
        choose(text, &[("wait", Self::Wait), ("reset", Self::Reset)])
    }

    fn write(&self) -> String {
        match self {
            Self::Wait => "wait",
            Self::Reset => "reset",
        }
        .to_owned()
    }
}

impl Value for Codec {
    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error| format!("{text:?} is no codec: {error}"))
    }

    fn write(&self) -> String {
        self.to_string()
    }
}

/// One of several words.
fn choose<T: Copy>(text: &str, of: &[(&str, T)]) -> Result<T, String> {
    let found = of.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = of.iter().map(|(word, _)| *word).collect();
        format!("{text:?} is none of: {}", words.join(", "))
    })
}

impl Value for Duration {
    fn read(text: &str) -> Result<Self, String> {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("{text:?} is not a time: write a whole number and s, ms, us or ns"));
        };
        let time = number::<u64>(digits)?.checked_mul(*nanos).map(Self::from_nanos);
        time.filter(|time| *time <= LONGEST).ok_or_else(|| format!("{text} is too long a time"))
    }

    fn write(&self) -> String {
        let nanos = u64::try_from(self.as_nanos()).expect("no longer than LONGEST");
        let (unit, size) =
            UNITS.iter().find(|(_, size)| nanos.is_multiple_of(*size)).expect("the last divides all");
        format!("{}{unit}", nanos / size)
    }
}

impl Value for Span {
    fn read(text: &str) -> Result<Self, String> {
        let Some((min, max)) = text.split_once("..") else {
            return Err(format!("{text:?} is not a range of times: write for example 1ms..5ms"));
        };
        let (min, max) = (Duration::read(min)?, Duration::read(max)?);
        if min <= max { Ok(Self::new(min, max)) } else { Err(format!("{text} ends before it begins")) }
    }

    fn write(&self) -> String {
        let (min, max) = self.ends();
        format!("{}..{}", min.write(), max.write())
    }
}

/// Reads a value that must lie between others.
///
/// # Errors
/// What is wrong with it.
pub fn within<T: Value + PartialOrd>(text: &str, (least, most): (T, T)) -> Result<T, String> {
    let value = T::read(text)?;
    if least <= value && value <= most {
        return Ok(value);
    }
    Err(format!("{text} is not between {} and {}", least.write(), most.write()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_in_the_largest_unit_that_is_exact() {
        let texts = ["0s", "2s", "1500ms", "250us", "1000001ns"];
        for text in texts {
            assert_eq!(Duration::read(text).expect("a time").write(), text);
        }
        assert_eq!(Duration::read("3000ms").expect("a time").write(), "3s");
    }

    #[test]
    fn what_is_no_value_is_refused_with_a_reason() {
        let reason = |result: Result<Duration, String>| result.expect_err("no time");
        assert!(reason(Duration::read("5")).contains("write a whole number and s, ms"));
        assert!(reason(Duration::read("s")).contains("not a number"));
        assert!(reason(Duration::read("99999999999999s")).contains("too long"));
        assert!(Span::read("5ms..1ms").expect_err("no range").contains("before it begins"));
        assert!(Span::read("5ms").expect_err("no range").contains("1ms..5ms"));
        assert!(bool::read("maybe").expect_err("no word").contains("yes, no"));
        assert_eq!(within("9", (2_u32, 5)).expect_err("too many"), "9 is not between 2 and 5");
    }
}
