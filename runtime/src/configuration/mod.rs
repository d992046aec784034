//! The configuration: flags over environment variables over one file over defaults.
//!
//! `confique` defines the settings and layers them. What it does not do is done here: every problem
//! is found, not only the first, and names its line, variable or flag.

mod check;
mod file;
mod keys;
mod layers;
mod problem;
mod reference;
mod secret;
mod settings;
#[cfg(test)]
mod tests;
mod values;

pub use file::USUAL_PLACES;
pub use keys::{FILE_VARIABLE, Key, keys};
pub use layers::{Environment, PREFIX, environment};
pub use problem::{Origin, Problem, Problems};
pub use reference::{FLAGS, default_file, reference};
pub use settings::{
    Broker, Cluster, Coordination, Discovery, LAG_MARGIN, Logging, Metrics, OnTotalLoss, Recovery, Retention,
    Servers, Settings, Transport,
};
pub use values::{parse_node_name, parse_servers};

use crate::logs::{Destination, Files};
use crate::secret::Secret;
use crate::units::{show_bytes, show_duration};
use crate::zookeeper::Auth;
use keys::{CREDENTIAL, SECRETS, SecretKey, TOKEN};
use layers::Given;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
pub use toml::Value;

/// A flag that somebody gave.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The key that it sets: one of [`FLAGS`].
    pub key: &'static str,
    /// Its value, as in the file.
    pub value: Value,
}

/// What a configuration is made of.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The file, where it was named.
    pub file: Option<PathBuf>,
    /// Where to look for a file that was not named.
    pub places: &'a [&'a str],
    /// Variables, by their names.
    pub environment: Environment,
    /// Flags.
    pub flags: Vec<Flag>,
}

impl Sources<'_> {
    /// This process's own environment and the usual places.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        Self { file, places: &USUAL_PLACES, environment: environment(), flags }
    }
}

/// Settings that were checked, and where each comes from.
#[derive(Debug)]
pub struct Configuration {
    /// What holds.
    pub settings: Settings,
    file: Option<PathBuf>,
    environment: Environment,
    made: BTreeMap<&'static str, Given>,
}

/// A setting, to be shown.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its key.
    pub key: &'static str,
    /// Its value; `None`: it is not set.
    pub value: Option<Value>,
    /// Whether the value is a secret, which stands here as another text.
    pub hidden: bool,
    /// Where it comes from.
    pub source: String,
}

/// Reads and checks a configuration.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(sources: Sources<'_>) -> Result<Configuration, Problems> {
    let Sources { file, places, environment, flags } = sources;
    let variable = environment.get(FILE_VARIABLE).filter(|name| !name.is_empty());
    let (file, named) = match (file, variable) {
        (Some(file), _) => (Some(file), Origin::Flag("--config")),
        (None, Some(file)) => (Some(PathBuf::from(file)), Origin::Environment(FILE_VARIABLE)),
        (None, None) => (file::usual(places), Origin::Default),
    };
    let (from_file, mut problems) = file.as_deref().map(|file| file::read(file, &named)).unwrap_or_default();
    let (from_environment, more) = layers::from_environment(&environment);
    problems.extend(more);
    let layers = vec![from_flags(flags), from_environment, from_file];
    let (settings, made) = layers::merge(layers, &mut problems);
    if problems.is_empty() {
        problems = check::check(&settings, &made);
    }
    Problems::none_in(problems)?;
    Ok(Configuration { settings, file, environment, made })
}

fn from_flags(flags: Vec<Flag>) -> Vec<Given> {
    let given = flags.into_iter().map(|Flag { key, value }| {
        let (_, flag) = FLAGS.iter().find(|(of, _)| *of == key).expect("FLAGS has every flag");
        Given { key: keys::find(key).expect("a flag has a key"), value, origin: Origin::Flag(flag) }
    });
    given.collect()
}

impl Configuration {
    /// The file that was read.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Where a value comes from.
    pub fn origin(&self, key: &str) -> &Origin {
        self.made.get(key).map_or(&Origin::Default, |given| &given.origin)
    }

    /// Variables that look like settings and are none: a line for each.
    pub fn unknown_variables(&self) -> Vec<String> {
        layers::unknown_variables(&self.environment)
    }

    /// The credential for ZooKeeper.
    ///
    /// # Errors
    /// When it cannot be read or cannot be right.
    pub fn credential(&self) -> Result<Option<Secret>, Problem> {
        let credential = self.secret(&CREDENTIAL, self.settings.coordination.credential_file.as_deref())?;
        let is_digest = self.settings.coordination.auth_scheme == "digest";
        match &credential {
            Some(secret) if is_digest && !secret.expose().contains(':') => {
                let (origin, key) = (self.secret_origin(&CREDENTIAL), CREDENTIAL.path);
                Err(Problem::at(&origin, format_args!("{key} has no colon; write USER:PASSWORD")))
            }
            _ => Ok(credential),
        }
    }

