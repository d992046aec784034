//! Why a command failed: one line with the cause and what to try.

use std::fmt;

/// Exit status of a job that failed.
pub const JOB_FAILED: u8 = 1;
/// Exit status of a command line that makes no sense.
pub const USAGE: u8 = 2;

/// A command that did not do its job.
#[derive(Debug)]
pub struct Failure {
    cause: String,
    remedy: Option<String>,
    status: u8,
}

impl Failure {
    /// What went wrong, and what the user can try.
    pub fn new(cause: impl fmt::Display, remedy: impl fmt::Display) -> Self {
        let remedy = Some(one_line(&remedy.to_string()));
        Self { cause: one_line(&cause.to_string()), remedy, status: JOB_FAILED }
    }

    /// A text that names cause and remedy already.
    pub fn complete(text: impl fmt::Display) -> Self {
        Self { cause: one_line(&text.to_string()), remedy: None, status: JOB_FAILED }
    }

    /// A command line or a configuration that makes no sense, in a text that names cause and remedy.
    pub fn usage(text: impl fmt::Display) -> Self {
        Self { status: USAGE, ..Self::complete(text) }
    }

    /// The exit status of the program.
    pub const fn status(&self) -> u8 {
        self.status
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.remedy {
            Some(remedy) => write!(f, "error: {}; {remedy}", self.cause),
            None => write!(f, "error: {}", self.cause),
        }
    }
}

/// A usage error of the parser, in one line: its first paragraph, and its tip or where the help is.
pub fn usage_line(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let cause = one_line(rendered.split("\n\n").next().unwrap_or_default());
    // Its other tips explain how to pass a flag's text as a value, which is never what was meant here.
    let tip = rendered.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    match tip.filter(|tip| tip.contains("similar")) {
        Some(tip) => format!("{cause}; {tip}"),
        None => format!("{cause}; try --help"),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line() {
        let failure = Failure::new("cannot\n read", "try\tagain");
        assert_eq!(failure.to_string(), "error: cannot read; try again");
        assert_eq!(Failure::complete("a; b").to_string(), "error: a; b");
        assert_eq!((failure.status(), Failure::usage("a").status()), (JOB_FAILED, USAGE));
    }
}
