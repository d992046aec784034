//! What is wrong with a configuration: one line each, with place, key, cause and remedy.

use std::fmt;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the configuration file.
    File {
        /// As it was named.
        path: String,
        /// Counted from one.
        line: usize,
    },
    /// An environment variable.
    Environment(&'static str),
    /// A command line flag.
    Flag(&'static str),
    /// What holds where nothing else is said.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Something that is wrong: a line that names place, key, cause and remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Problem(String);

impl Problem {
    /// Of a value, or of the place where it stands.
    pub fn at(origin: &Origin, text: impl fmt::Display) -> Self {
        match origin {
            Origin::Default => Self::new(text),
            _ => Self::new(format_args!("{origin}: {text}")),
        }
    }

    /// A line that names its place already. What came from a file cannot change how it is shown.
    pub(super) fn new(text: impl fmt::Display) -> Self {
        let line = text.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        Self(line.replace(char::is_control, "\u{fffd}"))
    }
}

/// Everything that is wrong with a configuration; at least one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Nothing, or what was found.
    pub(super) fn none_in(found: Vec<Problem>) -> Result<(), Self> {
        if found.is_empty() { Ok(()) } else { Err(Self(found)) }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl std::error::Error for Problems {}

/// One line: the first problem, and how many more there are.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0[0])?;
        match self.0.len() - 1 {
            0 => Ok(()),
            more => write!(f, " (and {more} more: steadfast config check)"),
        }
    }
}
