//! Facts about times: who still talks to clients, and which publishers a primary has heard of.

use crate::actor::Event;
use crate::check::{Checks, Fact, Violation};
use crate::fault::Fault;
use crate::network::ProcessId;
use crate::world::{Cause, Step};
use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_core::broker::Broker;
use steadfast_core::id::{Member, Offset, PublisherId};
use steadfast_core::link::LinkId;
use steadfast_core::message::{Message, Refusal};
use steadfast_core::node::Output;
use steadfast_core::trace::Trace;

/// What has to be remembered of brokers for that.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// Since when each process runs without a break.
    since: BTreeMap<ProcessId, u64>,
    /// Since when each has been serving, has known that it slept meanwhile, or has not been silent, unless its clock has
    /// jumped since.
    serving: BTreeMap<ProcessId, u64>,
    paused: BTreeMap<ProcessId, u64>,
    /// A process that was not running for longer than this has noticed it.
    nap: u64,
    /// Since when each primary could commit more than it has.
    behind: BTreeMap<ProcessId, u64>,
    /// Whose session was opened on a link.
    sessions: BTreeMap<(ProcessId, LinkId), PublisherId>,
}

impl Times {
    /// A process that was not running for longer than `nap` has noticed it.
    pub(super) fn new(nap: Duration) -> Self {
        Self { nap: nap.as_nanos() as u64, ..Self::default() }
    }

    /// Shows a broker's step to the checkers. It was `in_touch` with everybody whom it counts at this time last.
    pub(super) fn observe(
        &mut self,
        (broker, in_touch): (&Broker, u64),
        step: &Step<Event>,
        said: &[(LinkId, Message)],
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let (process, at) = (broker.id(), step.at);
        match step.cause {
            Cause::Started => {
                self.since.insert(step.process, at);
                self.paused.remove(&step.process);
                self.sessions.retain(|(owner, _), _| *owner != step.process);
            }
            Cause::Fault(Fault::Pause(_)) => drop(self.paused.insert(step.process, at)),
            Cause::Fault(Fault::Resume(_)) => {
                self.since.insert(step.process, at);
                if self.paused.remove(&step.process).is_some_and(|paused| at > paused + self.nap) {
                    self.serving.entry(step.process).and_modify(|serving| *serving = at);
                }
            }
            Cause::Fault(Fault::ClockJump(_, by)) => {
                self.serving.remove(&step.process);
                // It takes a long jump for a pause.
                if by.as_nanos() as u64 > self.nap {
                    self.since.insert(step.process, at);
                }
                checks.observe(&Fact::ClockJumped(process))?;
            }
            // R29: a session that another one has followed, or is about to, says nothing of that one.
            Cause::Received(link, Some(_)) if !is_of_another(link, said) => {
                if let Some(&publisher) = self.sessions.get(&(step.process, link)) {
                    checks.observe(&Fact::SessionHeard { process, publisher, at })?;
                }
            }
            _ => {}
        }
        self.compare(broker, step, checks)?;
        if step.outputs.iter().any(|output| matches!(output, Output::Trace(Trace::SpokeAgain))) {
            self.serving.entry(step.process).and_modify(|serving| *serving = at);
            checks.observe(&Fact::SpokeAgain(process))?;
        }
        self.talk((broker, in_touch), step, said, checks)?;
        for output in &step.outputs {
            match output {
                // In its next reign it does not know any more who speaks on a link.
                Output::Trace(Trace::SteppedDown { .. }) => {
                    self.sessions.retain(|(owner, _), _| *owner != step.process);
                }
                Output::Trace(Trace::EpochCommitted { .. }) => drop(self.serving.insert(step.process, at)),
                Output::Trace(Trace::SessionExpired { publisher, .. }) => {
                    let since = self.serving.get(&step.process).copied();
                    let publisher = *publisher;
                    checks.observe(&Fact::SessionExpired { process, publisher, at, since })?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Shows what a primary says to clients that believe in it.
    fn talk(
        &mut self,
        (broker, in_touch): (&Broker, u64),
        step: &Step<Event>,
        said: &[(LinkId, Message)],
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let (process, at) = (broker.id(), step.at);
        let since = self.since.get(&step.process).map_or(0, |since| in_touch.max(*since));
        let has_opened = |link| {
            let opens = |output: &Output<_>| matches!(output, Output::Trace(Trace::StreamOpened { link: on, .. }) if *on == link);
            step.outputs.iter().any(opens)
        };
        let asked = |link| matches!(step.cause, Cause::Received(on, _) if on == link);
        for (link, message) in said {
            // What only a primary says.
            let (publisher, answers) = match message {
                Message::SessionOpened(opened) => (Some(opened.publisher), false),
                // Without entries it is a heartbeat; else it may answer a grant.
                Message::Deliver(deliver) => (None, deliver.entries.is_empty() || asked(*link)),
                Message::PublishAck(_) => (None, false),
                // On an open stream it says only that the log has been trimmed.
                Message::StreamOpened(_) => (None, has_opened(*link)),
                Message::Head(_) | Message::Pong { .. } => (None, true),
                _ => continue,
            };
            self.sessions.extend(publisher.map(|publisher| ((step.process, *link), publisher)));
            if let Some(epoch) = broker.leads() {
                checks.observe(&Fact::Spoke { process, epoch, at, since, answers })?;
            }
        }
        Ok(())
    }

    /// Shows for how long a primary has been behind what it could commit.
    fn compare(&mut self, broker: &Broker, step: &Step<Event>, checks: &mut Checks) -> Result<(), Violation> {
        if self.paused.contains_key(&step.process) {
            return Ok(());
        }
        let ran_on =
            !matches!(step.cause, Cause::Started | Cause::Fault(Fault::Resume(_) | Fault::ClockJump(..)));
        if broker.is_in_doubt() || committable(broker).is_none_or(|to| to <= broker.replica().commit()) {
            self.behind.remove(&step.process);
            return Ok(());
        }
        let began = self.behind.entry(step.process).or_insert(step.at);
        if !ran_on {
            *began = step.at;
        }
        let time = Duration::from_nanos(step.at - *began);
        checks.observe(&Fact::Behind { process: broker.id(), time })
    }
}

/// What everybody has verified whom a primary counts (R9), unless those are too few (R35).
fn committable(broker: &Broker) -> Option<Offset> {
    broker.leads()?;
    let (state, _) = broker.registry().view().state.as_ref()?;
    if state.in_sync.len() < state.min_in_sync as usize {
        return None;
    }
    let own = &broker.id().member;
    let verified = |member: &Member| match member == own {
        true => broker.replica().durable_end(),
        false => broker.matched().find(|(it, _)| *it == member).map_or(0, |(_, matched)| matched),
    };
    broker.counted().map(verified).min()
}

/// Whether what came on this link was refused because another session has followed, or will have when that is committed.
fn is_of_another(link: LinkId, said: &[(LinkId, Message)]) -> bool {
    let refuses = |message: &Message| {
        let Message::Refusal { reason, .. } = message else { return false };
        matches!(reason, Refusal::Fenced { .. } | Refusal::Electing { .. })
    };
    said.iter().any(|(to, message)| *to == link && refuses(message))
}
