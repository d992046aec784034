//! The history as text: a line per event, fault, state transition and message, readable without
//! knowing the code. What only says "still here" is left out.

use crate::actor::{Actor, Event};
use crate::fault::Fault;
use crate::network::ProcessId;
use crate::world::{Cause, Step, World};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use steadfast_core::coordination::{Event as CoordinationEvent, SessionState};
use steadfast_core::id::Endpoint;
use steadfast_core::log::{Batch, Entry, EntryKind};
use steadfast_core::message::{LogSummary, Message, Refusal};
use steadfast_core::node::Output;
use steadfast_core::trace::Trace;
use steadfast_core::{publisher, subscriber, wire};

/// Collects lines.
#[derive(Debug, Default)]
pub struct Renderer {
    lines: Vec<String>,
    /// The last message of each kind between two processes that may be left out when it repeats.
    said: BTreeMap<(ProcessId, ProcessId, &'static str), String>,
}

impl Renderer {
    /// The lines since the last call.
    pub fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// Adds what a step shows.
    pub fn step(&mut self, world: &World<Actor>, step: &Step<Event>) {
        match &step.cause {
            Cause::Started => self.line(world, step, "starts"),
            Cause::Fault(fault) => {
                let text = fault_text(world, *fault);
                self.line(world, step, &text);
            }
            Cause::Coordination(CoordinationEvent::Session(state)) => {
                let state = match state {
                    SessionState::Connected(_) => "connected",
                    SessionState::Suspended => "suspended",
                    SessionState::Expired => "expired",
                };
                self.line(world, step, &format!("session {state}"));
            }
            _ => {}
        }
        for output in &step.outputs {
            match output {
                Output::Trace(Trace::Session(_)) => {}
                Output::Trace(trace) => self.line(world, step, &format!("| {trace}")),
                Output::Event(event) => self.event(world, step, event),
                Output::Transmit { link, frame } => {
                    let peer = world.peer(step.process, *link);
                    if let (Some(peer), Ok(message)) = (peer, wire::decode(frame.clone())) {
                        self.message(world, step, peer, &message);
                    }
                }
                _ => {}
            }
        }
    }

    fn line(&mut self, world: &World<Actor>, step: &Step<Event>, text: &str) {
        let (ms, us) = (step.at / 1_000_000, step.at / 1_000 % 1_000);
        self.lines.push(format!("{ms:>6}.{us:03} {:<3} {text}", world.name(step.process)));
    }

    fn event(&mut self, world: &World<Actor>, step: &Step<Event>, event: &Event) {
        let text = match event {
            Event::Publisher(publisher::Event::Completed { tickets, result: Ok(()) }) => {
                format!("* acknowledged {}..={}", tickets.start, tickets.end - 1)
            }
            Event::Subscriber(subscriber::Event::Delivered(delivery)) => {
                let payloads: Vec<_> = delivery.records.clone().collect();
                format!("* delivered @{} {} {payloads:?}", delivery.offset, delivery.topic)
            }
            Event::Publisher(event) => format!("* {event:?}"),
            Event::Subscriber(event) => format!("* {event:?}"),
            Event::Broker(event) => format!("* {event:?}"),
            Event::Discovery(event) => format!("* {event:?}"),
        };
        self.line(world, step, &text);
    }

