//! What a fault does to a world, and what is wrong with its ways.

use super::{Cause, Life, Step, World};
use crate::coordination::{self, Ensemble};
use crate::fault::Fault;
use crate::fingerprint::Digest;
use crate::network::{Host, ProcessId};
use std::fmt;
use std::time::Duration;
use steadfast_core::node::{Input, Node};
use steadfast_core::storage;

impl<N: Node> World<N>
where
    N::Command: fmt::Debug,
    N::Event: fmt::Debug + Digest,
{
    /// Whether packets from one process to another are held back.
    pub fn is_cut(&self, from: ProcessId, to: ProcessId) -> bool {
        self.network.is_cut(from, to)
    }

    /// Whether some of the frames from one process to another are damaged.
    pub fn is_damaged(&self, from: ProcessId, to: ProcessId) -> bool {
        self.network.is_damaged(from, to)
    }

    /// How much longer than usual packets from one process to another take.
    pub fn lag(&self, from: ProcessId, to: ProcessId) -> Duration {
        self.network.lag_of(from, to)
    }

    /// Applies a fault at once. Returns what came of it; `None` where it makes no sense.
    pub fn strike(&mut self, fault: Fault) -> Option<Step<N::Event>> {
        let step = self.apply(fault)?;
        self.record(&step);
        Some(step)
    }

    /// The same, for [`World::step`] to record.
    pub(super) fn apply(&mut self, fault: Fault) -> Option<Step<N::Event>> {
        match fault {
            Fault::Exit(process) => self.kill(process, Host::Refusing)?,
            Fault::Crash(process) => self.die(process, Host::Refusing)?,
            Fault::PowerLoss(process) => self.die(process, Host::Silent)?,
            Fault::Restart(process) => return self.start(process),
            Fault::Pause(process) => self.pause(process)?,
            Fault::Resume(process) => self.resume(process)?,
            Fault::Slow(process, cost) => self.slow(process, cost)?,
            Fault::ClockRate(process, drift) => self.drift(process, drift)?,
            Fault::ClockJump(process, by) => self.jump(process, by)?,
            Fault::LimitMemory(process, limit) => self.limit_memory(process, limit)?,
            Fault::StopStoring(process) => self.stall(process, true)?,
            Fault::StoreAgain(process) => self.stall(process, false)?,
            Fault::CutToCoordination(process) => self.coordinate(process, Ensemble::cut_to),
            Fault::CutFromCoordination(process) => self.coordinate(process, Ensemble::cut_from),
            Fault::HealCoordination(process) if !self.ensemble.is_cut(process) => return None,
            Fault::HealCoordination(process) => self.coordinate(process, Ensemble::heal),
            Fault::DropCoordination(process) => self.coordinate(process, Ensemble::drop_connection),
            Fault::NewLeader => self.rearrange(Ensemble::elect)?,
            Fault::StopCoordination => self.rearrange(Ensemble::stop_servers)?,
            Fault::StartCoordination => self.rearrange(Ensemble::start_servers)?,
            Fault::CutFollower => self.rearrange(Ensemble::cut_follower)?,
            Fault::HealFollower => self.rearrange(Ensemble::heal_follower)?,
            _ => self.disturb(fault)?,
        }
        let process = fault.process().unwrap_or(ProcessId(0));
        Some(Step { at: self.now(), process, cause: Cause::Fault(fault), outputs: Vec::new() })
    }

    /// A fault of the network.
    fn disturb(&mut self, fault: Fault) -> Option<()> {
        let now = self.now();
        let network = &mut self.network;
        let effects = match fault {
            Fault::Cut(from, to) => return network.cut(from, to).then_some(()),
            Fault::Heal(from, to) if !network.is_cut(from, to) => return None,
            Fault::Heal(from, to) => network.heal(now, from, to),
            Fault::Reset(a, b) => network.reset(now, a, b),
            Fault::HalfOpen(loser, other) => network.half_open(loser, other),
            Fault::Vanish(a, b) => {
                network.vanish(a, b);
                return Some(());
            }
            Fault::Delay(from, to, by) => network.delay(now, from, to, by),
            Fault::Lag(from, to, by) => return network.lag(from, to, by).then_some(()),
            Fault::Damage(from, to, permille) => {
                return network.damages(from, to, permille).then_some(());
            }
            Fault::StopReading(process) => return network.stop_reading(process).then_some(()),
            Fault::ReadAgain(process) => network.read_again(now, process)?,
            _ => return None,
        };
        self.absorb(effects);
        Some(())
    }

    fn coordinate(
        &mut self,
        process: ProcessId,
        act: fn(&mut Ensemble, u64, ProcessId) -> coordination::Effects,
    ) {
        let effects = act(&mut self.ensemble, self.queue.now(), process);
        self.absorb_coordination(effects);
    }

    fn rearrange(&mut self, act: fn(&mut Ensemble, u64) -> Option<coordination::Effects>) -> Option<()> {
        let effects = act(&mut self.ensemble, self.queue.now())?;
        self.absorb_coordination(effects);
        Some(())
    }

    fn start(&mut self, id: ProcessId) -> Option<Step<N::Event>> {
        let now = self.now();
        let draws = self.draws;
        let process = &mut self.processes[id.0 as usize];
        let starter = process.starter.as_mut().filter(|_| process.node.is_none())?;
        process.life += 1;
        let life = Life { process: id, number: process.life, now: process.clock.read(now), draws };
        process.node = Some(starter(&life));
        self.network.set_host(id, Host::Up);
        self.ensemble.start(id);
        let outputs = self.collect(id);
        Some(Step { at: now, process: id, cause: Cause::Started, outputs })
    }

    fn die(&mut self, id: ProcessId, host: Host) -> Option<()> {
        self.network.lose_unsent(id);
        self.kill(id, host)
    }

    fn kill(&mut self, id: ProcessId, host: Host) -> Option<()> {
        if !self.processes[id.0 as usize].end() {
            return None;
        }
        let effects = self.network.kill(self.now(), id, host);
        self.absorb(effects);
        self.coordinate(id, Ensemble::stop);
        Some(())
    }

    fn pause(&mut self, id: ProcessId) -> Option<()> {
        let process = &mut self.processes[id.0 as usize];
        if process.node.is_none() || std::mem::replace(&mut process.paused, true) {
            return None;
        }
        self.coordinate(id, Ensemble::pause);
        Some(())
    }

    fn resume(&mut self, id: ProcessId) -> Option<()> {
        let process = &mut self.processes[id.0 as usize];
        if !std::mem::replace(&mut process.paused, false) {
            return None;
        }
        self.ready.extend(std::iter::repeat_n(id, process.inbox.len()));
        self.wake(id);
        self.coordinate(id, Ensemble::resume);
        Some(())
    }

    fn slow(&mut self, id: ProcessId, cost: Duration) -> Option<()> {
        let cost = cost.as_nanos() as u64;
        (std::mem::replace(&mut self.processes[id.0 as usize].cost, cost) != cost).then_some(())
    }

    fn drift(&mut self, id: ProcessId, drift: i32) -> Option<()> {
        let now = self.now();
        let changed = self.processes[id.0 as usize].clock.drift(now, drift);
        self.wake(id);
        changed.then_some(())
    }

    fn jump(&mut self, id: ProcessId, by: Duration) -> Option<()> {
        let now = self.now();
        self.processes[id.0 as usize].clock.jump(now, by);
        self.wake(id);
        (!by.is_zero()).then_some(())
    }

    fn stall(&mut self, id: ProcessId, stalls: bool) -> Option<()> {
        let process = &mut self.processes[id.0 as usize];
        let changed = std::mem::replace(&mut process.stalled, stalls) != stalls;
        for ticket in std::mem::take(&mut process.unstored) {
            self.deliver(id, Input::Storage(storage::Event::Done(ticket)));
        }
        changed.then_some(())
    }

    fn limit_memory(&mut self, id: ProcessId, limit: u64) -> Option<()> {
        let changed = std::mem::replace(&mut self.processes[id.0 as usize].memory, limit) != limit;
        self.weigh(id);
        changed.then_some(())
    }

    /// The timer scheduled for a process may be wrong now.
    fn wake(&mut self, id: ProcessId) {
        self.processes[id.0 as usize].timer = None;
        self.rearm(id);
    }
}
