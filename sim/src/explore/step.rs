//! What a choice makes of a state.

use super::Scope;
use super::canonical::Digest;
use super::process::{Answer, Effect, Parts, Process, Slot, Status, Stimulus};
use super::state::{Action, Connection, Id, State, Write};
use super::tables::Tables;
use super::tree::ANY;
use crate::check::Violation;
use bytes::Bytes;
use std::rc::Rc;
use steadfast_core::coordination::Error;
use steadfast_core::node::Output;

/// A frame of which nobody can make anything.
const ILLEGIBLE: &[u8] = &[0xff];
/// Units that pass for the others while a broker has stopped: enough for the lag threshold.
const PAUSE: u8 = 2;

/// Why a choice leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// It makes no sense here.
    Idle,
    /// The scope ends here.
    Bound,
    /// A property does not hold.
    Violation(Violation),
}

impl From<Violation> for Blocked {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// What happens to a client without delay. Connections are named by place and side.
enum Urgent {
    Deliver(usize, usize),
    Lose(usize, usize),
    Dialled(usize),
    Notify(usize),
    Retry(usize),
    Stored(usize),
}

/// Makes one choice.
pub struct Stepper<'a> {
    scope: &'a Scope,
    tables: &'a mut Tables,
    state: State,
    /// The trace records of this step, where somebody wants to read them.
    lines: Option<&'a mut Vec<String>>,
}

impl<'a> Stepper<'a> {
    /// Begins at this state.
    pub const fn new(scope: &'a Scope, tables: &'a mut Tables, state: State) -> Self {
        Self { scope, tables, state, lines: None }
    }

    /// Takes down what the brokers say.
    pub const fn tell(mut self, lines: &'a mut Vec<String>) -> Self {
        self.lines = Some(lines);
        self
    }

    /// The publisher is given all its records.
    pub fn publish(mut self) -> Result<State, Blocked> {
        self.give_records()?;
        self.finish()
    }

    fn give_records(&mut self) -> Result<(), Blocked> {
        let publisher = self.scope.brokers;
        (1..=self.scope.records).try_for_each(|number| self.stimulate(publisher, Stimulus::Publish(number)))
    }

    /// The state that the choice leads to.
    pub fn take(mut self, action: Action) -> Result<State, Blocked> {
        self.go(action)?;
        self.finish()
    }

    fn go(&mut self, action: Action) -> Result<(), Blocked> {
        match action {
            Action::Tick(process) => {
                self.spend_time(process);
                self.stimulate(process, Stimulus::Tick)?;
            }
            Action::Pause(broker) => {
                self.state.budget.pauses -= 1;
                self.state.asleep = Some((broker as u8, PAUSE));
            }
            Action::Resume(broker) => {
                self.state.asleep = None;
                self.stimulate(broker, Stimulus::Resume)?;
            }
            Action::Deliver { connection, forward } => self.deliver(connection, forward.into())?,
            Action::Damage { connection, forward } => {
                self.state.budget.damages -= 1;
                let damaged = self.tables.frame_id(&vec![Bytes::from_static(ILLEGIBLE)]);
                self.state.connections[connection].frames[usize::from(forward)][0] = damaged;
                self.deliver(connection, forward.into())?;
            }
            Action::Lose { connection, forward } => self.lose(connection, forward.into())?,
            Action::Dialled { connection } => self.dialled(connection)?,
            Action::Reset { connection } => {
                self.state.budget.resets -= 1;
                self.state.connections[connection].broken = true;
            }
            Action::Apply { write } => self.apply(write)?,
            Action::Answer { write } => {
                let write = self.state.writes.remove(write);
                let answer = write.answer.expect("only what is answered");
                self.stimulate(write.owner.into(), Stimulus::Answer(answer))?;
            }
            Action::LoseAnswer { write } => {
                self.state.budget.lost_answers -= 1;
                self.state.writes[write].fresh = false;
                let owner = self.state.writes[write].owner;
                self.stimulate(owner.into(), Stimulus::Answer(Answer::Unknown))?;
            }
            Action::Notify(process) => {
                self.state.unaware[process] = false;
                self.stimulate(process, Stimulus::Notified)?;
            }
            Action::Crash(broker) => {
                self.state.budget.crashes -= 1;
                self.end_process(broker)?;
            }
            Action::Start(process) => self.start(process)?,
            Action::Shutdown(broker) => {
                self.state.budget.shutdowns -= 1;
                self.stimulate(broker, Stimulus::Shutdown)?;
            }
            Action::Stored(client) => self.store(client)?,
            Action::Revive { client, astray } => self.revive(client, astray)?,
            Action::ExpireDead(broker) => self.expire_dead(broker),
            Action::Expire(broker) => self.expire(broker)?,
            Action::Sever { connection } => {
                let connection = &mut self.state.connections[connection];
                connection.severed = true;
                connection.frames[0].clear();
            }
        }
        Ok(())
    }

