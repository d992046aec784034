//! A state of the whole, small enough to be kept a million times: brokers, trees and what the checkers
//! know are numbers into tables of everything that was ever met.

use super::Scope;
use super::broker::{Answer, Slot};
use steadfast_core::coordination::SessionId;

/// Number of something in a table.
pub type Id = u32;

/// A choice: what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Time passes for a broker.
    Tick(usize),
    /// The first frame on a connection arrives, at the side that dialled or at the other one.
    Deliver {
        /// Which connection.
        connection: usize,
        /// Whether to the side that was dialled.
        forward: bool,
    },
    /// A side of a connection learns that the connection is gone; what was under way to it vanishes.
    Lose {
        /// Which connection.
        connection: usize,
        /// Whether the side that was dialled.
        forward: bool,
    },
    /// A broker learns what became of dialling.
    Dialled {
        /// Which connection.
        connection: usize,
    },
    /// A connection breaks.
    Reset {
        /// Which connection.
        connection: usize,
    },
    /// The tree carries a conditional write out.
    Apply {
        /// Which one.
        write: usize,
    },
    /// A broker gets the answer to its conditional write.
    Answer {
        /// To which one.
        write: usize,
    },
    /// A broker is told that the fate of its write is unknown; the write may still be carried out.
    LoseAnswer {
        /// To which one.
        write: usize,
    },
    /// A broker hears that the tree has changed and reads it, or that its session is over.
    Notify(usize),
    /// A broker's process dies, and its memory with it.
    Crash(usize),
    /// A broker's process starts again, empty.
    Restart(usize),
    /// A broker is asked to leave.
    Shutdown(usize),
    /// The tree ends the session of a broker's process that is dead.
    ExpireDead(usize),
    /// The tree ends the session of a broker that lives.
    Expire(usize),
    /// The client opens its session at a broker.
    Open(usize),
    /// The client sends a broker the next record that the broker has not got.
    Publish(usize),
}

/// A connection: whoever dialled is one side, whoever was dialled the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection {
    /// Who dialled, and what it calls the link.
    pub from: (u8, Slot),
    /// Who was dialled, and what it calls the link once it has seen a frame.
    pub to: (u8, Option<Slot>),
    /// Whether anybody was there when it was dialled.
    pub up: bool,
    /// Whether it has broken.
    pub broken: bool,
    /// Whether each side still holds it: who dialled, who was dialled.
    pub open: [bool; 2],
    /// Frames under way to who dialled, and to who was dialled.
    pub frames: [Vec<Id>; 2],
}

/// A conditional write of the group's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    /// Whose.
    pub owner: u8,
    /// In which session.
    pub session: SessionId,
    /// What.
    pub data: Id,
    /// At which version.
    pub version: i32,
    /// Whether its answer still means something to its owner.
    pub fresh: bool,
    /// Its answer, once the tree has carried it out or refused it.
    pub answer: Option<Answer>,
}

/// Faults that may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Processes that die.
    pub crashes: u8,
    /// Processes that are asked to leave.
    pub shutdowns: u8,
    /// Sessions of living processes that end.
    pub expiries: u8,
    /// Connections that break.
    pub resets: u8,
    /// Answers that get lost.
    pub lost_answers: u8,
    /// Units of time that pass, for any broker.
    pub ticks: u8,
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Each broker's process; `None` while there is none.
    pub brokers: Vec<Option<Id>>,
    /// Which life each broker is in, or had last.
    pub lives: Vec<u8>,
    /// The sessions that dead processes have left behind, by broker.
    pub orphans: Vec<(u8, SessionId)>,
    /// Brokers that have not heard yet that the tree has changed.
    pub unaware: Vec<bool>,
    /// The tree.
    pub tree: Id,
    /// What the checkers know.
    pub checks: Id,
    /// All connections.
    pub connections: Vec<Connection>,
    /// Conditional writes that are under way, each broker's in order.
    pub writes: Vec<Write>,
    /// What may still go wrong.
    pub budget: Budget,
}

