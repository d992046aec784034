//! A plan's text.
//!
//! ```text
//! # Settings: a name and a value. Those left out have their default.
//! seed 17
//! brokers 2
//! latency 100us..5ms
//! # Clients.
//! publisher p1 outbox
//! subscriber s1 a.* or b latest joins 2s again behind 3
//! # What happens: when, and what.
//! @0s publish p1 a.b 400 every 20ms
//! @1s pause primary for 700ms
//! @2s on Proposed +2ms crash it
//! @3s shutdown b2 back 300ms
//! @4s copy-outbox p1 to p9
//! @5s drain b1 back 300ms
//! @6s close p1
//! ```
//!
//! Files that a program has written begin with `items N`, the number of the items that follow: one that was cut
//! shows.
//!
//! Processes are `b1`, `d1`, `p1`, `s1`, or by role at that time: `primary` and `backup` among the brokers,
//! `leader` and `follower` among the discovery replicas, and `it`, whom the event waited for.

use super::kinds::{self, Amount, KINDS};
use super::knobs::Knobs;
use super::value::{Value, within};
use super::{Action, Again, Cue, Event, Plan, Publisher, Subscriber, Target};
use crate::cluster::{MOST_BROKERS, MOST_DISCOVERIES, MOST_PUBLISHERS, MOST_SUBSCRIBERS};
use crate::coverage::{is_mark, transitions};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use steadfast_core::filter::{Filter, Topic};

/// Most of anything that happens again and again, for one line.
const MOST_TIMES: u64 = 1_000_000;

/// A text is not a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it, and what would be right.
    pub reason: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl std::error::Error for ParseError {}

impl FromStr for Plan {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut reader = Reader::default();
        let mut last = 1;
        // Some editors put this mark before the first line.
        for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            last = number;
            let mut words = Words(line.split_whitespace().collect(), 0);
            let read = match words.peek() {
                None => continue,
                Some(word) if word.starts_with('#') => continue,
                Some(_) => reader.read(number, &mut words).and_then(|()| words.end()),
            };
            read.map_err(|reason| ParseError { line: number, reason })?;
        }
        reader.conclude(last)
    }
}

/// A plan, as far as it was read.
#[derive(Default)]
struct Reader<'a> {
    plan: Plan,
    items: usize,
    /// Where each setting was given.
    given: BTreeMap<&'a str, usize>,
    /// How many items there are to be, and where that stands.
    announced: Option<(usize, usize)>,
}

impl<'a> Reader<'a> {
    fn read(&mut self, line: usize, words: &mut Words<'a>) -> Result<(), String> {
        match words.peek() {
            Some("items") => {
                words.expect("items")?;
                let count = usize::read(words.take("the number of items")?)?;
                match self.announced.replace((line, count)) {
                    Some((before, _)) => Err(format!("\"items\" was given before, in line {before}")),
                    None => Ok(()),
                }
            }
            Some(name) => {
                self.items += 1;
                if Knobs::NAMES.contains(&name)
                    && let Some(before) = self.given.insert(name, line)
                {
                    return Err(format!("{name:?} was given before, in line {before}: leave one out"));
                }
                self.plan.read(words)
            }
            None => Ok(()),
        }
    }

    fn conclude(self, last: usize) -> Result<Plan, ParseError> {
        match self.announced {
            Some((line, count)) if count != self.items => Err(ParseError {
                line,
                reason: format!(
                    "{count} items are announced, {} are there: the file was cut, or changed by hand; then correct \
                     this number, or leave the line out",
                    self.items
                ),
            }),
            None if self.items == 0 => Err(ParseError {
                line: last,
                reason: "up to here there is no item, and a plan has at least one".to_owned(),
            }),
            _ => Ok(self.plan),
        }
    }
}

