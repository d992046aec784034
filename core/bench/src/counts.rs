//! Instructions for each delivered record: those that are kept in a file, and those that were counted now.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A count may differ by this share from the one that is kept.
pub const TOLERANCE: f64 = 0.05;

/// Counts, and what they belong to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// The compiler's own words on its version, and the architecture.
    pub compiler: String,
    /// Instructions for each delivered record, by the name of the case.
    pub instructions: BTreeMap<String, f64>,
}

/// What comparing counts has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// A line for each case, and what to do.
    pub text: String,
    /// Whether every count is within the tolerance.
    pub is_same: bool,
}

impl Counts {
    /// Compares counts of now with those that are kept. Better ones have to be kept too: a later change
    /// could lose again what this one has won.
    pub fn compare(&self, kept: &Self) -> Comparison {
        let mut text = String::new();
        let (mut more, mut others) = (false, kept.instructions.len() != self.instructions.len());
        for (case, &counted) in &self.instructions {
            let verdict = match kept.instructions.get(case) {
                None => {
                    others = true;
                    "no count is kept".to_owned()
                }
                Some(&kept) => {
                    let change = counted / kept - 1.0;
                    let beyond = change.abs() > TOLERANCE;
                    more |= beyond && change > 0.0;
                    others |= beyond && change < 0.0;
                    format!("{kept:>12.1} kept {:>+7.1} %{}", 100.0 * change, mark(beyond, change))
                }
            };
            writeln!(text, "{case:<18}{counted:>12.1} instructions a record {verdict}").expect("to a string");
        }
        if more {
            text += SLOWER;
        } else if others {
            text += BETTER;
        }
        if (more || others) && self.compiler != kept.compiler {
            let (now, then) = (&self.compiler, &kept.compiler);
            writeln!(
                text,
                "The compiler is another one: {now} now, {then} then. That alone may be the reason."
            )
            .expect("to a string");
        }
        Comparison { text, is_same: !more && !others }
    }
}

const fn mark(beyond: bool, change: f64) -> &'static str {
    match (beyond, change > 0.0) {
        (false, _) => "",
        (true, true) => "  MORE",
        (true, false) => "  fewer",
    }
}

const SLOWER: &str = "\
The hot path takes more instructions than before, beyond the tolerance.
Where they are: callgrind_annotate target/release/callgrind.CASE (beside that of the commit before).
If they are worth it, keep the new counts, and say why in the commit:
    cargo run --release -p steadfast-bench -- accept
";

const BETTER: &str = "\
The counts that are kept are not those of this program any more: nothing is slower.
Keep the new ones, so that what was won is not lost unseen:
    cargo run --release -p steadfast-bench -- accept
";

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(compiler: &str, of: &[(&str, f64)]) -> Counts {
        let instructions = of.iter().map(|&(case, count)| (case.to_owned(), count)).collect();
        Counts { compiler: compiler.to_owned(), instructions }
    }

    fn compare(before: f64, now: f64) -> Comparison {
        counts("rustc 2", &[("lone", now)]).compare(&counts("rustc 1", &[("lone", before)]))
    }

    #[test]
    fn within_the_tolerance_nothing_is_said() {
        for now in [95.1, 100.0, 104.9] {
            let Comparison { text, is_same } = compare(100.0, now);
            assert!(is_same && text.lines().count() == 1, "{text}");
        }
    }

    #[test]
    fn more_instructions_are_refused_with_the_remedy() {
        let Comparison { text, is_same } = compare(100.0, 105.1);
        assert!(!is_same && text.contains("+5.1 %  MORE") && text.contains("-- accept"), "{text}");
        assert!(text.contains("rustc 2 now, rustc 1 then"), "{text}");
    }

    #[test]
    fn fewer_instructions_are_to_be_kept() {
        let Comparison { text, is_same } = compare(100.0, 94.9);
        assert!(!is_same && text.contains("nothing is slower") && text.contains("-- accept"), "{text}");
    }

    #[test]
    fn a_case_that_only_one_side_knows_is_noticed() {
        let (one, two) = (counts("", &[("a", 1.0)]), counts("", &[("a", 1.0), ("b", 1.0)]));
        assert!(!one.compare(&two).is_same && !two.compare(&one).is_same);
    }

    #[test]
    fn one_case_that_is_worse_is_not_made_good_by_another() {
        let now = counts("", &[("a", 2.0), ("b", 1.0)]);
        let Comparison { text, is_same } = now.compare(&counts("", &[("a", 1.0), ("b", 2.0)]));
        assert!(!is_same && text.contains("hot path takes more"), "{text}");
    }
}