impl State {
    /// Nobody has started.
    pub fn new(scope: &Scope, tree: Id, checks: Id) -> Self {
        Self {
            brokers: vec![None; scope.brokers],
            lives: vec![0; scope.brokers],
            orphans: Vec::new(),
            unaware: vec![false; scope.brokers],
            tree,
            checks,
            connections: Vec::new(),
            writes: Vec::new(),
            budget: scope.budget,
        }
    }

    /// Puts what has no order into one, and lets go of what nobody holds.
    pub fn tidy(&mut self) {
        for connection in &mut self.connections {
            for side in 0..2 {
                if !connection.open[side] {
                    connection.frames[side].clear();
                }
            }
            // Whoever was dialled and has seen no frame knows nothing of it.
            if connection.to.1.is_none() && connection.frames[1].is_empty() && !connection.open[0] {
                connection.open[1] = false;
            }
        }
        self.connections.retain(|connection| connection.open != [false, false]);
        self.connections.sort();
        self.writes.sort_by_key(|write| write.owner);
        self.orphans.sort_unstable();
    }

    /// The connection of which this broker holds a side by this name, and whether it was dialled.
    pub fn connection(&mut self, broker: usize, slot: Slot) -> Option<(&mut Connection, usize)> {
        let broker = broker as u8;
        self.connections.iter_mut().find_map(|connection| {
            if connection.open[0] && connection.from == (broker, slot) {
                Some((connection, 0))
            } else if connection.open[1] && connection.to == (broker, Some(slot)) {
                Some((connection, 1))
            } else {
                None
            }
        })
    }

    /// Everything that may happen next, as far as the state alone tells.
    pub fn choices(&self) -> Vec<Action> {
        let mut all = Vec::new();
        for broker in 0..self.brokers.len() {
            self.choices_of(broker, &mut all);
        }
        for (connection, it) in self.connections.iter().enumerate() {
            for side in 0..2 {
                let forward = side == 1;
                if it.up && it.open[side] && !it.frames[side].is_empty() {
                    all.push(Action::Deliver { connection, forward });
                }
                let known = side == 0 || it.to.1.is_some();
                if it.up && it.open[side] && known && (it.broken || !it.open[1 - side]) {
                    all.push(Action::Lose { connection, forward });
                }
            }
            if !it.up {
                all.push(Action::Dialled { connection });
            } else if !it.broken && it.open == [true, true] && self.budget.resets > 0 {
                all.push(Action::Reset { connection });
            }
        }
        for (write, it) in self.writes.iter().enumerate() {
            let first = |pending: bool| {
                let mut others = self.writes[..write].iter().filter(|other| other.session == it.session);
                !others.any(|other| !pending || other.answer.is_none())
            };
            if it.answer.is_none() && first(true) {
                all.push(Action::Apply { write });
            }
            if it.answer.is_some() && first(false) {
                all.push(Action::Answer { write });
            }
            if it.fresh && self.budget.lost_answers > 0 {
                all.push(Action::LoseAnswer { write });
            }
        }
        all
    }

    fn choices_of(&self, broker: usize, all: &mut Vec<Action>) {
        if self.brokers[broker].is_none() {
            all.push(Action::Restart(broker));
        } else {
            let budget = &self.budget;
            let faults = [
                (budget.ticks, Action::Tick(broker)),
                (budget.crashes, Action::Crash(broker)),
                (budget.shutdowns, Action::Shutdown(broker)),
                (budget.expiries, Action::Expire(broker)),
            ];
            all.extend(faults.iter().filter(|(left, _)| *left > 0).map(|(_, action)| *action));
            all.extend([Action::Open(broker), Action::Publish(broker)]);
            if self.unaware[broker] {
                all.push(Action::Notify(broker));
            }
        }
        if self.orphans.iter().any(|(owner, _)| usize::from(*owner) == broker) {
            all.push(Action::ExpireDead(broker));
        }
    }
}