/// The words of a line, and how many were taken.
struct Words<'a>(Vec<&'a str>, usize);

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.0.get(self.1).copied()
    }

    fn take(&mut self, what: &str) -> Result<&'a str, String> {
        let word = self.peek().ok_or_else(|| format!("{what} is missing at the end"))?;
        self.1 += 1;
        Ok(word)
    }

    /// Takes this word if it comes next.
    fn took(&mut self, word: &str) -> bool {
        let comes = self.peek() == Some(word);
        self.1 += usize::from(comes);
        comes
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        let found = self.take(&format!("{word:?}"))?;
        if found == word { Ok(()) } else { Err(format!("{found:?} stands where {word:?} belongs")) }
    }

    /// A value, if its name comes next.
    fn named<T: Value>(&mut self, name: &str) -> Result<Option<T>, String> {
        if self.took(name) { T::read(self.take(name)?).map(Some) } else { Ok(None) }
    }

    /// One of the processes that are numbered behind this letter.
    fn numbered(&mut self, letter: char, most: u32) -> Result<u32, String> {
        let word = self.take("a process")?;
        let number = word.strip_prefix(letter);
        number
            .and_then(|number| number.parse().ok())
            .filter(|number| (1..=most).contains(number))
            .ok_or_else(|| format!("{word:?} is none of {letter}1 to {letter}{most}"))
    }

    fn end(&self) -> Result<(), String> {
        self.peek().map_or(Ok(()), |word| Err(format!("{word:?} is one word too many")))
    }
}

impl Plan {
    fn read(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        let first = words.take("an item")?;
        if let Some(at) = first.strip_prefix('@') {
            self.events.push(event(Duration::read(at)?, words)?);
            return Ok(());
        }
        match first {
            "publisher" => {
                let number = words.numbered('p', MOST_PUBLISHERS)?;
                if self.publishers.iter().any(|other| other.number == number) {
                    return Err(format!("p{number} was described before"));
                }
                self.publishers.push(Publisher { number, outbox: words.took("outbox") });
                Ok(())
            }
            "subscriber" => {
                let subscriber = subscriber(words)?;
                if self.subscribers.iter().any(|other| other.number == subscriber.number) {
                    return Err(format!("s{} was described before", subscriber.number));
                }
                self.subscribers.push(subscriber);
                Ok(())
            }
            name => {
                let value = words.take(&format!("the value of {name:?}"))?;
                self.knobs.set(name, value).unwrap_or_else(|| Err(unknown_item(name)))
            }
        }
    }

    /// Its text as it is kept in a file, with the number of items: what is cut off later is missed.
    pub fn counted(&self) -> String {
        format!("items {}\n{self}", self.lines().len())
    }

    /// Its lines: each is an item.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.knobs.lines();
        lines.extend(self.publishers.iter().map(ToString::to_string));
        lines.extend(self.subscribers.iter().map(ToString::to_string));
        lines.extend(self.events.iter().map(ToString::to_string));
        lines
    }
}

fn unknown_item(name: &str) -> String {
    format!(
        "{name:?} is no item; an item is publisher, subscriber, @TIME, or one of: {}",
        Knobs::NAMES.join(", ")
    )
}

fn subscriber(words: &mut Words<'_>) -> Result<Subscriber, String> {
    let number = words.numbered('s', MOST_SUBSCRIBERS)?;
    let mut filters = Vec::new();
    loop {
        let filter = words.take("a filter")?;
        filters.push(Filter::new(filter).map_err(|error| format!("the filter {filter:?} {error}"))?);
        if !words.took("or") {
            break;
        }
    }
    let latest = words.took("latest");
    let joins = words.named("joins")?.unwrap_or_default();
    let again = if !words.took("again") {
        Again::Behind(0)
    } else if words.took("anew") {
        Again::Anew
    } else {
        words.expect("behind")?;
        Again::Behind(u32::read(words.take("a number of deliveries")?)?)
    };
    Ok(Subscriber { number, filters, latest, joins, again })
}

fn event(at: Duration, words: &mut Words<'_>) -> Result<Event, String> {
    let on = if words.took("on") {
        let mark = mark(words.take("a mark")?)?;
        let after = words.peek().and_then(|word| word.strip_prefix('+'));
        let after = after.map(|time| words.take("a time").and_then(|_| Duration::read(time))).transpose()?;
        Some(Cue { mark, after: after.unwrap_or_default() })
    } else {
        None
    };
    Ok(Event { at, on, action: action(words)? })
}

