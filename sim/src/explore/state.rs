//! A state of the whole, small enough to be kept a million times: processes, trees and what the checkers
//! know are numbers into tables of everything that was ever met.

use super::Scope;
use super::process::{Answer, Slot};
use steadfast_core::coordination::SessionId;

/// Number of something in a table.
pub type Id = u32;

/// A choice: what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Time passes for a process.
    Tick(usize),
    /// The first frame on a connection arrives, at the side that dialled or at the other one.
    Deliver {
        /// Which connection.
        connection: usize,
        /// Whether to the side that was dialled.
        forward: bool,
    },
    /// The first frame on a connection arrives, and cannot be read.
    Damage {
        /// Which connection.
        connection: usize,
        /// Whether to the side that was dialled.
        forward: bool,
    },
    /// What a broker says to a client gets lost from here on; some time later the connection ends.
    Sever {
        /// Which connection.
        connection: usize,
    },
    /// A side of a connection learns that the connection is gone; what was under way to it vanishes.
    Lose {
        /// Which connection.
        connection: usize,
        /// Whether the side that was dialled.
        forward: bool,
    },
    /// A process learns what became of dialling.
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
    /// A broker's process stops for a while: it takes nothing in, and time passes for the others.
    Pause(usize),
    /// It goes on, with everything that has come for it meanwhile.
    Resume(usize),
    /// A process starts, empty.
    Start(usize),
    /// A broker is asked to leave.
    Shutdown(usize),
    /// The next change of a publisher's outbox is made.
    Stored(usize),
    /// A client's process dies, and another one goes on with what it has kept.
    Revive {
        /// Which client.
        client: usize,
        /// Whether the replica of discovery that it asks has heard of nothing since the beginning.
        astray: bool,
    },
    /// The tree ends the session of a broker's process that is dead.
    ExpireDead(usize),
    /// The tree ends the session of a broker that lives.
    Expire(usize),
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
    /// Whether nothing reaches who dialled any more.
    pub severed: bool,
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
    /// Processes that stop for a while.
    pub pauses: u8,
    /// Processes that are asked to leave.
    pub shutdowns: u8,
    /// Sessions of living processes that end.
    pub expiries: u8,
    /// Connections that break.
    pub resets: u8,
    /// Frames that cannot be read when they arrive.
    pub damages: u8,
    /// Answers that get lost.
    pub lost_answers: u8,
    /// Units of time that pass, for any broker.
    pub ticks: u8,
    /// Times that a client has had enough of waiting for an answer.
    pub timeouts: u8,
    /// Times that a client goes on with what it has put off.
    pub retries: u8,
    /// Clients' processes that die; others go on with what they have kept.
    pub revivals: u8,
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Each process, brokers first, then clients; `None` while there is none.
    pub processes: Vec<Option<Id>>,
    /// Which life each is in, or had last.
    pub lives: Vec<u8>,
    /// The broker that has stopped for a while, and how many units pass for others in that time.
    pub asleep: Option<(u8, u8)>,
    /// The sessions that dead processes have left behind, by broker.
    pub orphans: Vec<(u8, SessionId)>,
    /// Processes that have not heard yet that the tree, or the route, has changed.
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

impl Budget {
    /// Nothing goes wrong, and time stands still.
    pub const NONE: Self = Self {
        crashes: 0,
        pauses: 0,
        shutdowns: 0,
        expiries: 0,
        resets: 0,
        damages: 0,
        lost_answers: 0,
        ticks: 0,
        timeouts: 0,
        retries: 0,
        revivals: 0,
    };
}

