//! What a broker is to do, and has not done so far, though it was awake and able to. Checkers of what comes too late
//! judge by that: nobody can do what it does not know of, or what something else has to come before.

use std::time::Duration;
use steadfast_core::id::Member;
use steadfast_core::limits::Timing;

/// Clocks may be slow.
pub const fn at_most(time: Duration) -> Duration {
    Duration::from_nanos(time.as_nanos() as u64 / 100 * 120)
}

/// How long what is due may take, by clocks that may be slow.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// A member that does not move is dropped.
    pub lag: Duration,
    /// A candidate waits for one that comes before it.
    pub turn: Duration,
    /// Whoever has failed tries again.
    pub retry: Duration,
    /// Whom nobody has followed leaves the lead to others.
    pub deposals: Duration,
    /// A follower that does not move is not waited for.
    pub learner: Duration,
    /// Who has left tells clients where to go.
    pub farewell: Duration,
}

impl Due {
    /// What these times come to.
    pub fn by(timing: &Timing) -> Self {
        Self {
            lag: at_most(timing.lag),
            turn: at_most(timing.heartbeat * 2),
            retry: at_most(timing.backoff_cap),
            deposals: at_most((timing.lag + timing.suspicion) * 2),
            learner: at_most(timing.suspicion * 2),
            farewell: at_most(timing.heartbeat * 2),
        }
    }
}

/// What a broker has not done so far.
#[derive(Clone, Copy, Debug)]
pub enum Duty<'a> {
    /// A primary is to have a member dropped, if it has reason to. Nothing stands against it.
    Drop {
        /// Whom.
        member: &'a Member,
        /// Its live node is gone, or that of a later process is there, as the primary knows.
        gone: bool,
        /// For so long it has neither moved nor said that it has everything.
        quiet: Duration,
    },
    /// An in-sync member is to stand for the lead.
    Stand {
        /// For so long it has known that its primary has no live node, and has been able to stand.
        time: Duration,
        /// So many candidates there are at the most.
        candidates: u32,
        /// It has led more than once, perhaps where nobody followed.
        led: bool,
        /// How much of that time was over when the latest round but one of reading the tree was complete.
        read: Duration,
        /// For so long it has not been reading the tree.
        idle: Duration,
    },
    /// A primary is to decide what is dropped of its log.
    Trim {
        /// So long ago it has appended the oldest batch that is committed.
        age: Duration,
    },
    /// A primary that holds publishers back for a follower is to let them go.
    Release {
        /// It has held them back for so long.
        time: Duration,
        /// For so long it has heard nothing of anybody who is not in sync.
        unheard: Duration,
    },
    /// A primary is to send streams what they have credit for.
    Deliver {
        /// It has not for so long.
        behind: Duration,
    },
    /// A broker that was asked to leave is to end.
    Leave {
        /// It was asked so long ago.
        asked: Duration,
        /// So long ago it led alone, and may have waited for somebody to copy what it holds; and so long ago it had
        /// heard of anybody who might by then.
        alone: Option<(Duration, Duration)>,
    },
    /// A broker that has left the group is to end: it only tells clients where to go.
    End {
        /// It has left so long ago.
        time: Duration,
    },
}