/// A mark that there is, or the first word of some.
fn mark(word: &str) -> Result<String, String> {
    let known = transitions();
    if known.iter().any(|mark| is_mark(mark, word)) {
        return Ok(word.to_owned());
    }
    let first = word.split('(').next().unwrap_or(word);
    let alike: Vec<_> = known.iter().map(String::as_str).filter(|mark| is_mark(mark, first)).collect();
    let (what, marks) = match alike.is_empty() {
        true => ("the marks", known.iter().filter_map(|mark| mark.split('(').next()).collect()),
        false => ("those", alike),
    };
    let marks: BTreeSet<_> = marks.into_iter().collect();
    let marks: Vec<_> = marks.into_iter().collect();
    Err(format!("nobody ever comes to {word:?}; {what} are {}", marks.join(", ")))
}

fn action(words: &mut Words<'_>) -> Result<Action, String> {
    let name = words.take("what happens")?;
    match name {
        "shutdown" => Ok(Action::Shutdown { who: target(words)?, back: words.named("back")? }),
        "drain" => Ok(Action::Drain { who: target(words)?, back: words.named("back")? }),
        "close" => match target(words)? {
            who @ (Target::Publisher(_) | Target::Subscriber(_) | Target::It) => Ok(Action::Close { who }),
            other => Err(format!("{other} stands where a publisher or a subscriber belongs")),
        },
        "rolling-restart" => {
            words.expect("back")?;
            let back = Duration::read(words.take("a time")?)?;
            Ok(Action::RollingRestart { back, every: every(words)? })
        }
        "total-loss" => Ok(Action::TotalLoss { lasts: words.named("for")? }),
        "second-process" => {
            let broker = words.numbered('b', MOST_BROKERS)?;
            words.expect("for")?;
            Ok(Action::SecondProcess { broker, lasts: Duration::read(words.take("a time")?)? })
        }
        "publish" => {
            let publisher = words.numbered('p', MOST_PUBLISHERS)?;
            let topic = words.take("a topic")?;
            let topic = Topic::new(topic).map_err(|error| format!("the topic {topic:?} {error}"))?;
            Ok(Action::Publish { publisher, topic, count: count(words)?, every: every(words)? })
        }
        "read-heads" => {
            let subscriber = words.numbered('s', MOST_SUBSCRIBERS)?;
            Ok(Action::ReadHeads { subscriber, count: count(words)?, every: every(words)? })
        }
        "copy-outbox" => {
            let publisher = words.numbered('p', MOST_PUBLISHERS)?;
            words.expect("to")?;
            Ok(Action::CopyOutbox { publisher, to: words.numbered('p', MOST_PUBLISHERS)? })
        }
        "pace" => {
            let subscriber = words.numbered('s', MOST_SUBSCRIBERS)?;
            let late = match words.take("a time or never")? {
                "never" => None,
                time => Some(Duration::read(time)?),
            };
            Ok(Action::Pace { subscriber, late })
        }
        _ => trouble(name, words),
    }
}

fn trouble(name: &str, words: &mut Words<'_>) -> Result<Action, String> {
    let Some(kind) = kinds::kind(name) else {
        let known: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        let known = known.join(", ");
        return Err(format!(
            "{name:?} is nothing that happens; that is publish, read-heads, pace, close, copy-outbox, shutdown, drain, rolling-restart, total-loss, second-process, {known}"
        ));
    };
    let with = (0..kind.processes).map(|_| target(words)).collect::<Result<_, _>>()?;
    let amount = match kind.amount {
        Amount::Plain => Amount::Plain,
        example => {
            words.expect("by")?;
            let amount = words.take("how much")?;
            match example {
                Amount::Time(_) => Amount::Time(Duration::read(amount)?),
                _ => Amount::Number(i64::read(amount)?),
            }
        }
    };
    Ok(Action::Trouble { kind, with, amount, lasts: words.named("for")? })
}

fn count(words: &mut Words<'_>) -> Result<u64, String> {
    within(words.take("a number")?, (1, MOST_TIMES))
}

fn every(words: &mut Words<'_>) -> Result<Duration, String> {
    words.expect("every")?;
    Duration::read(words.take("a time")?)
}

