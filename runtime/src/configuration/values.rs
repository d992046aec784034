//! How the values of settings are read: each from the text that a person wrote, with an error that
//! says what a right one looks like.

use super::settings::{Format, OnTotalLoss, Rotation, Servers};
use crate::transport::{Kind, UnknownTransport};
use crate::{address, units};
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use steadfast_core::compression::Codecs;
use steadfast_core::id::{Address, NodeName};
use steadfast_core::log::Codec;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// What a value may be written as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Text,
    TextOrNumber,
    TextOrList,
}

/// Reads a value from its text. The items of a list count as one text with commas between.
struct FromText<T> {
    shape: Shape,
    parse: fn(&str) -> Result<T, String>,
}

impl<'de, T> Visitor<'de> for FromText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.shape {
            Shape::Text => "a text in quotes",
            Shape::TextOrNumber => "a text in quotes or a whole number",
            Shape::TextOrList => "a text in quotes or a list of such",
        })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        match self.shape {
            Shape::TextOrNumber => self.visit_str(&number.to_string()),
            _ => Err(E::invalid_type(serde::de::Unexpected::Signed(number), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<T, A::Error> {
        if self.shape != Shape::TextOrList {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self));
        }
        let mut texts: Vec<String> = Vec::new();
        while let Some(text) = items.next_element()? {
            texts.push(text);
        }
        self.visit_str(&texts.join(","))
    }
}

fn read<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    shape: Shape,
    parse: fn(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(FromText { shape, parse })
}

pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    read(deserializer, Shape::TextOrNumber, units::duration)
}

pub(super) fn busy_poll<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    read(deserializer, Shape::TextOrNumber, units::moment)
}

pub(super) fn age<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    read(deserializer, Shape::TextOrNumber, units::age)
}

pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    read(deserializer, Shape::TextOrNumber, units::bytes)
}

pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    read(deserializer, Shape::TextOrNumber, units::count)
}

pub(super) fn copies<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    read(deserializer, Shape::TextOrNumber, units::copies)
}

pub(super) fn word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    read(deserializer, Shape::Text, |text| match text {
        "" => Err("it is empty".into()),
        _ => Ok(text.to_owned()),
    })
}

pub(super) fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    word(deserializer).map(PathBuf::from)
}

pub(super) fn node_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NodeName, D::Error> {
    read(deserializer, Shape::Text, parse_node_name)
}

pub(super) fn cluster<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    node_name(deserializer).map(|name| name.to_string())
}

pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
    read(deserializer, Shape::Text, |text| address::parse(text).map_err(|error| error.to_string()))
}

pub(super) fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Address>, D::Error> {
    read(deserializer, Shape::TextOrList, |text| address::parse_list(text).map_err(|error| error.to_string()))
}

pub(super) fn servers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Servers, D::Error> {
    read(deserializer, Shape::TextOrList, parse_servers)
}

pub(super) fn chroot<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    read(deserializer, Shape::Text, parse_chroot)
}

pub(super) fn on_total_loss<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OnTotalLoss, D::Error> {
    read(deserializer, Shape::Text, |text| match text {
        "reset" => Ok(OnTotalLoss::Reset),
        "wait" => Ok(OnTotalLoss::Wait),
        _ => Err("write reset or wait".into()),
    })
}

pub(super) fn codecs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Codecs, D::Error> {
    read(deserializer, Shape::TextOrList, parse_codecs)
}

pub(super) fn format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Format, D::Error> {
    read(deserializer, Shape::Text, |text| match text {
        "text" => Ok(Format::Plain),
        "json" => Ok(Format::Json),
        _ => Err("write text or json".into()),
    })
}

pub(super) fn transport<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
    read(deserializer, Shape::Text, |text| text.parse().map_err(|error: UnknownTransport| error.to_string()))
}

pub(super) fn rotation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Rotation, D::Error> {
    read(deserializer, Shape::Text, |text| match text {
        "day" => Ok(Rotation::Day),
        "hour" => Ok(Rotation::Hour),
        _ => Err("write day or hour".into()),
    })
}

pub(super) fn levels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Targets, D::Error> {
    read(deserializer, Shape::Text, parse_levels)
}

/// A node's name.
///
/// # Errors
/// When it is none; the text says what one looks like.
pub fn parse_node_name(text: &str) -> Result<NodeName, String> {
    NodeName::new(text)
        .map_err(|error| format!("the name {error}; use lower-case letters, digits, '-' and '_'"))
}

