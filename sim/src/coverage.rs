//! How often what a run should come to has happened.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use steadfast_core::trace::Trace;

/// Counts of marks: those that nodes' traces leave (see [`mark`]), and a few that a run leaves itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<String, u64>);

impl Coverage {
    /// It has happened once more.
    pub fn note(&mut self, mark: String) {
        *self.0.entry(mark).or_default() += 1;
    }

    /// How often it has happened. The first word of a mark stands for all that begin with it.
    pub fn count(&self, mark: &str) -> u64 {
        let all = self.0.range(mark.to_owned()..).take_while(|(other, _)| other.starts_with(mark));
        all.filter(|(other, _)| is_mark(other, mark)).map(|(_, count)| count).sum()
    }

    /// All marks and counts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(mark, count)| (mark.as_str(), *count))
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        for (mark, count) in &other.0 {
            *self.0.entry(mark.clone()).or_default() += count;
        }
    }
}

/// Whether a mark is the one that is meant, or begins with it.
pub fn is_mark(mark: &str, meant: &str) -> bool {
    mark.strip_prefix(meant).is_some_and(|rest| rest.is_empty() || rest.starts_with('('))
}

/// What a transition is called: its name, and in brackets its kind where it has several.
pub fn mark(trace: &Trace) -> String {
    let name = first_word(trace);
    match trace {
        Trace::Rejected { reason, .. } => format!("{name}({reason:?})"),
        Trace::Suspected { cause, .. } | Trace::Kept { cause, .. } => format!("{name}({cause:?})"),
        Trace::Proposed { change, .. } => format!("{name}({change:?})"),
        Trace::Resolved { change, outcome } => format!("{name}({change:?},{outcome:?})"),
        Trace::Leaves { departure } => format!("{name}({})", first_word(departure)),
        Trace::Session(state) => format!("{name}({})", first_word(state)),
        Trace::Busy { limit } => format!("{name}({limit:?})"),
        Trace::Detached { cause, .. } => format!("{name}({cause:?})"),
        _ => name,
    }
}

/// The name of a value's variant.
fn first_word(value: &impl fmt::Debug) -> String {
    struct Word(String);
    impl fmt::Write for Word {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
            self.0.push_str(&text[..end]);
            // No more than the first word is made.
            if end < text.len() { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut word = Word(String::new());
    let _ = write!(word, "{value:?}");
    word.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_core::group::Change;
    use steadfast_core::trace::Limit;

    #[test]
    fn a_mark_names_the_transition_and_its_kind() {
        assert_eq!(mark(&Trace::FellSilent), "FellSilent");
        assert_eq!(mark(&Trace::Trimmed { from: 1, to: 2 }), "Trimmed");
        assert_eq!(mark(&Trace::Busy { limit: Limit::LogBytes }), "Busy(LogBytes)");
        let proposed = Trace::Proposed { change: Change::Expand, epoch: 1, config: 2 };
        assert_eq!(mark(&proposed), "Proposed(Expand)");
    }

    #[test]
    fn a_first_word_counts_all_kinds_and_no_longer_words() {
        let mut coverage = Coverage::default();
        for mark in ["Kept(Silence)", "Kept(Refused)", "Kept", "KeptOn"] {
            coverage.note(mark.to_owned());
        }
        assert_eq!(
            (coverage.count("Kept"), coverage.count("Kept(Silence)"), coverage.count("Ke")),
            (3, 1, 0)
        );
    }
}