fn target(words: &mut Words<'_>) -> Result<Target, String> {
    let word = words.peek().ok_or("a process is missing at the end")?;
    let role = match word {
        "primary" => Some(Target::Primary),
        "backup" => Some(Target::Backup),
        "leader" => Some(Target::Leader),
        "follower" => Some(Target::Follower),
        "it" => Some(Target::It),
        _ => None,
    };
    if let Some(role) = role {
        words.expect(word)?;
        return Ok(role);
    }
    match word.chars().next() {
        Some('d') => words.numbered('d', MOST_DISCOVERIES).map(Target::Discovery),
        Some('p') => words.numbered('p', MOST_PUBLISHERS).map(Target::Publisher),
        Some('s') => words.numbered('s', MOST_SUBSCRIBERS).map(Target::Subscriber),
        _ => words.numbered('b', MOST_BROKERS).map(Target::Broker),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl fmt::Display for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outbox = if self.outbox { " outbox" } else { "" };
        write!(f, "publisher p{}{outbox}", self.number)
    }
}

impl fmt::Display for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filters: Vec<_> = self.filters.iter().map(Filter::as_str).collect();
        write!(f, "subscriber s{} {}", self.number, filters.join(" or "))?;
        if self.latest {
            f.write_str(" latest")?;
        }
        if !self.joins.is_zero() {
            write!(f, " joins {}", self.joins.write())?;
        }
        match self.again {
            Again::Behind(0) => Ok(()),
            Again::Behind(behind) => write!(f, " again behind {behind}"),
            Again::Anew => f.write_str(" again anew"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker(number) => write!(f, "b{number}"),
            Self::Discovery(number) => write!(f, "d{number}"),
            Self::Publisher(number) => write!(f, "p{number}"),
            Self::Subscriber(number) => write!(f, "s{number}"),
            Self::Primary => f.write_str("primary"),
            Self::Backup => f.write_str("backup"),
            Self::Leader => f.write_str("leader"),
            Self::Follower => f.write_str("follower"),
            Self::It => f.write_str("it"),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{} ", self.at.write())?;
        if let Some(cue) = &self.on {
            write!(f, "on {} ", cue.mark)?;
            if !cue.after.is_zero() {
                write!(f, "+{} ", cue.after.write())?;
            }
        }
        self.action.fmt(f)
    }
}

