//! Every key that there is, from the definition of the settings.

use super::settings::Settings;
use confique::Config as _;
use confique::meta::{Expr, FieldKind, LeafKind, Meta};
use std::sync::LazyLock;
use toml::Value;

/// A key, for example `recovery.lag`.
#[derive(Debug)]
pub struct Key {
    /// With its sections: `broker.retention.age`.
    pub path: String,
    /// Its environment variable.
    pub variable: &'static str,
    default: Option<&'static Expr>,
    /// What it means: lines of text.
    pub doc: &'static [&'static str],
}

impl Key {
    /// Its default as a value of the file.
    pub fn default_value(&self) -> Option<Value> {
        self.default.map(|default| Value::try_from(default).expect("a default is a value of the file"))
    }

    /// Its default as it is written for a flag.
    pub fn default_text(&self) -> Option<String> {
        self.default_value().map(|value| match value {
            Value::String(text) => text,
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        })
    }

    /// Its section: `broker.retention`.
    pub fn section(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// Its last name: `age`.
    pub fn name(&self) -> &str {
        self.path.rsplit_once('.').map_or(&self.path, |(_, name)| name)
    }
}

/// A section, for example `broker.retention`.
#[derive(Debug)]
pub struct Section {
    /// With the sections that it stands in.
    pub path: String,
    /// What it is for: lines of text.
    pub doc: &'static [&'static str],
}

/// A value that is no key of the file: it comes from an environment variable, or from a file that a
/// key names.
#[derive(Debug)]
pub struct SecretKey {
    /// As it would be called in the file.
    pub path: &'static str,
    /// Its environment variable.
    pub variable: &'static str,
    /// The key that names its file.
    pub file_key: &'static str,
    /// What it is.
    pub doc: &'static str,
}

/// What authenticates at ZooKeeper.
pub const CREDENTIAL: SecretKey = SecretKey {
    path: "coordination.credential",
    variable: "STEADFAST_COORDINATION_CREDENTIAL",
    file_key: "coordination.credential_file",
    doc: "the credential for ZooKeeper, for `digest` USER:PASSWORD",
};
/// What authenticates at InfluxDB.
pub const TOKEN: SecretKey = SecretKey {
    path: "metrics.token",
    variable: "STEADFAST_METRICS_TOKEN",
    file_key: "metrics.token_file",
    doc: "the token for InfluxDB",
};
/// All secrets.
pub const SECRETS: [&SecretKey; 2] = [&CREDENTIAL, &TOKEN];

/// The environment variable that names the file.
pub const FILE_VARIABLE: &str = "STEADFAST_CONFIG";

struct Definition {
    sections: Vec<Section>,
    keys: Vec<Key>,
}

static DEFINITION: LazyLock<Definition> = LazyLock::new(|| {
    let mut definition = Definition { sections: Vec::new(), keys: Vec::new() };
    define("", &Settings::META, &mut definition);
    definition
});

fn define(section: &str, meta: &'static Meta, definition: &mut Definition) {
    for field in meta.fields {
        let path = match section {
            "" => field.name.to_owned(),
            _ => format!("{section}.{}", field.name),
        };
        match &field.kind {
            FieldKind::Nested { meta } => {
                definition.sections.push(Section { path: path.clone(), doc: field.doc });
                define(&path, meta, definition);
            }
            FieldKind::Leaf { env, kind } => {
                let default = match kind {
                    LeafKind::Required { default } => default.as_ref(),
                    LeafKind::Optional => None,
                };
                let variable = env.expect("every setting names its environment variable");
                definition.keys.push(Key { path, variable, default, doc: field.doc });
            }
        }
    }
}

/// Every key, in the order of the reference page.
pub fn keys() -> &'static [Key] {
    &DEFINITION.keys
}

/// Every section, in the order of the reference page.
pub fn sections() -> &'static [Section] {
    &DEFINITION.sections
}

/// The key with this path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    keys().iter().find(|key| key.path == path)
}

/// What was probably meant: the most similar of these, if it is similar enough.
pub(super) fn similar<'a>(word: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// As clap has it for flags.
    const ENOUGH: f64 = 0.7;
    let scored = among.map(|candidate| (strsim::jaro(word, candidate), candidate));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 > ENOUGH).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn variables_are_named_after_their_keys() {
        assert!(keys().len() > 30);
        for key in keys() {
            let expected = format!("STEADFAST_{}", key.path.replace('.', "_").to_uppercase());
            assert_eq!(key.variable, expected);
            assert!(!key.doc.is_empty(), "{}", key.path);
        }
        for secret in SECRETS {
            assert!(find(secret.path).is_none() && find(secret.file_key).is_some());
        }
        let variables: BTreeSet<_> = keys().iter().map(|key| key.variable).collect();
        assert_eq!(variables.len(), keys().len());
        assert!(!variables.contains(FILE_VARIABLE));
    }

    #[test]
    fn near_misses_are_found() {
        let names = || ["session_timeout", "connect_timeout", "chroot"].into_iter();
        assert_eq!(similar("sesion_timeout", names()), Some("session_timeout"));
        assert_eq!(similar("zzz", names()), None);
    }
}
