//! Facts about times: who still talks to clients, and which publishers a primary has heard of.

use crate::actor::Event;
use crate::check::{Checks, Fact, Violation};
use crate::fault::Fault;
use crate::network::ProcessId;
use crate::world::{Cause, Step};
use std::collections::BTreeMap;
use steadfast_core::broker::Broker;
use steadfast_core::id::PublisherId;
use steadfast_core::link::LinkId;
use steadfast_core::message::{Message, Refusal};
use steadfast_core::node::Output;
use steadfast_core::trace::Trace;

/// What has to be remembered of brokers for that.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// Since when each process runs without a break.
    since: BTreeMap<ProcessId, u64>,
    /// Whose session was opened on a link.
    sessions: BTreeMap<(ProcessId, LinkId), PublisherId>,
}

impl Times {
    /// Shows a broker's step to the checkers.
    pub(super) fn observe(
        &mut self,
        broker: &Broker,
        step: &Step<Event>,
        said: &[(LinkId, Message)],
        checks: &mut Checks,
    ) -> Result<(), Violation> {
        let (process, at) = (broker.id(), step.at);
        match step.cause {
            Cause::Started => {
                self.since.insert(step.process, at);
                self.sessions.retain(|(owner, _), _| *owner != step.process);
            }
            Cause::Fault(Fault::Resume(_)) => drop(self.since.insert(step.process, at)),
            Cause::Fault(Fault::ClockJump(..)) => checks.observe(&Fact::ClockJumped(process))?,
            // R29: a session that another one has followed says nothing of that one.
            Cause::Received(link, Some(_)) if !is_fenced(link, said) => {
                if let Some(&publisher) = self.sessions.get(&(step.process, link)) {
                    checks.observe(&Fact::SessionHeard { process, publisher, at })?;
                }
            }
            _ => {}
        }
        let since = self.since.get(&step.process).copied().unwrap_or(0);
        for (link, message) in said {
            // What only a primary says, to clients that believe in it.
            let publisher = match message {
                Message::SessionOpened(opened) => Some(opened.publisher),
                Message::Deliver(_) | Message::StreamOpened(_) | Message::PublishAck(_) => None,
                _ => continue,
            };
            self.sessions.extend(publisher.map(|publisher| ((step.process, *link), publisher)));
            if let Some(epoch) = broker.leads() {
                checks.observe(&Fact::Spoke { process, epoch, at, since })?;
            }
        }
        for output in &step.outputs {
            if let Output::Trace(Trace::SessionExpired { publisher, .. }) = output {
                let publisher = *publisher;
                checks.observe(&Fact::SessionExpired { process, publisher, at })?;
            }
        }
        Ok(())
    }
}

/// Whether what came on this link was refused because another session has followed.
fn is_fenced(link: LinkId, said: &[(LinkId, Message)]) -> bool {
    let fences =
        |message: &Message| matches!(message, Message::Refusal { reason: Refusal::Fenced { .. }, .. });
    said.iter().any(|(to, message)| *to == link && fences(message))
}