/// A time behind a word.
fn option(f: &mut fmt::Formatter<'_>, word: &str, time: Option<Duration>) -> fmt::Result {
    time.map_or(Ok(()), |time| write!(f, " {word} {}", time.write()))
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trouble { kind, with, amount, lasts } => {
                f.write_str(kind.name)?;
                with.iter().try_for_each(|target| write!(f, " {target}"))?;
                match amount {
                    Amount::Plain => {}
                    Amount::Time(time) => write!(f, " by {}", time.write())?,
                    Amount::Number(number) => write!(f, " by {number}")?,
                }
                option(f, "for", *lasts)
            }
            Self::Shutdown { who, back } => {
                write!(f, "shutdown {who}")?;
                option(f, "back", *back)
            }
            Self::Drain { who, back } => {
                write!(f, "drain {who}")?;
                option(f, "back", *back)
            }
            Self::Close { who } => write!(f, "close {who}"),
            Self::RollingRestart { back, every } => {
                write!(f, "rolling-restart back {} every {}", back.write(), every.write())
            }
            Self::TotalLoss { lasts } => {
                f.write_str("total-loss")?;
                option(f, "for", *lasts)
            }
            Self::SecondProcess { broker, lasts } => {
                write!(f, "second-process b{broker} for {}", lasts.write())
            }
            Self::Publish { publisher, topic, count, every } => {
                write!(f, "publish p{publisher} {topic} {count} every {}", every.write())
            }
            Self::ReadHeads { subscriber, count, every } => {
                write!(f, "read-heads s{subscriber} {count} every {}", every.write())
            }
            Self::CopyOutbox { publisher, to } => write!(f, "copy-outbox p{publisher} to p{to}"),
            Self::Pace { subscriber, late } => {
                let late = late.map_or_else(|| "never".to_owned(), |late| late.write());
                write!(f, "pace s{subscriber} {late}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, line: usize, reason: &str) {
        let error = text.parse::<Plan>().expect_err("no plan");
        assert!(error.line == line && error.reason.contains(reason), "{error}");
    }

    #[test]
    fn a_text_is_read_and_written_as_it_was() {
        let text = "seed 17\nbrokers 2\nlatency 100us..5ms\npublisher p1 outbox\npublisher p2\n\
            subscriber s1 a.* or b latest joins 2s again behind 3\nsubscriber s2 > again anew\n\
            @0s publish p1 a.b 400 every 20ms\n@1s pause primary for 700ms\n@1s cut b1 it\n\
            @2s on Proposed(Expand) +2ms crash it\n@3s shutdown b2 back 300ms\n@3s shutdown backup\n\
            @4s total-loss for 1s\n@5s rolling-restart back 300ms every 2s\n@6s read-heads s1 3 every 1ms\n\
            @6s pace s1 never\n@7s pace s1 0s\n@8s slow b1 by 5ms for 1s\n@8s clock-rate backup by -300\n\
            @8s lag b1 b2 by 20ms\n@9s stop-coordination for 2s\n@9s copy-outbox p1 to p9\n\
            @9s drain primary back 1s\n@9s drain b1\n@9s close p1\n@9s on SessionOpened close it\n";
        assert_eq!(text.parse::<Plan>().expect("a plan").to_string(), text);
    }

    #[test]
    fn comments_and_empty_lines_say_nothing() {
        assert_eq!("\n # seed 1\n\t\n#\nbrokers 3\n".parse::<Plan>(), Ok(Plan::default()));
    }

    #[test]
    fn a_mark_before_the_first_line_says_nothing() {
        assert_eq!("\u{feff}brokers 2\n".parse::<Plan>(), "brokers 2\n".parse());
    }

    #[test]
    fn a_plan_that_was_cut_is_refused() {
        let plan: Plan = "brokers 2\npublisher p1\n@1s crash b1\n".parse().expect("a plan");
        let text = format!("# What it violates.\n{}", plan.counted());
        assert_eq!(text.parse(), Ok(plan));
        for (cut, _) in text.match_indices('\n').skip(1) {
            if cut + 1 < text.len() {
                refused(&text[..=cut], 2, "3 items are announced");
            }
        }
        refused("# What it violates.\n", 1, "no item");
        refused("", 1, "no item");
        refused("items 1\nitems 1\nbrokers 2", 2, "given before, in line 1");
        assert_eq!(Plan::default().counted().parse(), Ok(Plan::default()));
    }

    #[test]
    fn what_is_no_plan_is_refused_with_line_and_reason() {
        refused("seed 1\n\nbrokers 7", 3, "7 is not between 1 and 5");
        refused("seed 1\nbrokers 2\nseed 1", 3, "\"seed\" was given before, in line 1");
        refused("@1s on NoSuchMark crash it", 1, "nobody ever comes to \"NoSuchMark\"");
        refused("@1s on Proposed(Nothing) crash it", 1, "those are Proposed(Expand), Proposed(GiveUp)");
        refused("sed 1", 1, "\"sed\" is no item");
        refused("seed", 1, "the value of \"seed\" is missing");
        refused("seed 1 2", 1, "\"2\" is one word too many");
        refused("publisher p99", 1, "none of p1 to");
        refused("publisher p1\npublisher p1 outbox", 2, "described before");
        refused("subscriber s1", 1, "a filter is missing");
        refused("subscriber s1 a..b", 1, "the filter \"a..b\"");
        refused("subscriber s1 > again 3", 1, "where \"behind\" belongs");
        refused("@x crash b1", 1, "not a time");
        refused("@1s explode b1", 1, "nothing that happens");
        refused("@1s crash x1", 1, "none of b1 to b5");
        refused("@1s slow b1 5ms", 1, "where \"by\" belongs");
        refused("@1s copy-outbox p1 p2", 1, "where \"to\" belongs");
        refused("@1s close b1", 1, "b1 stands where a publisher");
        refused("@1s cut b1", 1, "a process is missing");
        refused("@1s publish p1 a.* 1 every 1s", 1, "the topic \"a.*\"");
        refused("@1s publish p1 a 0 every 1s", 1, "0 is not between 1");
    }
}