    /// How to authenticate at ZooKeeper.
    ///
    /// # Errors
    /// As [`Configuration::credential`].
    pub fn auth(&self) -> Result<Option<Auth>, Problem> {
        let scheme = self.settings.coordination.auth_scheme.clone();
        Ok(self.credential()?.map(|credential| Auth { scheme, credential }))
    }

    /// The token for InfluxDB.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn token(&self) -> Result<Option<Secret>, Problem> {
        self.secret(&TOKEN, self.settings.metrics.token_file.as_deref())
    }

    fn secret(&self, key: &SecretKey, file: Option<&Path>) -> Result<Option<Secret>, Problem> {
        secret::read(key, &self.environment, file.map(|file| (file, self.origin(key.file_key))))
    }

    fn secret_origin(&self, key: &SecretKey) -> Origin {
        match self.environment.get(key.variable).filter(|value| !value.is_empty()) {
            Some(_) => Origin::Environment(key.variable),
            None => self.origin(key.file_key).clone(),
        }
    }

    /// Everything that is wrong with the secrets.
    ///
    /// # Errors
    /// As [`Configuration::credential`] and [`Configuration::token`].
    pub fn check_secrets(&self) -> Result<(), Problems> {
        Problems::none_in([self.credential().err(), self.token().err()].into_iter().flatten().collect())
    }

    /// Refuses a lag threshold that is not above the session timeout that ZooKeeper has granted (R12).
    ///
    /// # Errors
    /// When it is not above it.
    pub fn check_granted(&self, granted: Duration) -> Result<(), Problem> {
        match self.settings.recovery.lag.filter(|lag| *lag <= granted) {
            None => Ok(()),
            Some(lag) => Err(Problem::at(
                self.origin("recovery.lag"),
                format_args!(
                    "recovery.lag = \"{}\" is not above {}, the session timeout that ZooKeeper grants: a sick primary could drop healthy backups; raise it, or lower ZooKeeper's minSessionTimeout",
                    show_duration(lag),
                    show_duration(granted)
                ),
            )),
        }
    }

    /// Where the log lines of a process go: `broker.one`, `discovery`.
    pub fn logs(&self, process: &str) -> Destination {
        let logging = &self.settings.logging;
        match &logging.directory {
            None => Destination::StandardError,
            Some(directory) => Destination::Files(Files {
                directory: directory.clone(),
                process: process.to_owned(),
                rotation: logging.rotation,
                keep: logging.keep.map(|keep| usize::try_from(keep).unwrap_or(usize::MAX)),
            }),
        }
    }

    /// Every setting with its value and its source. Secrets are hidden.
    pub fn shown(&self) -> Vec<Shown> {
        let mut shown: Vec<_> = keys().iter().map(|key| self.show(key)).collect();
        for secret in SECRETS {
            let origin = self.secret_origin(secret);
            let value = (origin != Origin::Default).then(|| Value::String("(hidden)".into()));
            let section = secret.path.split('.').next().unwrap_or_default();
            let last = shown.iter().rposition(|one| one.key.starts_with(section)).unwrap_or(0);
            shown.insert(
                last + 1,
                Shown { key: secret.path, value, hidden: true, source: origin.to_string() },
            );
        }
        shown
    }

    fn show(&self, key: &'static Key) -> Shown {
        let path = key.path.as_str();
        if let Some(given) = self.made.get(path) {
            let (value, source) = (Some(given.value.clone()), given.origin.to_string());
            return Shown { key: path, value, hidden: false, source };
        }
        let (value, source) = match self.derived(path) {
            Some((value, from)) => (Some(value), format!("default: {from}")),
            None => (key.default_value(), "default".to_owned()),
        };
        Shown { key: path, value, hidden: false, source }
    }

    /// What holds for a key that follows others where it is not set.
    fn derived(&self, key: &str) -> Option<(Value, &'static str)> {
        let settings = &self.settings;
        let timing = settings.timing(settings.coordination.session_timeout);
        let broker = &settings.broker;
        let (text, from) = match key {
            "recovery.heartbeat" => (show_duration(timing.heartbeat), "from recovery.suspicion"),
            "recovery.lag" => (show_duration(timing.lag), "above the session timeout"),
            "recovery.step_down" => (show_duration(timing.step_down), "as recovery.lag"),
            "broker.uncommitted_limit" if broker.uncommitted_limit > broker.log_limit => {
                (show_bytes(broker.log_limit), "as broker.log_limit")
            }
            _ => return None,
        };
        Some((Value::String(text), from))
    }
}
