//! How far a command is, on standard error: a line that changes on a terminal, a line now and then elsewhere.

use super::output::tell;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::thread;
use std::time::{Duration, Instant};

/// Between two of them on a terminal.
const SHOWN: Duration = Duration::from_secs(2);
/// The same in a log.
const LOGGED: Duration = Duration::from_secs(30);

/// Between two looks at whether the work is done.
const GLANCE: Duration = Duration::from_millis(5);

/// When to say how far it is.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    every: Duration,
    next: Instant,
    /// The line on the terminal is to be left before anything else is said.
    open: bool,
}

impl Progress {
    /// From now on.
    pub fn begin() -> Self {
        Self::at(Instant::now(), io::stderr().is_terminal())
    }

    fn at(now: Instant, terminal: bool) -> Self {
        let every = if terminal { SHOWN } else { LOGGED };
        Self { terminal, every, next: now + every, open: false }
    }

    /// Whether it is time for another line.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + self.every;
        }
        due
    }

    /// Says this, if it is time to.
    pub fn show<T: Display>(&mut self, line: impl FnOnce() -> T) {
        if !self.is_due(Instant::now()) {
            return;
        }
        if self.terminal {
            let mut out = io::stderr();
            let _ = write!(out, "\r{}   ", line()).and_then(|()| out.flush());
            self.open = true;
        } else {
            tell(line());
        }
    }
}

/// Does something that says nothing meanwhile, and says how long it has gone on.
pub fn beside<T: Send>(what: &str, work: impl FnOnce() -> T + Send) -> T {
    let begin = Instant::now();
    let mut progress = Progress::begin();
    thread::scope(|scope| {
        let worker = scope.spawn(work);
        while !worker.is_finished() {
            thread::sleep(GLANCE);
            progress.show(|| format!("{what} for {:.0} s", begin.elapsed().as_secs_f64()));
        }
        worker.join().expect("a panic of a run is caught, and is its result")
    })
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.open {
            tell("");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_every_thirty_seconds_without_a_terminal_and_more_often_on_one() {
        let begin = Instant::now();
        let lines = |terminal| {
            let mut progress = Progress::at(begin, terminal);
            (0..=120).filter(|second| progress.is_due(begin + Duration::from_secs(*second))).count()
        };
        assert_eq!([lines(false), lines(true)], [4, 60]);
    }
}