    fn spend_time(&mut self, process: usize) {
        let State { asleep, budget, .. } = &mut self.state;
        if !self.scope.is_broker(process) {
            budget.timeouts -= 1;
        } else if let Some((_, ticks @ 1..)) = asleep {
            *ticks -= 1;
        } else {
            budget.ticks -= 1;
        }
    }

    fn finish(mut self) -> Result<State, Blocked> {
        self.settle_clients()?;
        let version = self.tables.tree(self.state.tree).version();
        // Nobody waits for these any more, and none of them can change anything.
        let possible = |at: i32| at == ANY || at >= version;
        self.state.writes.retain(|write| write.fresh || (write.answer.is_none() && possible(write.version)));
        self.state.tidy();
        let between = |it: &&Connection| self.scope.is_broker(it.from.0.into());
        let connections = self.state.connections.iter().filter(between).count();
        if version > self.scope.writes || connections > self.scope.connections {
            return Err(Blocked::Bound);
        }
        Ok(self.state)
    }

    /// Lets happen what happens to clients without delay: see [`super::client`].
    fn settle_clients(&mut self) -> Result<(), Blocked> {
        while let Some(action) = self.urgent() {
            match action {
                Urgent::Deliver(connection, side) => self.deliver(connection, side)?,
                Urgent::Lose(connection, side) => self.lose(connection, side)?,
                Urgent::Dialled(connection) => self.dialled(connection)?,
                Urgent::Notify(client) => self.stimulate(client, Stimulus::Notified)?,
                Urgent::Retry(client) => {
                    self.state.budget.retries -= 1;
                    self.stimulate(client, Stimulus::Retry)?;
                }
                Urgent::Stored(client) => self.store(client)?,
            }
        }
        Ok(())
    }

    fn urgent(&self) -> Option<Urgent> {
        let State { connections, processes, unaware, budget, .. } = &self.state;
        let damages = budget.damages > 0;
        for (number, it) in connections.iter().enumerate() {
            let client = usize::from(it.from.0);
            if self.scope.is_broker(client) {
                continue;
            }
            if it.open[0] && !it.frames[0].is_empty() {
                // Whether it arrives is a choice, unless the connection stays.
                let certain = !damages && !self.state.may_end(it, self.scope);
                return certain.then_some(Urgent::Deliver(number, 0));
            }
            if it.open[0] && !it.up {
                return Some(Urgent::Dialled(number));
            }
            if it.open[0] && (it.broken || !it.open[1]) {
                return Some(Urgent::Lose(number, 0));
            }
            if !it.open[1] || !self.state.is_awake(it.to.0) {
                continue;
            }
            if !it.frames[1].is_empty() && !self.scope.is_publisher(client) && !damages {
                return Some(Urgent::Deliver(number, 1));
            }
            if !it.open[0] && it.frames[1].is_empty() && it.to.1.is_some() {
                return Some(Urgent::Lose(number, 1));
            }
        }
        let clients = (self.scope.brokers..processes.len()).filter(|client| processes[*client].is_some());
        clients.into_iter().find_map(|client| match unaware[client] {
            true => Some(Urgent::Notify(client)),
            // When a change is made matters only where it may be the last.
            false if budget.revivals == 0 && self.stores(client) => Some(Urgent::Stored(client)),
            false => self.may_retry(client).then_some(Urgent::Retry(client)),
        })
    }

