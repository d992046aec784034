//! How often what a run should come to has happened.

use crate::cluster::SITUATIONS;
use crate::matrix::troubles;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use steadfast_core::coordination::SessionState;
use steadfast_core::group::Change;
use steadfast_core::message::Departure;
use steadfast_core::trace::{Detachment, Limit, Outcome, Rejection, Suspicion, Trace};

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

/// What has variants with names.
trait Named {
    /// All of them.
    const NAMES: &'static [&'static str];

    /// The name of this one.
    fn name(&self) -> &'static str;
}

/// A variant that is missing here does not compile.
macro_rules! named {
    ($($type:ident { $($variant:ident)* })*) => {
        $(impl Named for $type {
            const NAMES: &'static [&'static str] = &[$(stringify!($variant)),*];

            fn name(&self) -> &'static str {
                match self { $(Self::$variant { .. } => stringify!($variant),)* }
            }
        })*
    };
}

named! {
    Trace {
        Rejected Session BadNode Registered GroupChanged Suspected Kept Proposed Resolved BecamePrimary
        EpochCommitted BecameBackup HandoverBegan HandoverFailed TakeOverIgnored Leaves SteppedDown
        FellSilent SpokeAgain FollowerAttached Truncated Trimmed SnapshotBegun SnapshotRefused Installed
        Wiped Halted Busy Throttled SessionOpened Uncompressed SessionExpired StreamOpened DiscoveryLeads
        DiscoveryFollows GroupCreated Routed Attached Detached StaleProcess
    }
    Rejection { Malformed Version TooLarge Checksum Unexpected WrongHistory }
    Suspicion { Silence Refused NotLive Replaced Leaving }
    Change { Promote Shrink Expand Replace GiveUp Reset }
    Outcome { Applied Superseded Unknown }
    Departure { Begun HandedOver Left GaveUp TimedOut }
    SessionState { Connected Suspended Expired }
    Limit { LogBytes UncommittedBytes Learner Sessions Streams HeadReads }
    Detachment { Lost Silence Rerouted Refused }
}

/// What a transition is called: its name, and in brackets its kind where it has several. See
/// [`transitions`] for all.
pub fn mark(trace: &Trace) -> String {
    let name = trace.name();
    let kind = match trace {
        Trace::Rejected { reason, .. } => reason.name(),
        Trace::Suspected { cause, .. } | Trace::Kept { cause, .. } => cause.name(),
        Trace::Proposed { change, .. } => change.name(),
        Trace::Resolved { change, outcome } => {
            return format!("{name}({},{})", change.name(), outcome.name());
        }
        Trace::Leaves { departure } => departure.name(),
        Trace::Session(state) => state.name(),
        Trace::Busy { limit } => limit.name(),
        Trace::Detached { cause, .. } => cause.name(),
        _ => return name.to_owned(),
    };
    format!("{name}({kind})")
}

/// Every mark that a transition can leave.
pub fn transitions() -> Vec<String> {
    let of = |name: &str| -> Vec<String> {
        let kinds = match name {
            "Rejected" => Rejection::NAMES,
            "Suspected" | "Kept" => Suspicion::NAMES,
            "Proposed" => Change::NAMES,
            "Leaves" => Departure::NAMES,
            "Session" => SessionState::NAMES,
            "Busy" => Limit::NAMES,
            "Detached" => Detachment::NAMES,
            "Resolved" => {
                let both =
                    Change::NAMES.iter().flat_map(|change| Outcome::NAMES.iter().map(move |it| (change, it)));
                return both.map(|(change, outcome)| format!("{name}({change},{outcome})")).collect();
            }
            _ => return vec![name.to_owned()],
        };
        kinds.iter().map(|kind| format!("{name}({kind})")).collect()
    };
    Trace::NAMES.iter().flat_map(|name| of(name)).collect()
}

/// The marks that a run leaves itself, besides a `strike` for each trouble and [`SITUATIONS`].
const OWN: [&str; 12] = [
    "cued",
    "copied",
    "closed",
    "drained",
    "second-process",
    "fenced",
    "recovered",
    "aside",
    "unknown",
    "lost",
    "core",
    "compressed",
];

/// Every mark that there is.
pub fn marks() -> Vec<String> {
    let strikes = troubles().map(|trouble| format!("strike({trouble})"));
    transitions()
        .into_iter()
        .chain(strikes)
        .chain(OWN.into_iter().chain(SITUATIONS).map(str::to_owned))
        .collect()
}

/// Marks that no generated plan can leave, and why.
pub const UNREACHABLE: &[(&str, &str)] = &[
    ("Rejected(Version)", "all simulated processes are of one version"),
    ("Rejected(TooLarge)", "all simulated brokers have memory for the same log"),
    ("BadNode", "nobody else writes to the simulated tree"),
    ("Halted", "a run in which a broker halts fails"),
    ("Kept(Leaving)", "a member that leaves is no cause to drop it: only a primary is suspected of that"),
    ("Leaves(Begun)", "it is told to the operator alone, and leaves no trace"),
    ("SnapshotRefused", "all simulated brokers have memory for the same log"),
    ("Busy(Sessions)", "a run has far fewer publishers than the limit"),
    ("Busy(Streams)", "a run has far fewer subscribers than the limit"),
    ("Busy(HeadReads)", "a run asks for far fewer heads than the limit"),
];

/// Why no generated plan can leave a mark; `None`: one can.
pub fn unreachable(mark: &str) -> Option<&'static str> {
    UNREACHABLE.iter().find(|(name, _)| *name == mark).map(|(_, reason)| *reason)
}

/// The name of a value's variant.
pub(crate) fn first_word(value: &impl fmt::Debug) -> String {
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
    use std::collections::BTreeSet;
    use steadfast_core::link::LinkId;

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

    #[test]
    fn every_mark_is_listed_once() {
        let all = marks();
        let listed: BTreeSet<_> = all.iter().cloned().collect();
        assert_eq!(listed.len(), all.len());
        let traces = [
            Trace::FellSilent,
            Trace::Busy { limit: Limit::Streams },
            Trace::Resolved { change: Change::Reset, outcome: Outcome::Unknown },
            Trace::Leaves { departure: Departure::Begun },
            Trace::Session(SessionState::Suspended),
            Trace::Detached { link: LinkId::dialled(1), cause: Detachment::Silence },
            Trace::Rejected { link: LinkId::dialled(1), reason: Rejection::Checksum },
        ];
        let unlisted = traces.iter().map(mark).find(|mark| !listed.contains(mark));
        assert_eq!(unlisted, None);
        assert!(listed.contains("strike(total-loss)"));
    }
}
