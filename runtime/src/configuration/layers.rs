//! Layers of settings: flags over environment over file over defaults.

use super::keys::{FILE_VARIABLE, Key, SECRETS, keys, similar};
use super::problem::{Origin, Problem};
use super::settings::Settings;
use confique::{Config, Layer as _};
use serde::Deserialize as _;
use std::collections::BTreeMap;
use std::ffi::OsString;
use toml::{Table, Value};

/// What all variables of this program begin with.
pub const PREFIX: &str = "STEADFAST_";

/// Environment variables of this program.
pub type Environment = BTreeMap<String, OsString>;

/// A setting that somebody made.
#[derive(Clone, Debug)]
pub struct Given {
    /// Which.
    pub key: &'static Key,
    /// As it was written.
    pub value: Value,
    /// Where.
    pub origin: Origin,
}

type Layer = <Settings as Config>::Layer;

/// Two keys of which only one can hold: a higher layer's choice takes the place of a lower layer's.
const EITHER: [&str; 2] = ["coordination.zookeeper", "coordination.embedded"];

/// This process's environment, as far as it is meant for this program.
pub fn environment() -> Environment {
    let named = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    named.filter(|(name, _)| name.starts_with(PREFIX)).collect()
}

/// What the environment says. An empty variable counts as none.
pub(super) fn from_environment(environment: &Environment) -> (Vec<Given>, Vec<Problem>) {
    let (mut given, mut problems) = (Vec::new(), Vec::new());
    for key in keys() {
        let Some(value) = environment.get(key.variable).filter(|value| !value.is_empty()) else { continue };
        let origin = Origin::Environment(key.variable);
        match value.to_str() {
            Some(text) => given.push(Given { key, value: Value::String(text.to_owned()), origin }),
            None => {
                let text = format!("{} is not text in UTF-8; set it anew, or unset it", key.path);
                problems.push(Problem::at(&origin, text));
            }
        }
    }
    (given, problems)
}

/// Variables that look as if they were meant for this program, but are not known.
pub(super) fn unknown_variables(environment: &Environment) -> Vec<String> {
    let secrets = SECRETS.iter().map(|secret| secret.variable);
    let known: Vec<_> = keys().iter().map(|key| key.variable).chain(secrets).chain([FILE_VARIABLE]).collect();
    let unknown = environment.keys().filter(|name| !known.contains(&name.as_str()));
    let said = unknown.map(|name| match similar(name, known.iter().copied()) {
        Some(meant) => format!("{name} is unknown and has no effect; did you mean {meant}?"),
        None => format!("{name} is unknown and has no effect"),
    });
    said.collect()
}

/// Puts layers, the highest first, over the defaults. Also returns who has made each setting.
pub(super) fn merge(
    mut layers: Vec<Vec<Given>>,
    problems: &mut Vec<Problem>,
) -> (Settings, BTreeMap<&'static str, Given>) {
    let highest = layers.iter().position(|layer| layer.iter().any(is_either));
    for lower in layers.iter_mut().skip(highest.map_or(usize::MAX, |highest| highest + 1)) {
        lower.retain(|given| !is_either(given));
    }
    let mut merged = Layer::empty();
    let mut made = BTreeMap::new();
    for given in layers.into_iter().flatten() {
        match one(&given) {
            Ok(layer) => {
                merged = merged.with_fallback(layer);
                made.entry(given.key.path.as_str()).or_insert(given);
            }
            Err(cause) => {
                let (path, value) = (&given.key.path, shorten(&given.value.to_string()));
                problems.push(Problem::at(&given.origin, format_args!("{path} = {value}: {cause}")));
            }
        }
    }
    let complete = merged.with_fallback(Layer::default_values());
    let settings = Settings::from_layer(complete).expect("what has no default is optional");
    (settings, made)
}

/// The beginning of a value, fit for one line.
fn shorten(value: &str) -> String {
    const MOST: usize = 100;
    match value.char_indices().nth(MOST) {
        None => value.to_owned(),
        Some((end, _)) => format!("{}…", &value[..end]),
    }
}

fn is_either(given: &Given) -> bool {
    EITHER.contains(&given.key.path.as_str())
}

/// A layer with one setting.
fn one(given: &Given) -> Result<Layer, String> {
    let mut value = given.value.clone();
    for name in given.key.path.rsplit('.') {
        value = Value::Table(Table::from_iter([(name.to_owned(), value)]));
    }
    Layer::deserialize(value).map_err(|error| error.message().trim().to_owned())
}