    fn stores(&self, client: usize) -> bool {
        self.process(client).is_ok_and(|process| process.own().stores())
    }

    /// Whether a client has put something off that would now be carried out.
    fn may_retry(&self, client: usize) -> bool {
        let put_off = || self.process(client).is_ok_and(Process::has_put_off);
        self.state.budget.retries > 0 && put_off() && self.is_served()
    }

    /// Whether the primary of the tree has committed its epoch's first record.
    fn is_served(&self) -> bool {
        let Some((_, epoch, Some(live))) = self.tables.tree(self.state.tree).primary() else { return false };
        let brokers = self.state.processes[..self.scope.brokers].iter().flatten();
        let mut nodes = brokers.filter_map(|id| self.tables.process(*id).node());
        nodes.find(|node| *node.id() == live.id).is_some_and(|node| {
            let replica = node.replica();
            node.leads() == Some(epoch) && replica.log().epoch_before(replica.commit()) == Some(epoch)
        })
    }

    fn process(&self, process: usize) -> Result<&Process, Blocked> {
        Ok(self.tables.process(self.state.processes[process].ok_or(Blocked::Idle)?))
    }

    fn stimulate(&mut self, process: usize, stimulus: Stimulus) -> Result<(), Blocked> {
        let before = self.state.processes[process].ok_or(Blocked::Idle)?;
        let outcome = self.tables.outcome(before, stimulus, self.state.tree);
        let failed = |detail| Violation { property: "Assertion", detail };
        let outcome = outcome.map_err(failed)?;
        if let Some(lines) = &mut self.lines {
            for output in outcome.step.seen.iter().flat_map(|seen| &seen.outputs) {
                if let Output::Trace(trace) = output {
                    lines.push(format!("    {}: {trace}", self.scope.name(process)));
                }
            }
        }
        self.state.checks = self.tables.judge(self.state.checks, before, &outcome)?;
        self.state.processes[process] = Some(outcome.after);
        if outcome.step.consulted {
            self.state.unaware[process] = false;
        }
        if let Some(tree) = outcome.tree {
            self.change_tree(tree, Some(process));
        }
        outcome.step.effects.iter().try_for_each(|effect| self.absorb(process, effect))?;
        // Whoever is there is reached at once, unless the dialling was given up again.
        for effect in &outcome.step.effects {
            if let Effect::Dial(slot, _) = effect
                && self.state.connection(process, *slot).is_some_and(|(connection, _)| connection.up)
            {
                self.stimulate(process, Stimulus::Link(*slot, Status::Up))?;
            }
        }
        Ok(())
    }

    fn absorb(&mut self, process: usize, effect: &Effect) -> Result<(), Blocked> {
        match effect {
            Effect::Send(slot, parts) => self.send(process, *slot, parts),
            Effect::Dial(slot, target) => {
                self.dial(process, *slot, *target);
                Ok(())
            }
            Effect::Close(slot) => {
                if let Some((connection, side)) = self.state.connection(process, *slot) {
                    connection.open[side] = false;
                }
                Ok(())
            }
            Effect::Write { data, version, session } => {
                let owner = process as u8;
                for write in self.state.writes.iter_mut().filter(|write| write.owner == owner) {
                    write.fresh = false;
                }
                let data = self.tables.frame_id(&vec![data.clone()]);
                let (version, session) = (*version, *session);
                self.state.writes.push(Write { owner, session, data, version, fresh: true, answer: None });
                Ok(())
            }
            Effect::Stopped => self.end_process(process),
            Effect::Halted(reason) => {
                let detail = format!("{} halted: {reason:?}", self.scope.name(process));
                Err(Violation { property: "Unexpected", detail }.into())
            }
            Effect::Broken(violation) => Err(violation.clone().into()),
        }
    }