    fn message(&mut self, world: &World<Actor>, step: &Step<Event>, peer: ProcessId, message: &Message) {
        let Some((kind, text)) = message_text(message) else { return };
        let way = (step.process, peer, kind);
        if self.said.insert(way, text.clone()).is_none_or(|before| before != text) {
            self.line(world, step, &format!("-> {} {kind}{text}", world.name(peer)));
        }
    }
}

fn fault_text(world: &World<Actor>, fault: Fault) -> String {
    let name = |process| world.name(process);
    match fault {
        Fault::Crash(_) => "# crashes".to_owned(),
        Fault::PowerLoss(_) => "# loses power".to_owned(),
        Fault::Restart(_) => "# restarts".to_owned(),
        Fault::Pause(_) => "# is paused".to_owned(),
        Fault::Resume(_) => "# is resumed".to_owned(),
        Fault::Cut(_, to) => format!("# cut to {}", name(to)),
        Fault::Heal(_, to) => format!("# healed to {}", name(to)),
        Fault::Reset(_, to) => format!("# connections to {} reset", name(to)),
        Fault::CutToCoordination(_) => "# cut to coordination".to_owned(),
        Fault::CutFromCoordination(_) => "# cut from coordination".to_owned(),
        Fault::HealCoordination(_) => "# healed to coordination".to_owned(),
        Fault::DropCoordination(_) => "# connection to coordination breaks".to_owned(),
    }
}

fn summary(log: &LogSummary) -> String {
    let epochs: Vec<_> = log.epochs.iter().map(|last| format!("e{}<{}", last.epoch, last.end)).collect();
    format!("end {} [{}]", log.end, epochs.join(" "))
}

fn batch(batch: &Batch) -> String {
    let header = &batch.header;
    format!("{}#{}..={}", header.topic, header.first_sequence, header.last_sequence())
}

fn entries(entries: &[Entry]) -> String {
    entries.iter().fold(String::new(), |mut text, entry| {
        let kind = match &entry.kind {
            EntryKind::Batch(inner) => batch(inner),
            EntryKind::EpochStart => "EpochStart".to_owned(),
            EntryKind::SessionOpen { incarnation, .. } => format!("SessionOpen({incarnation})"),
        };
        let _ = write!(text, " @{} e{} {kind}", entry.offset, entry.epoch);
        text
    })
}

fn endpoint(endpoint: Option<&Endpoint>) -> &str {
    endpoint.map_or("nobody", |endpoint| endpoint.node.as_str())
}

fn refusal(reason: &Refusal) -> String {
    match reason {
        Refusal::NotPrimary { primary, epoch } => {
            format!("NotPrimary({} e{epoch})", endpoint(primary.as_ref()))
        }
        Refusal::Electing { .. } => "Electing".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Kind and content. `None`: it says nothing but that its sender is there.
fn message_text(message: &Message) -> Option<(&'static str, String)> {
    let text = match message {
        Message::Hello(hello) => {
            return Some(("Hello", format!(" e{} {}", hello.epoch, summary(&hello.log))));
        }
        Message::Replicate(replicate) => {
            let (epoch, commit) = (replicate.epoch, replicate.commit);
            if replicate.entries.is_empty() {
                ("Commit", format!(" e{epoch} {commit}"))
            } else {
                let entries = entries(&replicate.entries);
                ("Replicate", format!(" e{epoch} commit {commit}:{entries}"))
            }
        }
        Message::ReplicateAck(ack) => ("Ack", format!(" e{} {}", ack.epoch, ack.matched)),
        Message::ReplicateNack(nack) => ("Nack", format!(" floor e{} {}", nack.floor, summary(&nack.log))),
        Message::OpenSession(open) => ("OpenSession", format!(" {}", open.incarnation)),
        Message::SessionOpened(opened) => {
            ("SessionOpened", format!(" {} last {}", opened.incarnation, opened.last_sequence))
        }
        Message::Publish(publish) => {
            let batches: Vec<_> = publish.batches.iter().map(batch).collect();
            ("Publish", format!(" {}", batches.join(" ")))
        }
        Message::PublishAck(ack) => ("PublishAck", format!(" e{} {}", ack.epoch, ack.last_sequence)),
        Message::OpenStream(open) => ("OpenStream", format!(" {:?}", open.start)),
        Message::StreamOpened(opened) => {
            ("StreamOpened", format!(" e{} @{}", opened.epoch, opened.start.offset))
        }
        Message::Deliver(deliver) if !deliver.entries.is_empty() => {
            let entries = entries(&deliver.entries);
            ("Deliver", format!(" {}..{}:{entries}", deliver.from, deliver.upto.offset))
        }
        Message::Lookup(_) => ("Lookup", String::new()),
        Message::Route(route) => {
            ("Route", format!(" e{} c{} {}", route.epoch, route.config, endpoint(route.primary.as_ref())))
        }
        Message::Refusal { reason, .. } => ("Refusal", format!(" {}", refusal(reason))),
        _ => return None,
    };
    Some(text)
}
