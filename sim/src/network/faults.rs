//! What goes wrong in the network, and is put right.

use super::{ConnectionId, Effects, End, Happening, Network};
use crate::network::ProcessId;
use crate::random::Purpose;
use std::time::Duration;
use steadfast_core::link::{Frame, LinkStatus};

impl Network {
    /// Holds back packets from one process to another. Says no when they are already.
    pub fn cut(&mut self, from: ProcessId, to: ProcessId) -> bool {
        !std::mem::replace(&mut self.ways.entry((from, to)).or_default().cut, true)
    }

    /// Whether packets from one process to another are held back.
    pub fn is_cut(&self, from: ProcessId, to: ProcessId) -> bool {
        self.ways.get(&(from, to)).is_some_and(|way| way.cut)
    }

    /// Lets packets flow again, those held back included.
    pub fn heal(&mut self, now: u64, from: ProcessId, to: ProcessId) -> Effects {
        let mut effects = Effects::default();
        if !self.is_cut(from, to) {
            return effects;
        }
        self.ways.entry((from, to)).or_default().cut = false;
        for (id, end) in self.ends_between(to, from) {
            let at = now + self.latency(from, to);
            self.release(at, id, end, &mut effects);
        }
        effects
    }

    /// Breaks every connection between two processes. Each end notices in its own time.
    pub fn reset(&mut self, now: u64, a: ProcessId, b: ProcessId) -> Effects {
        let mut effects = Effects::default();
        for (id, end) in self.ends_between(a, b) {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            connection.broken = true;
            for side in [end, 1 - end] {
                let delay = self.draws.within(Purpose::HalfOpen, id, side as u64, self.config.half_open);
                effects.later.push((now + delay, Happening::Broken(id, side)));
            }
        }
        effects
    }

    /// One process loses its ends of all connections to another, which is told nothing.
    pub fn half_open(&mut self, loser: ProcessId, other: ProcessId) -> Effects {
        let mut effects = Effects::default();
        for (id, end) in self.ends_between(loser, other) {
            self.lose(id, end, LinkStatus::Lost, &mut effects);
        }
        effects
    }

    /// Nothing arrives any more on the connections between two processes.
    pub fn vanish(&mut self, a: ProcessId, b: ProcessId) {
        for (id, _) in self.ends_between(a, b) {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.broken = true;
            }
        }
    }

    /// What is under way from one process to another, and what follows on the same connections, does
    /// not arrive before this time has passed.
    pub fn delay(&mut self, now: u64, from: ProcessId, to: ProcessId, by: Duration) -> Effects {
        let mut effects = Effects::default();
        let until = now + by.as_nanos() as u64;
        for (id, end) in self.ends_between(to, from) {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.pipes[end].delay(until);
                effects.later.push((until, Happening::Delayed(id, end)));
            }
        }
        effects
    }

    /// From now on packets from one process to another take so much longer. Says whether that is a
    /// change.
    pub fn lag(&mut self, from: ProcessId, to: ProcessId, by: Duration) -> bool {
        let by = by.as_nanos() as u64;
        std::mem::replace(&mut self.ways.entry((from, to)).or_default().lag, by) != by
    }

    /// How much longer packets from one process to another take since the last [`Network::lag`].
    pub fn lag_of(&self, from: ProcessId, to: ProcessId) -> Duration {
        self.ways.get(&(from, to)).map_or(Duration::ZERO, |way| Duration::from_nanos(way.lag))
    }

    /// Whether some of the frames from one process to another are damaged.
    pub fn is_damaged(&self, from: ProcessId, to: ProcessId) -> bool {
        self.ways.get(&(from, to)).is_some_and(|way| way.damaged > 0)
    }

    /// From now on so many in a thousand frames from one process to another are damaged. Says whether that is a
    /// change.
    pub fn damages(&mut self, from: ProcessId, to: ProcessId, permille: u32) -> bool {
        std::mem::replace(&mut self.ways.entry((from, to)).or_default().damaged, permille) != permille
    }

    /// What becomes of a frame that is damaged on its way: one byte of its envelope, or of a body, is another one.
    /// `None`: it is whole. The first byte of an envelope names a field that there must be: whoever reads it can tell.
    pub(super) fn damage(&mut self, way: (ProcessId, ProcessId), frame: &Frame) -> Option<Frame> {
        let permille = self.ways.get(&way).map_or(0, |way| way.damaged);
        if permille == 0 {
            return None;
        }
        let number = self.ways.get(&way).map_or(0, |way| way.sent);
        let entity = way.0.entity() << 32 | way.1.entity();
        let draw = |which, bound| self.draws.below(Purpose::Damage, entity, number << 2 | which, bound);
        if draw(0, 1_000) >= u64::from(permille) {
            return None;
        }
        let part = draw(1, frame.parts.len().max(1) as u64) as usize;
        let mut damaged = frame.clone();
        let bytes = damaged.parts.get_mut(part).filter(|bytes| !bytes.is_empty())?;
        let place = if part == 0 { 0 } else { draw(2, bytes.len() as u64) as usize };
        let mut changed = bytes.to_vec();
        changed[place] = !changed[place];
        *bytes = changed.into();
        Some(damaged)
    }

    /// The frame of this number to this end is damaged.
    pub(super) fn note_damage(&mut self, id: ConnectionId, end: usize, number: u64) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.ends[end].marks.damaged.push_back(number);
        }
    }

    /// Whether the process takes nothing from its links.
    pub fn is_deaf(&self, process: ProcessId) -> bool {
        self.deaf.contains(&process)
    }

    /// The process takes nothing from its links any more. Says no when it did not before.
    pub fn stop_reading(&mut self, process: ProcessId) -> bool {
        self.deaf.insert(process)
    }

    /// The process reads again; `None` when it does already.
    pub fn read_again(&mut self, now: u64, process: ProcessId) -> Option<Effects> {
        if !self.deaf.remove(&process) {
            return None;
        }
        let mut effects = Effects::default();
        for (id, end) in self.ends_where(|ends, end| ends[end].process == process) {
            self.release(now, id, end, &mut effects);
        }
        Some(effects)
    }

    /// What was held back on the way to an end arrives at this time.
    pub(super) fn release(&mut self, at: u64, id: ConnectionId, end: usize, effects: &mut Effects) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let released = connection.pipes[end].release(at);
        effects.later.extend(released.map(|at| (at, Happening::Arrival(id, end))));
    }

    /// The ends of the first process of all its connections to the second.
    fn ends_between(&self, holder: ProcessId, peer: ProcessId) -> Vec<(ConnectionId, usize)> {
        let between =
            |ends: &[End; 2], end: usize| ends[end].process == holder && ends[1 - end].process == peer;
        self.ends_where(between)
    }
}