impl State {
    /// Nobody has started.
    pub fn new(scope: &Scope, tree: Id, checks: Id) -> Self {
        Self {
            processes: vec![None; scope.processes()],
            lives: vec![0; scope.processes()],
            asleep: None,
            orphans: Vec::new(),
            unaware: vec![false; scope.processes()],
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

    /// The connection of which this process holds a side by this name, and whether it was dialled.
    pub fn connection(&mut self, process: usize, slot: Slot) -> Option<(&mut Connection, usize)> {
        let process = process as u8;
        self.connections.iter_mut().find_map(|connection| {
            if connection.open[0] && connection.from == (process, slot) {
                Some((connection, 0))
            } else if connection.open[1] && connection.to == (process, Some(slot)) {
                Some((connection, 1))
            } else {
                None
            }
        })
    }

    /// Whether a process takes input.
    pub fn is_awake(&self, process: u8) -> bool {
        self.asleep.is_none_or(|(asleep, _)| asleep != process)
    }

    /// Everything that may happen next, as far as the state alone tells.
    pub fn choices(&self, scope: &Scope) -> Vec<Action> {
        // What comes to a client comes at once, or never, or damaged: see [`super::client`].
        let heard = |it: &Connection| !scope.is_broker(it.from.0.into()) && !it.frames[0].is_empty();
        if let Some(connection) = self.connections.iter().position(heard) {
            let mut all = vec![Action::Deliver { connection, forward: false }];
            if self.may_end(&self.connections[connection], scope) {
                all.push(Action::Sever { connection });
            }
            if self.budget.damages > 0 {
                all.push(Action::Damage { connection, forward: false });
            }
            return all;
        }
        let mut all = Vec::new();
        for broker in 0..scope.brokers {
            self.choices_of_broker(broker, &mut all);
        }
        for connection in 0..self.connections.len() {
            self.choices_of_connection(connection, &mut all);
        }
        for write in 0..self.writes.len() {
            self.choices_of_write(write, &mut all);
        }
        for client in scope.brokers..self.processes.len() {
            self.choices_of_client(client, scope, &mut all);
        }
        all
    }

    /// Whether a client's connection may still end: its broker dies, or its client goes elsewhere.
    pub fn may_end(&self, connection: &Connection, scope: &Scope) -> bool {
        let Budget { crashes, shutdowns, expiries, resets, revivals, .. } = self.budget;
        let doubts = scope.budget.ticks > 0 || scope.budget.pauses > 0;
        doubts
            || !self.writes.is_empty()
            || [crashes, shutdowns, expiries, resets, revivals].iter().any(|left| *left > 0)
            || !connection.open[1]
    }

    fn choices_of_connection(&self, connection: usize, all: &mut Vec<Action>) {
        let it = &self.connections[connection];
        for (side, process) in [it.from.0, it.to.0].into_iter().enumerate() {
            let forward = side == 1;
            if !(it.up && it.open[side] && self.is_awake(process)) {
                continue;
            }
            if !it.frames[side].is_empty() {
                all.push(Action::Deliver { connection, forward });
                if self.budget.damages > 0 {
                    all.push(Action::Damage { connection, forward });
                }
            }
            let known = side == 0 || it.to.1.is_some();
            if known && (it.broken || !it.open[1 - side]) {
                all.push(Action::Lose { connection, forward });
            }
        }
        if !it.up && self.is_awake(it.from.0) {
            all.push(Action::Dialled { connection });
        } else if it.up && !it.broken && it.open == [true, true] && self.budget.resets > 0 {
            all.push(Action::Reset { connection });
        }
    }

    fn choices_of_write(&self, write: usize, all: &mut Vec<Action>) {
        let it = &self.writes[write];
        let first = |pending: bool| {
            let mut others = self.writes[..write].iter().filter(|other| other.session == it.session);
            !others.any(|other| !pending || other.answer.is_none())
        };
        if it.answer.is_none() && first(true) {
            all.push(Action::Apply { write });
        }
        if it.answer.is_some() && first(false) && self.is_awake(it.owner) {
            all.push(Action::Answer { write });
        }
        if it.fresh && self.budget.lost_answers > 0 && self.is_awake(it.owner) {
            all.push(Action::LoseAnswer { write });
        }
    }

    fn choices_of_broker(&self, broker: usize, all: &mut Vec<Action>) {
        let budget = &self.budget;
        if self.orphans.iter().any(|(owner, _)| usize::from(*owner) == broker) {
            all.push(Action::ExpireDead(broker));
        }
        if self.processes[broker].is_none() {
            return all.push(Action::Start(broker));
        }
        if !self.is_awake(broker as u8) {
            return all.extend([Action::Resume(broker), Action::Expire(broker)]);
        }
        let ticks = budget.ticks + self.asleep.map_or(0, |(_, ticks)| ticks);
        let pauses = if self.asleep.is_none() { budget.pauses } else { 0 };
        let faults = [
            (ticks, Action::Tick(broker)),
            (budget.crashes, Action::Crash(broker)),
            (pauses, Action::Pause(broker)),
            (budget.shutdowns, Action::Shutdown(broker)),
            (budget.expiries, Action::Expire(broker)),
        ];
        all.extend(faults.iter().filter(|(left, _)| *left > 0).map(|(_, action)| *action));
        if self.unaware[broker] {
            all.push(Action::Notify(broker));
        }
    }

    fn choices_of_client(&self, client: usize, scope: &Scope, all: &mut Vec<Action>) {
        let budget = &self.budget;
        if self.processes[client].is_none() {
            return all.push(Action::Start(client));
        }
        if budget.timeouts > 0 {
            all.push(Action::Tick(client));
        }
        if budget.revivals > 0 && (scope.outbox || !scope.is_publisher(client)) {
            all.push(Action::Stored(client));
            all.extend([false, true].map(|astray| Action::Revive { client, astray }));
        }
    }
}
