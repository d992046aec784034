//! Texts of plans: one is refused, with a line and a reason, or reads the same when it is written again.

use crate::samples;
use steadfast_sim::plan::Plan;

/// The input is a plan's text.
pub fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    match text.parse::<Plan>() {
        Ok(plan) => {
            assert_eq!(plan.to_string().parse().as_ref(), Ok(&plan));
            assert_eq!(plan.counted().parse().as_ref(), Ok(&plan));
        }
        Err(error) => assert!(!error.reason.is_empty() && error.line <= text.lines().count() + 1),
    }
}

/// Plans that once broke something.
pub fn seeds() -> Vec<Vec<u8>> {
    samples::files("sim/regressions").into_iter().map(|(_, text)| text).collect()
}
