//! The configuration file: which one, and what is in it, line by line.

use super::keys::{self, SECRETS, find, similar};
use super::layers::Given;
use super::problem::{Origin, Problem};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

/// Looked for where none is named, in this order.
pub const USUAL_PLACES: [&str; 2] = ["steadfast.toml", "/etc/steadfast/steadfast.toml"];
/// A longer file is no configuration.
const MAX_LEN: u64 = 1 << 20;

/// The usual places that have something, the first of them.
pub(super) fn usual(places: &[&str]) -> Option<PathBuf> {
    places.iter().map(PathBuf::from).find(|path| path.symlink_metadata().is_ok())
}

/// Reads the file that somebody has named, or nobody. What can be used is returned with what is wrong.
pub(super) fn read(path: &Path, named: &Origin) -> (Vec<Given>, Vec<Problem>) {
    match text(path, named) {
        Ok(text) => parse(&path.display().to_string(), &text),
        Err(problem) => (Vec::new(), vec![problem]),
    }
}

fn text(path: &Path, named: &Origin) -> Result<String, Problem> {
    let of_file =
        |text: &dyn std::fmt::Display| Problem::at(named, format_args!("{}: {text}", path.display()));
    let mut bytes = Vec::new();
    let opened = File::open(path).and_then(|file| file.take(MAX_LEN + 1).read_to_end(&mut bytes));
    if let Err(error) = opened {
        let (cause, remedy) = match error.kind() {
            io::ErrorKind::NotFound => {
                ("there is no such file", "check its path, or create it: steadfast config default")
            }
            io::ErrorKind::PermissionDenied => ("this user may not read it", "give this user the right to"),
            io::ErrorKind::IsADirectory => ("it is a directory", "name a file in it"),
            _ => return Err(of_file(&format_args!("cannot be read: {error}; check the file"))),
        };
        return Err(of_file(&format_args!("cannot be read: {cause}; {remedy}")));
    }
    if bytes.len() as u64 > MAX_LEN {
        return Err(of_file(&"it is longer than 1MiB, so it is no configuration; name another file"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = line_of(error.as_bytes(), valid);
        let origin = Origin::File { path: path.display().to_string(), line };
        Problem::at(
            &origin,
            "it is not text in UTF-8; name another file, or write it anew: steadfast config default",
        )
    })
}

/// Reads a file's text.
pub(super) fn parse(name: &str, text: &str) -> (Vec<Given>, Vec<Problem>) {
    let at = |position| Origin::File { path: name.to_owned(), line: line_of(text.as_bytes(), position) };
    let mut reading = Reading { at: &at, given: Vec::new(), problems: Vec::new() };
    match (DeTable::parse(text), text.parse::<Table>()) {
        (Ok(places), Ok(values)) => reading.section("", places.get_ref(), &values),
        (Err(error), _) | (_, Err(error)) => {
            let origin = at(error.span().map_or(0, |span| span.start));
            let text = format!("this is not TOML: {}; correct the line", error.message());
            reading.problems.push(Problem::at(&origin, text));
        }
    }
    (reading.given, reading.problems)
}

/// The line of a byte, counted from one.
fn line_of(text: &[u8], position: usize) -> usize {
    text[..position.min(text.len())].iter().filter(|&&byte| byte == b'\n').count() + 1
}

struct Reading<'a> {
    at: &'a dyn Fn(usize) -> Origin,
    given: Vec<Given>,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    /// Reads a section. Its places and its values have the same keys.
    fn section(&mut self, section: &str, places: &DeTable<'_>, values: &Table) {
        for (name, place) in places {
            let origin = (self.at)(name.span().start);
            let path = match section {
                "" => name.get_ref().to_string(),
                _ => format!("{section}.{}", name.get_ref()),
            };
            let Some(value) = values.get(name.get_ref().as_ref()) else { continue };
            if let Some(key) = find(&path) {
                self.given.push(Given { key, value: value.clone(), origin });
            } else if keys::sections().iter().any(|section| section.path == path) {
                self.subsection(&path, &origin, place, value);
            } else {
                self.problems.push(unknown(section, &path, &origin));
            }
        }
    }

    fn subsection(&mut self, path: &str, origin: &Origin, place: &Spanned<DeValue<'_>>, value: &Value) {
        match (place.get_ref(), value) {
            (DeValue::Table(places), Value::Table(values)) => self.section(path, places, values),
            _ => {
                let text = format!("{path} is a section; write [{path}] and its keys below");
                self.problems.push(Problem::at(origin, text));
            }
        }
    }
}

/// An unknown key. Its value may be a secret that stands in the wrong place: it is never shown.
fn unknown(section: &str, path: &str, origin: &Origin) -> Problem {
    if let Some(secret) = SECRETS.iter().find(|secret| secret.path == path) {
        let (file_key, variable) = (secret.file_key, secret.variable);
        return Problem::at(
            origin,
            format!(
                "{path} is a secret and does not belong here; set {variable}, or write it into a file of its own and name that with {file_key}"
            ),
        );
    }
    let name = path.rsplit('.').next().unwrap_or(path);
    let here = keys::keys().iter().filter(|key| key.section() == section).map(|key| key.path.as_str());
    let elsewhere = keys::keys().iter().find(|key| key.name() == name).map(|key| key.path.as_str());
    let sections = keys::sections().iter().map(|section| section.path.as_str());
    let meant =
        similar(path, sections.filter(|_| section.is_empty())).or(elsewhere).or_else(|| similar(path, here));
    match meant {
        Some(meant) => Problem::at(origin, format!("{path} is unknown; did you mean {meant}?")),
        None => {
            Problem::at(origin, format!("{path} is unknown; remove it, or see 'steadfast config default'"))
        }
    }
}
