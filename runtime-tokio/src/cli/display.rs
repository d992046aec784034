//! Progress for people: a block that is drawn again and again on a terminal, plain lines elsewhere.

use rustix::termios::tcgetwinsize;
use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::time::{Duration, Instant};

/// Between status lines where there is no terminal.
const STATUS_PERIOD: Duration = Duration::from_secs(1);
/// Columns of a terminal that does not say how many it has.
const COLUMNS: usize = 80;

/// Where progress goes.
#[derive(Debug)]
pub struct Display {
    start: Instant,
    terminal: bool,
    to_stderr: bool,
    /// Nobody is there to watch.
    silent: bool,
    /// Lines of the block that are on the terminal.
    drawn: usize,
    status_at: Instant,
}

impl Display {
    /// On standard output, or on standard error where that is for the report alone.
    pub fn new(to_stderr: bool) -> Self {
        let start = Instant::now();
        let terminal = if to_stderr { stderr().is_terminal() } else { stdout().is_terminal() };
        Self { start, terminal, to_stderr, silent: false, drawn: 0, status_at: start }
    }

    /// On standard error if it is a terminal and somebody wants to see it, and nowhere else.
    pub fn on_terminal(wanted: bool) -> Self {
        let display = Self::new(true);
        Self { silent: !wanted || !display.terminal, ..display }
    }

    /// Something has happened.
    pub fn event(&mut self, text: &str) {
        let seconds = self.start.elapsed().as_secs_f64();
        let line = format!("{seconds:6.2} s  {text}\n");
        self.replace(&line);
    }

    /// How things stand: on a terminal the block, elsewhere now and then the status line.
    pub fn status(&mut self, block: &[String], status: &str) {
        if self.terminal {
            let columns = tcgetwinsize(stdout()).map_or(COLUMNS, |size| usize::from(size.ws_col).max(20));
            let cut = |line: &String| line.chars().take(columns - 1).chain(['\n']).collect::<String>();
            let text: String = block.iter().map(cut).collect();
            self.replace(&text);
            self.drawn = block.len();
        } else if self.status_at.elapsed() >= STATUS_PERIOD {
            self.status_at = Instant::now();
            self.event(status);
        }
    }

    /// The last block stays on the terminal.
    pub fn end(&mut self) {
        self.drawn = 0;
    }

    fn replace(&mut self, text: &str) {
        let up = match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        };
        let bytes = format!("{up}{text}");
        if self.silent {
            return;
        }
        // A reader that is gone changes nothing for the job.
        let _ = if self.to_stderr {
            stderr().write_all(bytes.as_bytes())
        } else {
            stdout().write_all(bytes.as_bytes()).and_then(|()| stdout().flush())
        };
    }
}

/// What is to be done, and how much of it is.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// It ends when it ends.
    Open,
    /// So many records.
    Records(u64),
    /// So long, from then on.
    Time(Instant, Duration),
    /// So many steps of so many.
    Steps(u32, u32),
}

impl Goal {
    /// A bar, when so many records are done. None: nobody knows.
    pub fn bar(&self, records: u64) -> Option<String> {
        let share = match self {
            Self::Open => return None,
            Self::Records(all) => records as f64 / *all as f64,
            Self::Time(begin, time) => begin.elapsed().as_secs_f64() / time.as_secs_f64(),
            Self::Steps(done, all) => f64::from(*done) / f64::from(*all),
        };
        Some(bar(share))
    }
}

/// How much is done, from 0 to 1.
fn bar(share: f64) -> String {
    const WIDTH: usize = 40;
    let share = share.clamp(0.0, 1.0);
    let done = (share * WIDTH as f64) as usize;
    format!("  [{}{}] {:3.0} %", "#".repeat(done), "-".repeat(WIDTH - done), share * 100.0)
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration in milliseconds, to a tenth.
pub fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_how_much_is_done() {
        assert!(Goal::Open.bar(7).is_none());
        let half = Goal::Records(10).bar(5).unwrap();
        assert_eq!((half.matches('#').count(), half.contains(" 50 %")), (20, true));
        assert!(Goal::Steps(3, 3).bar(0).unwrap().contains("100 %"));
        assert!(Goal::Records(10).bar(11).unwrap().contains("100 %"), "never more than all");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
        cases.iter().for_each(|(number, text)| assert_eq!(grouped(*number), *text));
        assert_eq!(millis(Duration::from_micros(1_260)), 1.3);
    }
}