/// ZooKeeper servers as its own tools take them: `HOST:PORT[,HOST:PORT...][/CHROOT]`.
///
/// # Errors
/// When an address or the chroot is wrong.
pub fn parse_servers(text: &str) -> Result<Servers, String> {
    let plain = text.replace("tcp://", "");
    let (list, chroot) = match plain.find('/') {
        None => (plain.as_str(), None),
        Some(at) => (&plain[..at], Some(parse_chroot(&plain[at..])?)),
    };
    let addresses = address::parse_list(list).map_err(|error| error.to_string())?;
    Ok(Servers { addresses, chroot })
}

fn parse_chroot(text: &str) -> Result<String, String> {
    let is_allowed = |c: char| c.is_ascii_graphic() && c != ',';
    let is_name = |name: &str| !matches!(name, "" | "." | "..") && name.chars().all(is_allowed);
    match text.strip_prefix('/').is_some_and(|names| names.split('/').all(is_name)) {
        true => Ok(text.to_owned()),
        false => Err("a chroot is a path from the root, for example /apps/steadfast".into()),
    }
}

/// A list of codecs; an empty one has none.
fn parse_codecs(text: &str) -> Result<Codecs, String> {
    let codec = |name: &str| match name.parse() {
        Ok(codec) if codec != Codec::None => Ok(codec),
        _ => Err(format!("{name:?} is no codec; write lz4, zstd or both")),
    };
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(codec).collect()
}

/// Levels of log lines: `warn`, or for each target `info,zookeeper_client=debug`. A bare level is
/// that of this project's own lines; of libraries it lets warnings pass and no more.
///
/// # Errors
/// When a level is none.
pub fn parse_levels(text: &str) -> Result<Targets, String> {
    let wrong = || "write error, warn, info, debug or trace, or TARGET=LEVEL, with commas between".to_owned();
    let mut own = LevelFilter::WARN;
    let mut named = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (target, level) =
            part.split_once('=').map_or((None, part), |(target, level)| (Some(target), level));
        // An empty level would count as one.
        let level: LevelFilter =
            Some(level).filter(|level| !level.is_empty()).ok_or_else(wrong)?.parse().map_err(|_| wrong())?;
        match target {
            None => own = level,
            Some("") => return Err(wrong()),
            Some(target) => named.push((target.to_owned(), level)),
        }
    }
    let targets = Targets::new()
        .with_default(own.min(LevelFilter::WARN))
        .with_target("steadfast", own)
        // Its warnings repeat what the session's states say.
        .with_target("zookeeper_client", own.min(LevelFilter::ERROR));
    Ok(targets.with_targets(named))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn servers_are_read_with_and_without_a_chroot() {
        let servers = parse_servers("zk1:2181,zk2:2182/apps/x").unwrap();
        let addresses: Vec<_> = servers.addresses.iter().map(Address::as_str).collect();
        assert_eq!(addresses, ["tcp://zk1:2181", "tcp://zk2:2182"]);
        assert_eq!(servers.chroot.as_deref(), Some("/apps/x"));
        assert_eq!(parse_servers("tcp://zk1:2181").unwrap().chroot, None);
        assert_eq!(parse_servers("zk1:1, tcp://zk2:2/a").unwrap().chroot.as_deref(), Some("/a"));
        for wrong in
            ["", "zk1", "zk1:2181/", "zk1:2181/a/", "zk1:2181//a", "zk1:2181/a b", "/a", "zk1:1/a,zk2:2"]
        {
            assert!(parse_servers(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn codecs_are_a_list_of_those_that_compress() {
        let only_zstd = Codecs { lz4: false, zstd: true };
        let known = [("", Codecs::default()), ("zstd", only_zstd), ("zstd, lz4", Codecs::ALL)];
        for (text, codecs) in known {
            assert_eq!(parse_codecs(text), Ok(codecs), "{text:?}");
        }
        for wrong in ["gzip", "lz4,none", "LZ4", "lz4 zstd"] {
            assert!(parse_codecs(wrong).is_err_and(|error| error.contains("lz4, zstd or both")), "{wrong:?}");
        }
    }

    #[test]
    fn a_bare_level_is_for_the_projects_own_lines() {
        let targets = parse_levels("debug,zookeeper_client=info").unwrap();
        assert!(targets.would_enable("steadfast", &Level::DEBUG));
        assert!(!targets.would_enable("steadfast", &Level::TRACE));
        assert!(targets.would_enable("zookeeper_client", &Level::INFO));
        assert!(targets.would_enable("other", &Level::WARN) && !targets.would_enable("other", &Level::INFO));
        let targets = parse_levels("off").unwrap();
        assert!(!targets.would_enable("steadfast", &Level::ERROR));
        for wrong in ["", "loud", "a=loud", "=info", "info,"] {
            assert!(parse_levels(wrong).is_err(), "{wrong:?}");
        }
    }
}
