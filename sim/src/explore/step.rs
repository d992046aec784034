//! What a choice makes of a state.

use super::Scope;
use super::broker::{Answer, Effect, Parts, Process, Slot, Status, Stimulus};
use super::canonical::Digest;
use super::state::{Action, Connection, State, Write};
use super::tables::Tables;
use crate::check::Violation;
use steadfast_core::broker::Broker;
use steadfast_core::coordination::Error;
use steadfast_core::filter::Topic;
use steadfast_core::id::{Nonce, PublisherId, Sequence};
use steadfast_core::message::{Message, OpenSession, Publish};
use steadfast_core::node::Output;
use steadfast_core::wire;
use steadfast_core::wire::records::RecordsBuilder;

/// The client's identity.
const PUBLISHER: PublisherId = PublisherId(1 << 96);

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

    /// The state that the choice leads to.
    pub fn take(mut self, action: Action) -> Result<State, Blocked> {
        self.go(action)?;
        self.finish()
    }

    fn go(&mut self, action: Action) -> Result<(), Blocked> {
        match action {
            Action::Tick(broker) => {
                self.state.budget.ticks -= 1;
                self.stimulate(broker, Stimulus::Tick)?;
            }
            Action::Deliver { connection, forward } => self.deliver(connection, forward.into())?,
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
            Action::Notify(broker) => {
                self.state.unaware[broker] = false;
                self.stimulate(broker, Stimulus::Notified)?;
            }
            Action::Crash(broker) => {
                self.state.budget.crashes -= 1;
                self.end_process(broker)?;
            }
            Action::Restart(broker) => self.start(broker)?,
            Action::Shutdown(broker) => {
                self.state.budget.shutdowns -= 1;
                self.stimulate(broker, Stimulus::Shutdown)?;
            }
            Action::ExpireDead(broker) => self.expire_dead(broker),
            Action::Expire(broker) => self.expire(broker)?,
            Action::Open(broker) => self.client(broker, open_session)?,
            Action::Publish(broker) => self.client(broker, next_record)?,
        }
        Ok(())
    }

    fn finish(mut self) -> Result<State, Blocked> {
        let version = self.tables.tree(self.state.tree).version();
        // Nobody waits for these any more, and none of them can change anything.
        self.state.writes.retain(|write| write.fresh || (write.answer.is_none() && write.version >= version));
        self.state.tidy();
        if version > self.scope.writes || self.state.connections.len() > self.scope.connections {
            return Err(Blocked::Bound);
        }
        Ok(self.state)
    }

    fn broker(&self, broker: usize) -> Option<&Broker> {
        Some(self.tables.broker(self.state.brokers[broker]?).node())
    }

    fn stimulate(&mut self, broker: usize, stimulus: Stimulus) -> Result<(), Blocked> {
        let before = self.state.brokers[broker].ok_or(Blocked::Idle)?;
        let outcome = self.tables.outcome(before, stimulus, self.state.tree);
        let failed = |detail| Violation { property: "Assertion", detail };
        let outcome = outcome.map_err(failed)?;
        if let Some(lines) = &mut self.lines {
            for output in outcome.step.seen.iter().flat_map(|seen| &seen.outputs) {
                if let Output::Trace(trace) = output {
                    lines.push(format!("    b{}: {trace}", broker + 1));
                }
            }
        }
        self.state.checks = self.tables.judge(self.state.checks, before, &outcome)?;
        self.state.brokers[broker] = Some(outcome.after);
        if let Some(tree) = outcome.tree {
            self.state.tree = tree;
            self.tell_all_but(Some(broker));
        }
        outcome.step.effects.iter().try_for_each(|effect| self.absorb(broker, effect))?;
        // Whoever is there is reached at once, unless the dialling was given up again.
        for effect in &outcome.step.effects {
            if let Effect::Dial(slot, _) = effect
                && self.state.connection(broker, *slot).is_some_and(|(connection, _)| connection.up)
            {
                self.stimulate(broker, Stimulus::Link(*slot, Status::Up))?;
            }
        }
        Ok(())
    }

    fn absorb(&mut self, broker: usize, effect: &Effect) -> Result<(), Blocked> {
        match effect {
            Effect::Send(slot, parts) => self.send(broker, *slot, parts),
            Effect::Dial(slot, target) => {
                self.dial(broker, *slot, *target);
                Ok(())
            }
            Effect::Close(slot) => {
                if let Some((connection, side)) = self.state.connection(broker, *slot) {
                    connection.open[side] = false;
                }
                Ok(())
            }
            Effect::Write { data, version, session } => {
                let owner = broker as u8;
                for write in self.state.writes.iter_mut().filter(|write| write.owner == owner) {
                    write.fresh = false;
                }
                let data = self.tables.frame_id(&vec![data.clone()]);
                let (version, session) = (*version, *session);
                self.state.writes.push(Write { owner, session, data, version, fresh: true, answer: None });
                Ok(())
            }
            Effect::Stopped => self.end_process(broker),
            Effect::Halted(reason) => {
                let detail = format!("b{} halted: {reason:?}", broker + 1);
                Err(Violation { property: "Unexpected", detail }.into())
            }
        }
    }

    fn send(&mut self, broker: usize, slot: Slot, parts: &Parts) -> Result<(), Blocked> {
        let frame = self.tables.frame_id(parts);
        let room = self.scope.channel;
        let Some((connection, side)) = self.state.connection(broker, slot) else { return Ok(()) };
        if connection.broken || !connection.open[1 - side] {
            return Ok(());
        }
        let frames = &mut connection.frames[1 - side];
        frames.push(frame);
        if frames.len() > room { Err(Blocked::Bound) } else { Ok(()) }
    }

    fn dial(&mut self, broker: usize, slot: Slot, target: usize) {
        let up = self.state.brokers[target].is_some();
        self.state.connections.push(Connection {
            from: (broker as u8, slot),
            to: (target as u8, None),
            up,
            broken: false,
            open: [true, up],
            frames: [Vec::new(), Vec::new()],
        });
    }

    fn dialled(&mut self, connection: usize) -> Result<(), Blocked> {
        let connection = &mut self.state.connections[connection];
        let (broker, slot) = connection.from;
        let up = self.state.brokers[usize::from(connection.to.0)].is_some();
        (connection.up, connection.open) = (up, [up, up]);
        let status = if up { Status::Up } else { Status::Refused };
        self.stimulate(broker.into(), Stimulus::Link(slot, status))
    }

    fn deliver(&mut self, connection: usize, side: usize) -> Result<(), Blocked> {
        let connection = &mut self.state.connections[connection];
        let frame = connection.frames[side].remove(0);
        let (broker, slot) = match side {
            0 => (connection.from.0, Some(connection.from.1)),
            _ => connection.to,
        };
        let Some(slot) = slot else {
            // The receiver names the link now, and may answer on it.
            let id = self.state.brokers[usize::from(broker)].ok_or(Blocked::Idle)?;
            connection.to.1 = Some(self.tables.broker(id).next_slot());
            return self.stimulate(broker.into(), Stimulus::First(frame));
        };
        self.stimulate(broker.into(), Stimulus::Frame(slot, frame))
    }

    fn lose(&mut self, connection: usize, side: usize) -> Result<(), Blocked> {
        let connection = &mut self.state.connections[connection];
        connection.open[side] = false;
        let (broker, slot) =
            if side == 0 { (connection.from.0, Some(connection.from.1)) } else { connection.to };
        let slot = slot.expect("only who knows the link can lose it");
        self.stimulate(broker.into(), Stimulus::Link(slot, Status::Lost))
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
            self.state.tree = self.tables.tree_id(tree);
            self.state.checks = self.tables.judge_state(self.state.checks, self.state.tree)?;
            self.tell_all_but(None);
        }
        Ok(())
    }

    /// Everybody's watches fire, except one's who has read what it changed.
    fn tell_all_but(&mut self, except: Option<usize>) {
        for (broker, unaware) in self.state.unaware.iter_mut().enumerate() {
            *unaware |= self.state.brokers[broker].is_some() && Some(broker) != except;
        }
    }

    fn start(&mut self, broker: usize) -> Result<(), Blocked> {
        self.state.lives[broker] += 1;
        let process = Process::new(broker, self.state.lives[broker]);
        self.state.brokers[broker] = Some(self.tables.broker_id(process));
        self.stimulate(broker, Stimulus::Start)
    }

    /// The process is gone, and everything that it held. What it has sent is still under way.
    fn end_process(&mut self, broker: usize) -> Result<(), Blocked> {
        let id = self.state.brokers[broker].take().ok_or(Blocked::Idle)?;
        let session = self.tables.broker(id).session();
        let owner = broker as u8;
        if self.tables.tree(self.state.tree).has_session(session) {
            self.state.orphans.push((owner, session));
        }
        self.state.unaware[broker] = false;
        for connection in &mut self.state.connections {
            connection.open[0] &= connection.from.0 != owner;
            connection.open[1] &= connection.to.0 != owner;
        }
        for write in self.state.writes.iter_mut().filter(|write| write.owner == owner) {
            write.fresh = false;
        }
        self.state.checks = self.tables.judge_loss(self.state.checks, owner, self.state.lives[broker])?;
        Ok(())
    }

    fn expire_dead(&mut self, broker: usize) {
        let mut orphans = self.state.orphans.iter();
        let place = orphans.position(|(owner, _)| usize::from(*owner) == broker).expect("an orphan");
        let (_, session) = self.state.orphans.remove(place);
        self.close(session);
    }

    fn expire(&mut self, broker: usize) -> Result<(), Blocked> {
        let id = self.state.brokers[broker].ok_or(Blocked::Idle)?;
        let session = self.tables.broker(id).session();
        if !self.tables.tree(self.state.tree).has_session(session) {
            return Err(Blocked::Idle);
        }
        self.state.budget.expiries -= 1;
        self.close(session);
        Ok(())
    }

    fn close(&mut self, session: u64) {
        let mut tree = (**self.tables.tree(self.state.tree)).clone();
        tree.close(session);
        self.state.tree = self.tables.tree_id(tree);
        self.tell_all_but(None);
    }

    /// The client speaks only to who acts as primary: everybody else would refuse it.
    fn client(&mut self, broker: usize, says: fn(&Broker, &Scope) -> Option<Message>) -> Result<(), Blocked> {
        let node = self.broker(broker).filter(|node| node.leads().is_some());
        let message = node.and_then(|node| says(node, self.scope)).ok_or(Blocked::Idle)?;
        let frame = self.tables.frame_id(&wire::encode(&message).parts);
        self.stimulate(broker, Stimulus::Client(frame))
    }
}

fn open_session(broker: &Broker, scope: &Scope) -> Option<Message> {
    let replica = broker.replica();
    let known = replica.sessions().overlay().get(PUBLISHER).is_some();
    let history = replica.history();
    let request = OpenSession { history, publisher: PUBLISHER, nonce: Nonce(7 << 96), incarnation: 0 };
    (!known && scope.records > 0).then_some(Message::OpenSession(request))
}

/// The record that the broker lacks, whoever else has it: a client that sends again what it has to.
fn next_record(broker: &Broker, scope: &Scope) -> Option<Message> {
    let replica = broker.replica();
    let last: Sequence = replica.sessions().overlay().get(PUBLISHER)?.last_sequence;
    let mut records = RecordsBuilder::default();
    records.push(format!("record {}", last + 1).as_bytes());
    let topic = Topic::new("t").expect("a valid topic");
    let batches = vec![records.seal(topic, PUBLISHER, 1, last + 1)];
    (last < scope.records).then(|| Message::Publish(Publish { history: replica.history(), batches }))
}

/// The number of a state: its digest.
pub fn digest(state: &State) -> u128 {
    Digest::of(state)
}