    fn send(&mut self, process: usize, slot: Slot, parts: &Parts) -> Result<(), Blocked> {
        let frame = self.tables.frame_id(parts);
        let room = self.scope.channel;
        let Some((connection, side)) = self.state.connection(process, slot) else { return Ok(()) };
        if connection.broken || !connection.open[1 - side] || (side == 1 && connection.severed) {
            return Ok(());
        }
        let frames = &mut connection.frames[1 - side];
        frames.push(frame);
        if frames.len() > room { Err(Blocked::Bound) } else { Ok(()) }
    }

    fn dial(&mut self, process: usize, slot: Slot, target: usize) {
        let up = self.state.processes[target].is_some();
        self.state.connections.push(Connection {
            from: (process as u8, slot),
            to: (target as u8, None),
            up,
            broken: false,
            severed: false,
            open: [true, up],
            frames: [Vec::new(), Vec::new()],
        });
    }

    fn dialled(&mut self, connection: usize) -> Result<(), Blocked> {
        let connection = &mut self.state.connections[connection];
        let (process, slot) = connection.from;
        let up = self.state.processes[usize::from(connection.to.0)].is_some();
        (connection.up, connection.open) = (up, [up, up]);
        let status = if up { Status::Up } else { Status::Refused };
        self.stimulate(process.into(), Stimulus::Link(slot, status))
    }

    fn deliver(&mut self, connection: usize, side: usize) -> Result<(), Blocked> {
        let connection = &mut self.state.connections[connection];
        let frame = connection.frames[side].remove(0);
        let (process, slot) = match side {
            0 => (connection.from.0, Some(connection.from.1)),
            _ => connection.to,
        };
        let Some(slot) = slot else {
            // The receiver names the link now, and may answer on it.
            let id = self.state.processes[usize::from(process)].ok_or(Blocked::Idle)?;
            let slot = self.tables.process(id).next_slot(connection.from.0);
            connection.to.1 = Some(slot);
            return self.stimulate(process.into(), Stimulus::First(slot, frame));
        };
        self.stimulate(process.into(), Stimulus::Frame(slot, frame))
    }

    fn lose(&mut self, connection: usize, side: usize) -> Result<(), Blocked> {
        let connection = &mut self.state.connections[connection];
        connection.open[side] = false;
        let (process, slot) =
            if side == 0 { (connection.from.0, Some(connection.from.1)) } else { connection.to };
        let slot = slot.expect("only who knows the link can lose it");
        self.stimulate(process.into(), Stimulus::Link(slot, Status::Lost))
    }

    fn apply(&mut self, write: usize) -> Result<(), Blocked> {
        let Write { session, data, version, .. } = self.state.writes[write];
        let mut tree = (**self.tables.tree(self.state.tree)).clone();
        let answer = match tree.write(session, &self.tables.frame(data)[0], version) {
            Ok(_) => Answer::Applied(tree.version()),
            Err(Error::SessionExpired) => Answer::Expired,
            Err(_) => Answer::Refused,
        };
        self.state.writes[write].answer = Some(answer);
        if let Answer::Applied(_) = answer {
            let tree = self.tables.tree_id(tree);
            self.change_tree(tree, None);
            self.state.checks = self.tables.judge_state(self.state.checks, tree)?;
        }
        Ok(())
    }

