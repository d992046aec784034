//! DepartureDue (R27, R34): a broker that was asked to leave is gone five seconds later, unless it alone holds the
//! data; then five seconds after it could last wait for whoever copies that, for which it has a minute.
//! When it has left the group it only tells clients where to go, for two heartbeats.

use super::duty::{Due, Duty, at_most};
use super::{Check, Fact, Kind, Ledger};
use std::time::Duration;
use steadfast_core::limits::{LEARNER_DEADLINE, SHUTDOWN_DEADLINE};

/// It waits for so long at the most for whatever else is to come.
const TERM: Duration = at_most(SHUTDOWN_DEADLINE);
/// And for so long with all that.
const ALL: Duration = at_most(LEARNER_DEADLINE.saturating_add(SHUTDOWN_DEADLINE));

/// The property.
#[derive(Clone, Debug)]
pub struct DepartureDue {
    due: Due,
}

impl DepartureDue {
    /// Whoever copies is waited for while it moves: until the lag threshold after it was heard at the most.
    pub const fn within(due: Due) -> Self {
        Self { due }
    }
}

impl Check for DepartureDue {
    fn name(&self) -> &'static str {
        "DepartureDue"
    }

    fn hears(&self) -> &'static [Kind] {
        &[Kind::Owes]
    }

    fn check(&mut self, _: &Ledger, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Owes(process, duty) = *fact else { return Ok(()) };
        if let Duty::End { time } = duty
            && time > self.due.farewell
        {
            return Err(format!("{process:?} has left {time:?} ago, and is there"));
        }
        let Duty::Leave { asked, alone } = duty else { return Ok(()) };
        // Whoever was not alone waited for nobody.
        let waited =
            alone.map_or(asked, |(alone, heard)| alone.max(heard.saturating_sub(self.due.lag)).min(asked));
        match waited > TERM || asked > ALL {
            false => Ok(()),
            true => Err(format!(
                "{process:?} was asked to leave {asked:?} ago, has waited for nobody for {waited:?}, and is there"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::testing::*;
    use steadfast_core::limits::Timing;

    fn due() -> Due {
        let lag = Duration::from_secs(3);
        Due { lag, ..Due::by(&Timing::default()) }
    }

    fn stays(asked: u64, alone: Option<(u64, u64)>) -> Story<DepartureDue> {
        let mut story = Story::new(DepartureDue::within(due()));
        let seconds = Duration::from_secs;
        let alone = alone.map(|(alone, heard)| (seconds(alone), seconds(heard)));
        story.tell(&Fact::Owes(&process("a"), Duty::Leave { asked: seconds(asked), alone }));
        story
    }

    #[test]
    fn who_leaves_has_its_time() {
        stays(6, None).accepted();
    }

    #[test]
    fn who_alone_holds_the_data_has_a_minute_more() {
        stays(78, Some((6, 6))).accepted();
        stays(78, Some((0, 9))).accepted();
    }

    #[test]
    fn who_stays_for_longer_is_rejected() {
        stays(7, None).rejected("was asked to leave 7s ago");
        stays(9, Some((7, 7))).rejected("was asked to leave 9s ago");
    }

    fn left(ms: u64) -> Story<DepartureDue> {
        let mut story = Story::new(DepartureDue::within(due()));
        story.tell(&Fact::Owes(&process("a"), Duty::End { time: Duration::from_millis(ms) }));
        story
    }

    #[test]
    fn who_has_left_tells_clients_so() {
        left(120).accepted();
    }

    #[test]
    fn who_does_not_end_then_is_rejected() {
        left(121).rejected("has left 121ms ago");
    }

    #[test]
    fn who_waits_for_nobody_is_rejected() {
        stays(10, Some((0, 10))).rejected("was asked to leave 10s ago");
    }

    #[test]
    fn who_waits_for_ever_is_rejected() {
        stays(79, Some((0, 0))).rejected("was asked to leave 79s ago");
    }
}
