//! Which trouble has struck whom, and how the victim stood with the coordination service then.

use crate::actor::Actor;
use crate::cluster::Cluster;
use crate::coordination::Standing;
use crate::network::ProcessId;
use crate::plan::kinds::KINDS;
use std::fmt;
use std::iter;
use steadfast_core::time::Instant;

macro_rules! all {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $value:ident $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$doc])* $value,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$value),*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$value => $text,)* }
            }
        }
    };
}

all! {
    /// What a process is at some moment.
    Role {
        /// A broker that acts as primary.
        Primary "primary",
        /// Another broker that is in sync.
        Backup "backup",
        /// Any other broker.
        Learner "learner",
        /// The discovery replica that leads.
        Leader "discovery leader",
        /// Another discovery replica.
        Follower "discovery follower",
        /// A publisher.
        Publisher "publisher",
        /// A subscriber.
        Subscriber "subscriber",
        /// A process that does not run.
        Dead "dead",
    }
}

impl Role {
    /// What a process is now.
    pub fn of(cluster: &Cluster, process: ProcessId) -> Self {
        match cluster.world().node(process) {
            None => Self::Dead,
            Some(Actor::Broker(broker)) if broker.leads().is_some() => Self::Primary,
            Some(Actor::Broker(broker)) => {
                let member = &broker.id().member;
                let in_sync = cluster.state().is_some_and(|state| state.in_sync.contains(member));
                if in_sync { Self::Backup } else { Self::Learner }
            }
            // What it leads does not depend on the time.
            Some(Actor::Discovery(discovery)) if discovery.figures(Instant::from_nanos(u64::MAX)).leads => {
                Self::Leader
            }
            // No plan strikes a stranger or an operator.
            Some(Actor::Discovery(_) | Actor::Stranger(_) | Actor::Operator(_)) => Self::Follower,
            Some(Actor::Publisher(_)) => Self::Publisher,
            Some(Actor::Subscriber(_)) => Self::Subscriber,
        }
    }
}

/// One cell: a trouble, whom it struck, and how that one's session stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// The trouble's name.
    pub trouble: &'static str,
    /// Its victim.
    pub role: Role,
    /// The victim's session.
    pub session: Standing,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} × {}", self.trouble, self.role.name(), self.session.name())
    }
}

/// The troubles that are no [`KINDS`].
pub const OTHERS: [&str; 2] = ["shutdown", "total-loss"];

/// The name of every trouble.
pub fn troubles() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.name).chain(OTHERS)
}

impl Cell {
    /// Every cell, reachable or not.
    pub fn all() -> impl Iterator<Item = Self> {
        let roles = || Role::ALL.iter().copied();
        troubles().flat_map(move |trouble| {
            roles().flat_map(move |role| {
                let sessions = Standing::ALL.iter().copied();
                sessions.zip(iter::repeat(role)).map(move |(session, role)| Self { trouble, role, session })
            })
        })
    }

    /// Where a trouble would strike now.
    pub fn of(cluster: &Cluster, trouble: &'static str, victim: ProcessId) -> Self {
        let (role, session) = (Role::of(cluster, victim), cluster.world().standing(victim));
        Self { trouble, role, session }
    }

    /// Why nothing can ever strike here; `None`: something can.
    pub fn unreachable(&self) -> Option<&'static str> {
        let rule = UNREACHABLE.iter().find(|rule| {
            (rule.troubles.is_empty() || rule.troubles.contains(&self.trouble))
                && (rule.roles.is_empty() || rule.roles.contains(&self.role))
                && (rule.sessions.is_empty() || rule.sessions.contains(&self.session))
        });
        rule.map(|rule| rule.reason)
    }
}

/// Cells that nothing can reach. An empty list means all.
struct Rule {
    troubles: &'static [&'static str],
    roles: &'static [Role],
    sessions: &'static [Standing],
    reason: &'static str,
}

const CLIENTS: &[Role] = &[Role::Publisher, Role::Subscriber];
const ALIVE: &[Role] = &[
    Role::Primary,
    Role::Backup,
    Role::Learner,
    Role::Leader,
    Role::Follower,
    Role::Publisher,
    Role::Subscriber,
];

const UNREACHABLE: &[Rule] = &[
    Rule {
        troubles: &[],
        roles: CLIENTS,
        sessions: &[Standing::Connected, Standing::Suspended],
        reason: "clients have no session with the coordination service",
    },
    Rule {
        troubles: &[],
        roles: &[Role::Dead],
        sessions: &[Standing::Connected, Standing::Suspended],
        reason: "the session of a dead process is nobody's",
    },
    Rule {
        troubles: &[
            "cut-to-coordination",
            "cut-from-coordination",
            "cut-coordination",
            "heal-coordination",
            "drop-coordination",
            "new-coordination-leader",
            "stop-coordination",
            "cut-coordination-follower",
        ],
        roles: CLIENTS,
        sessions: &[],
        reason: "clients do not use the coordination service",
    },
    Rule {
        troubles: &["crash", "power-loss", "pause", "resume", "shutdown", "total-loss"],
        roles: &[Role::Dead],
        sessions: &[],
        reason: "it needs a process that runs",
    },
    Rule { troubles: &["restart"], roles: ALIVE, sessions: &[], reason: "only a dead process is started" },
    Rule {
        troubles: &["heal-coordination"],
        roles: &[],
        sessions: &[Standing::Connected],
        reason: "there is nothing to heal",
    },
    Rule {
        troubles: &["shutdown"],
        roles: CLIENTS,
        sessions: &[],
        reason: "only servers are asked to leave",
    },
    Rule {
        troubles: &["total-loss"],
        roles: &[Role::Leader, Role::Follower, Role::Publisher, Role::Subscriber],
        sessions: &[],
        reason: "it strikes brokers",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_cell_is_there_once_and_every_rule_rules_something_out() {
        let cells: BTreeSet<_> = Cell::all().collect();
        assert_eq!(cells.len(), Cell::all().count());
        assert_eq!(cells.len(), (KINDS.len() + OTHERS.len()) * Role::ALL.len() * Standing::ALL.len());
        for rule in UNREACHABLE {
            assert!(cells.iter().any(|cell| cell.unreachable() == Some(rule.reason)), "{}", rule.reason);
            assert!(rule.troubles.iter().all(|name| troubles().any(|it| it == *name)), "{:?}", rule.troubles);
        }
        let cell = Cell { trouble: "crash", role: Role::Primary, session: Standing::Connected };
        assert_eq!(cell.unreachable(), None);
    }
}
