//! Where commands write: results to standard output, in this place alone, everything else to standard error.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};

/// Why a command has ended before its end.
#[derive(Debug)]
pub enum Stop {
    /// It could not be carried out: why, and what would be right.
    Refused(String),
    /// Standard output takes no more.
    Output(io::Error),
}

impl From<String> for Stop {
    fn from(reason: String) -> Self {
        Self::Refused(reason)
    }
}

/// What a command comes to.
pub type Carried = Result<Verdict, Stop>;

/// How a command ended, if it could be carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Every property held.
    #[default]
    Good,
    /// One did not.
    Bad,
    /// None was seen not to hold, and it was stopped before its end.
    Unfinished,
}

/// Prints a line on standard output.
pub fn say(line: impl Display) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Stop::Output)
}

/// Prints lines on standard output.
pub fn say_all<T: Display>(lines: impl IntoIterator<Item = T>) -> Result<(), Stop> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = lines.into_iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
    // What could not be written is not tried again.
    drop(out.into_parts());
    written.map_err(Stop::Output)
}

/// Says a line on standard error. That nobody can take it changes nothing.
pub fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// What was found stands, whether or not its reader has stayed for all of it.
pub fn found(verdict: Verdict, printed: Result<(), Stop>) -> Carried {
    match printed {
        Err(Stop::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(verdict),
        printed => printed.map(|()| verdict),
    }
}
