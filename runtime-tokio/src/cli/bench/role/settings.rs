//! What a role is told.

use super::super::super::failure::Failure;
use super::HEADER;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use steadfast_core::log::Codec;

/// Most roles of one kind in a run.
pub const MOST_ROLES: usize = 100;

/// The words, read.
#[derive(Debug)]
pub struct Settings {
    /// Discovery, as `HOST:PORT[,HOST:PORT...]`.
    pub discovery: String,
    /// Its number among its like.
    pub id: usize,
    /// How many publishers there are.
    pub publishers: usize,
    /// How many subscribers there are.
    pub subscribers: usize,
    /// Bytes of a record.
    pub size: usize,
    /// How a publisher compresses.
    pub compression: Codec,
    /// Records a second; `None`: as many as are taken.
    pub rate: Option<f64>,
    /// How long is published.
    pub time: Duration,
    /// A publisher waits when all of them are so many records ahead of the slowest subscriber; 0: never.
    pub window: u64,
    /// A publisher waits when so many of its records are not acknowledged.
    pub unacknowledged: u64,
    /// The file of counters.
    pub counters: PathBuf,
    /// Where to leave which records have come, or are acknowledged: a byte for each.
    pub dump: Option<PathBuf>,
    /// A time without a record that is longer is a gap, in nanoseconds.
    pub gap: u64,
    /// A subscriber gives up when nothing has come for so long after the last publisher's end.
    pub idle: Duration,
    /// And so long after the time of publishing at the latest.
    pub drain: Duration,
}

impl Settings {
    /// Words with keys that it does not know are for others.
    ///
    /// # Errors
    /// When a word has no `=`, a value is no number, or a key that must be there is not.
    pub fn read(words: &[String]) -> Result<Self, Failure> {
        let mut values = BTreeMap::new();
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| {
                Failure::new(format!("`{word}` is no KEY=VALUE"), "write for example size=100")
            })?;
            values.insert(key, value);
        }
        let values = Values(values);
        let rate = values.number("rate", 0.0)?;
        let seconds: f64 = values.number("secs", 4.0)?;
        let settings = Self {
            discovery: values.text("addr")?.to_owned(),
            id: values.number("id", 0)?,
            publishers: values.number("npub", 1)?,
            subscribers: values.number("nsub", 1)?,
            size: values.number("size", 100)?.max(HEADER),
            compression: values.number("compression", Codec::None)?,
            rate: (rate > 0.0).then_some(rate),
            time: Duration::try_from_secs_f64(seconds)
                .map_err(|_| unreadable("secs", &seconds.to_string()))?,
            window: values.number("window", 0)?,
            unacknowledged: values.number("ackwin", u64::MAX)?,
            counters: values.text("shm")?.into(),
            dump: values.0.get("dump").map(PathBuf::from),
            gap: values.number("gap_ms", 50_u64)? * 1_000_000,
            idle: Duration::from_millis(values.number("idle_ms", 3_000)?),
            drain: Duration::from_secs(values.number("drain_s", 30)?),
        };
        match settings.publishers.max(settings.subscribers).max(settings.id + 1) {
            0..=MOST_ROLES => Ok(settings),
            more => Err(Failure::new(
                format!("{more} publishers or subscribers are too many"),
                "start at most 100 of each, with id=0 to id=99",
            )),
        }
    }
}

struct Values<'a>(BTreeMap<&'a str, &'a str>);

impl Values<'_> {
    fn text(&self, key: &str) -> Result<&str, Failure> {
        self.0.get(key).copied().ok_or_else(|| {
            let remedy = "give addr=HOST:PORT of discovery, and shm=FILE for the counters";
            Failure::new(format!("{key}= is missing"), remedy)
        })
    }

    fn number<T: FromStr>(&self, key: &str, default: T) -> Result<T, Failure> {
        self.0.get(key).map_or(Ok(default), |value| value.parse().map_err(|_| unreadable(key, value)))
    }
}

fn unreadable(key: &str, value: &str) -> Failure {
    Failure::new(format!("{key}={value} is no number that it can be"), "write for example size=100 secs=4")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Settings, Failure> {
        Settings::read(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn words_are_read_and_those_for_others_left_alone() {
        let settings = read(&["addr=h:1", "shm=/x", "rate=5000", "secs=2.5", "color=red", "size=1"]).unwrap();
        assert_eq!((settings.rate, settings.time), (Some(5_000.0), Duration::from_millis(2_500)));
        assert_eq!((settings.size, settings.publishers, settings.window), (HEADER, 1, 0));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let wrong: [&[&str]; 6] = [
            &["addr=h:1", "shm=/x", "size"],
            &["addr=h:1", "shm=/x", "size=many"],
            &["addr=h:1", "shm=/x", "secs=-1"],
            &["addr=h:1", "shm=/x", "npub=101"],
            &["shm=/x"],
            &["addr=h:1"],
        ];
        for words in wrong {
            assert!(read(words).is_err(), "{words:?}");
        }
    }
}