    /// Every broker's watches fire, except one's who has read what it changed. A client hears only of
    /// another primary that is there.
    fn change_tree(&mut self, tree: Id, except: Option<usize>) {
        let before = std::mem::replace(&mut self.state.tree, tree);
        let route = self.tables.tree(tree).primary();
        let found = route.as_ref().is_some_and(|(_, _, live)| live.is_some());
        let rerouted = found && self.tables.tree(before).primary() != route;
        for (process, unaware) in self.state.unaware.iter_mut().enumerate() {
            let concerned = self.scope.is_broker(process) || rerouted;
            *unaware |= concerned && self.state.processes[process].is_some() && Some(process) != except;
        }
    }

    fn start(&mut self, process: usize) -> Result<(), Blocked> {
        self.state.lives[process] += 1;
        let new = self.scope.process(process, self.state.lives[process]);
        self.state.processes[process] = Some(self.tables.process_id(new));
        self.stimulate(process, Stimulus::Start)?;
        // Where all begins in sync the publisher has no records before that.
        if self.scope.is_publisher(process) && !self.scope.settled {
            self.give_records()?;
        }
        Ok(())
    }

    /// The process is gone, and everything that it held. What it has sent is still under way.
    fn end_process(&mut self, broker: usize) -> Result<(), Blocked> {
        let session = self.process(broker)?.session();
        let owner = broker as u8;
        if self.tables.tree(self.state.tree).has_session(session) {
            self.state.orphans.push((owner, session));
        }
        self.state.asleep.take_if(|(asleep, _)| *asleep == owner);
        self.let_go(broker);
        for write in self.state.writes.iter_mut().filter(|write| write.owner == owner) {
            write.fresh = false;
        }
        self.state.checks = self.tables.judge_loss(self.state.checks, owner, self.state.lives[broker])?;
        Ok(())
    }

    /// There is no process any more, and no end of a connection.
    fn let_go(&mut self, process: usize) {
        self.state.processes[process] = None;
        self.state.unaware[process] = false;
        let owner = process as u8;
        for connection in &mut self.state.connections {
            connection.open[0] &= connection.from.0 != owner;
            connection.open[1] &= connection.to.0 != owner;
        }
    }

    fn store(&mut self, client: usize) -> Result<(), Blocked> {
        if self.stores(client) { self.stimulate(client, Stimulus::Stored) } else { Err(Blocked::Idle) }
    }

    /// What the client's process has sent is still under way.
    fn revive(&mut self, client: usize, astray: bool) -> Result<(), Blocked> {
        let beginning = Rc::clone(self.tables.beginning());
        if astray && beginning.primary() == self.tables.tree(self.state.tree).primary() {
            return Err(Blocked::Idle);
        }
        let own = self.process(client)?.own().next(astray.then_some(beginning));
        self.state.budget.revivals -= 1;
        self.let_go(client);
        self.state.lives[client] = own.life;
        self.state.checks = self.tables.judge_revival(self.state.checks, &own)?;
        self.state.processes[client] = Some(self.tables.process_id(self.scope.client(client, own)));
        self.stimulate(client, Stimulus::Start)
    }

    fn expire_dead(&mut self, broker: usize) {
        let mut orphans = self.state.orphans.iter();
        let place = orphans.position(|(owner, _)| usize::from(*owner) == broker).expect("an orphan");
        let (_, session) = self.state.orphans.remove(place);
        self.close(session);
    }

    fn expire(&mut self, broker: usize) -> Result<(), Blocked> {
        let session = self.process(broker)?.session();
        if !self.tables.tree(self.state.tree).has_session(session) {
            return Err(Blocked::Idle);
        }
        // Who has stopped for long loses its session without further ado.
        if self.state.is_awake(broker as u8) {
            self.state.budget.expiries -= 1;
        }
        self.close(session);
        Ok(())
    }

    fn close(&mut self, session: u64) {
        let mut tree = (**self.tables.tree(self.state.tree)).clone();
        tree.close(session);
        let tree = self.tables.tree_id(tree);
        self.change_tree(tree, None);
    }
}

/// The number of a state: its digest.
pub fn digest(state: &State) -> u128 {
    Digest::of(state)
}
