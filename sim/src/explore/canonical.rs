//! When two states of a process are the same. A node's [`Debug`](std::fmt::Debug) text tells everything that it
//! knows; here the text is freed of what no future can depend on: how long ago things were beyond the
//! last threshold, how often something was tried, and the numbers of links and calls. Whatever the
//! text holds beyond that tells states apart: a field that is not known here costs work, never truth.

use super::process::{LinkTable, UNIT};
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use steadfast_core::time::Instant;

/// Fields whose value decides nothing:
/// * with a back-off of zero the number of attempts, and when the last one was;
/// * the numbers of read rounds and calls: none is under way between two steps of the exploration,
///   except the one conditional write, which the explorer keeps;
/// * the number of storage requests, of which none is under way;
/// * when something was last said, as any passing of time is longer than a heartbeat.
const IDLE: [&str; 9] = [
    "attempts: ",
    "attempted_at: ",
    "started: ",
    "completed: ",
    "call: ",
    "calls: ",
    "last_ticket: ",
    "spoke: ",
    "last_input: ",
];

/// Ages beyond this many units are all alike: no threshold is higher.
const OLD: u64 = 2;

/// Deadlines further ahead than this many units are all alike: so often time does not pass.
const FAR: u64 = 500;

/// A hash of 128 bits: two states that are told apart by nothing else are taken for the same.
#[derive(Clone, Copy, Debug)]
pub struct Digest(u64, u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344)
    }
}

/// For tables: fast, and the same in every run.
pub type Hashing = BuildHasherDefault<Digest>;

impl Digest {
    /// The hash of a value.
    pub fn of(value: &impl Hash) -> u128 {
        let mut digest = Self::default();
        value.hash(&mut digest);
        digest.value()
    }

    /// The hash of a text.
    pub fn of_text(text: &str) -> u128 {
        let mut digest = Self::default();
        digest.write(text.as_bytes());
        digest.value()
    }

    const fn word(&mut self, word: u64) {
        let a = (self.0 ^ word) as u128 * 0x9e37_79b9_7f4a_7c15;
        let b = (self.1 ^ word.rotate_left(32)) as u128 * 0xd6e8_feb8_6659_fd93;
        self.0 = (a as u64) ^ ((a >> 64) as u64).rotate_left(17) ^ self.1;
        self.1 = (b as u64) ^ ((b >> 64) as u64);
    }

    /// Both halves.
    pub const fn value(self) -> u128 {
        (self.0 as u128) << 64 | self.1 as u128
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.word(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.word(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.word(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.word(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.1
    }
}

/// What is left of a node's text, in a form that equal futures share.
pub fn canonical(text: &str, now: Instant, links: &LinkTable) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // Everything of interest begins a field, or with one of these.
    while let Some(at) = rest.find([' ', '(', '<', '>', '[']) {
        out.push_str(&rest[..=at]);
        let mark = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        if matches!(mark, b'<' | b'>') && rest.starts_with(|c: char| c.is_ascii_digit()) {
            let (n, after) = number(rest);
            match links.slot(mark == b'<', n) {
                Some(slot) => write!(out, "link {slot}").expect("text"),
                None => out.push_str("gone"),
            }
            rest = after;
        } else if let Some(after) = rest.strip_prefix("Instant(") {
            let (at, after) = number(after);
            relative(&mut out, at, now);
            rest = after.strip_prefix(')').expect("an instant is a number");
        } else if mark == b' ' {
            rest = field(&mut out, rest);
        }
    }
    out.push_str(rest);
    out
}

/// Takes a field that is not shown as it is.
fn field<'a>(out: &mut String, rest: &'a str) -> &'a str {
    if let Some(field) = IDLE.iter().find(|field| rest.starts_with(**field)) {
        &rest[field.len() + value_len(&rest[field.len()..])..]
    } else if let Some(after) = rest.strip_prefix("Shared { now: ") {
        // A client's random numbers only spread out when it tries again.
        let after = &after[value_len(after)..];
        let after = after.strip_prefix(", rng: ").unwrap_or(after);
        &after[value_len(after)..]
    } else if let Some(after) = rest.strip_prefix("Dialler { next: ") {
        &after[value_len(after)..]
    } else if let Some(after) = rest.strip_prefix("refusals: ") {
        let (count, after) = number(after);
        write!(out, "refusals: {}", count.min(2)).expect("text");
        after
    } else {
        rest
    }
}

/// How long ago, in units up to [`OLD`]; or after how many units it is due, up to [`FAR`].
fn relative(out: &mut String, at: u64, now: Instant) {
    let now = now.as_nanos();
    let unit = UNIT.as_nanos() as u64;
    match at.checked_sub(now) {
        Some(ahead @ 1..) => write!(out, "in {}", ahead.div_ceil(unit).min(FAR)).expect("text"),
        _ => write!(out, "{} ago", ((now - at.min(now)) / unit).min(OLD)).expect("text"),
    }
}

fn number(text: &str) -> (u64, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].parse().unwrap_or(u64::MAX), &text[end..])
}

/// Length of the value at the beginning of the text, up to the next field or the end of the struct.
fn value_len(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return at,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_core::link::LinkId;

    fn canonical_of(text: &str) -> String {
        let mut links = LinkTable::default();
        links.insert(LinkId::accepted(7));
        canonical(text, Instant::from_nanos(10 * UNIT.as_nanos() as u64), &links)
    }

    #[test]
    fn what_decides_nothing_is_left_out() {
        let text = "A { attempts: 3, call: 9, deep: B { attempted_at: Some(Instant(5)), x: 1 } }";
        assert_eq!(canonical_of(text), "A { , , deep: B { , x: 1 } }");
        assert_eq!(canonical_of("dialler: Dialler { next: 5 }, next: 5"), "dialler: }, next: 5");
        let text = "shared: Shared { now: Instant(5), rng: Rng(7), x: 1 }";
        assert_eq!(canonical_of(text), "shared: , x: 1 }");
        assert_eq!(canonical_of(" refusals: 1, refusals: 7"), " refusals: 1, refusals: 2");
    }

    #[test]
    fn times_are_relative_and_old_ones_alike() {
        let unit = UNIT.as_nanos() as u64;
        let text = [0, 8, 9, 10, 11].map(|n| format!(" {:?}", Instant::from_nanos(n * unit))).join(",");
        assert_eq!(canonical_of(&text), " 2 ago, 2 ago, 1 ago, 0 ago, in 1");
    }

    #[test]
    fn links_have_the_explorers_names() {
        let text = canonical_of("source: Some(<7), link: <8, other: >7");
        assert_eq!(text, "source: Some(<link 0), link: <gone, other: >gone");
    }

    #[test]
    fn a_digest_depends_on_every_byte_and_its_place() {
        let all = ["", "a", "abc", "acb", "abcdefgh", "abcdefgh\0"].map(Digest::of_text);
        assert!(all.iter().enumerate().all(|(n, one)| !all[..n].contains(one)), "{all:?}");
        assert_ne!(Digest::of(&(1u8, 2u8)), Digest::of(&(2u8, 1u8)));
    }
}
