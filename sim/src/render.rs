//! The history as text: a line per event, fault, state transition and message, readable without
//! knowing the code. What only says "still here" is left out.

use crate::actor::{Actor, Event};
use crate::fault::Fault;
use crate::network::ProcessId;
use crate::world::{Cause, Step, World};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use steadfast_core::coordination::{Event as CoordinationEvent, SessionState};
use steadfast_core::id::{Endpoint, NodeName};
use steadfast_core::log::{Batch, Entry, EntryKind};
use steadfast_core::message::{Departure, LogSummary, Message, Refusal, SnapshotAck, Start};
use steadfast_core::node::Output;
use steadfast_core::trace::Trace;
use steadfast_core::{publisher, subscriber, wire};

/// So many bytes of a record are shown; the others pad it.
const SHOWN: usize = 32;

/// A record as people read it: where it is long, how it begins and how many bytes there are.
pub(crate) struct Payload<B>(pub B);

impl<B: AsRef<[u8]>> fmt::Debug for Payload<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.as_ref();
        let shown = &bytes[..bytes.len().min(SHOWN)];
        write!(f, "b\"{}\"", shown.escape_ascii())?;
        if bytes.len() > SHOWN { write!(f, "… ({} bytes)", bytes.len()) } else { Ok(()) }
    }
}

/// Collects lines.
#[derive(Debug, Default)]
pub struct Renderer {
    lines: Vec<String>,
    without_time: bool,
    /// The last message of each kind between two processes that may be left out when it repeats.
    said: BTreeMap<(ProcessId, ProcessId, &'static str), String>,
}

impl Renderer {
    /// Leaves the time out, and what clients and discovery say to each other about routes: what
    /// remains is the protocol, and changes only when that changes.
    pub fn brief() -> Self {
        Self { without_time: true, ..Self::default() }
    }

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
                self.line(world, step, &format!("session {}", session_text(state)));
            }
            _ => {}
        }
        for output in &step.outputs {
            match output {
                Output::Trace(Trace::Session(_)) => {}
                Output::Trace(trace) if self.without_time && is_routing(trace) => {}
                Output::Trace(trace) => self.line(world, step, &format!("| {}", trace_text(trace))),
                Output::Event(event) => self.line(world, step, &event_text(event)),
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
        if self.without_time {
            self.lines.push(format!("{:<2} {text}", world.name(step.process)));
            return;
        }
        let (ms, us) = (step.at / 1_000_000, step.at / 1_000 % 1_000);
        self.lines.push(format!("{ms:>6}.{us:03} {:<3} {text}", world.name(step.process)));
    }

    fn message(&mut self, world: &World<Actor>, step: &Step<Event>, peer: ProcessId, message: &Message) {
        let Some((kind, text)) = message_text(message) else { return };
        if self.without_time && matches!(kind, "Lookup" | "Route") {
            return;
        }
        let way = (step.process, peer, kind);
        if self.said.insert(way, text.clone()).is_none_or(|before| before != text) {
            self.line(world, step, &format!("-> {} {kind}{text}", world.name(peer)));
        }
    }
}

pub(crate) const fn session_text(state: &SessionState) -> &'static str {
    match state {
        SessionState::Connected(_) => "connected",
        SessionState::Suspended => "suspended",
        SessionState::Expired => "expired",
    }
}

/// What an application is told.
pub(crate) fn event_text(event: &Event) -> String {
    match event {
        Event::Publisher(publisher::Event::Completed { tickets, result: Ok(()) }) => {
            format!("* acknowledged {}..={}", tickets.start, tickets.end - 1)
        }
        Event::Subscriber(subscriber::Event::Delivered(delivery)) => {
            let payloads: Vec<_> = delivery.records.clone().map(Payload).collect();
            format!("* delivered @{} {} {payloads:?}", delivery.offset, delivery.topic)
        }
        Event::Publisher(publisher::Event::Connected { endpoint, epoch }) => {
            format!("* connected to {} e{epoch}", endpoint.node)
        }
        Event::Subscriber(subscriber::Event::Connected { endpoint, epoch, at }) => {
            format!("* connected to {} e{epoch} @{}", endpoint.node, at.position.offset)
        }
        Event::Publisher(publisher::Event::LineageChanged { from, to }) => {
            format!("* lineage {} instead of {}", to.lineage, from.lineage)
        }
        Event::Subscriber(subscriber::Event::LineageChanged { from, to }) => {
            let place = from.position;
            format!("* lineage {} instead of {}, was @{}", to.lineage, place.lineage, place.offset)
        }
        Event::Publisher(event) => format!("* {event:?}"),
        Event::Subscriber(event) => format!("* {event:?}"),
        Event::Broker(event) => format!("* {event:?}"),
        Event::Discovery(event) => format!("* {event:?}"),
        Event::Operator(told) => format!("* {told:?}"),
    }
}

/// Whether it is about finding the primary.
fn is_routing(trace: &Trace) -> bool {
    matches!(trace, Trace::Routed { .. } | Trace::Attached { .. })
}

fn names<'a>(names: impl IntoIterator<Item = &'a NodeName>) -> String {
    let names: Vec<_> = names.into_iter().map(NodeName::as_str).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(" ") }
}

/// Short where it comes often, and without identities that are random.
pub(crate) fn trace_text(trace: &Trace) -> String {
    match trace {
        Trace::GroupChanged { history, epoch, config, primary, in_sync } => {
            let (primary, in_sync) = (names(primary), names(in_sync));
            format!("state l{} e{epoch} c{config}: primary {primary}, in sync {in_sync}", history.lineage)
        }
        Trace::BecameBackup { epoch, primary } => format!("becomes backup e{epoch} of {}", names(primary)),
        Trace::BecamePrimary { epoch, start } => format!("becomes primary e{epoch} from @{start}"),
        Trace::EpochCommitted { epoch, commit } => format!("serves e{epoch}, commit {commit}"),
        Trace::SteppedDown { epoch } => format!("steps down from e{epoch}"),
        Trace::HandoverBegan { target } => format!("hands over to {target}"),
        Trace::HandoverFailed { target } => format!("goes on: {target} has not taken over"),
        Trace::TakeOverIgnored { node, epoch } => format!("ignores that {node} hands over e{epoch}"),
        Trace::Leaves { departure } => format!("leaves: {}", departure_text(departure)),
        Trace::Suspected { node, cause } => format!("suspects {node}: {cause:?}"),
        Trace::Kept { node, cause } => format!("keeps {node}: {cause:?}"),
        Trace::Proposed { change, epoch, config } => format!("proposes {change:?} e{epoch} c{config}"),
        Trace::Resolved { change, outcome } => format!("{change:?} is {outcome:?}"),
        Trace::FollowerAttached { member, common } => format!("attaches {} from @{common}", member.node),
        Trace::Truncated { to, from } => format!("cuts its log from {from} to {to}"),
        Trace::Trimmed { from, to } => format!("trims its log from {from} to {to}"),
        Trace::SnapshotRefused { bytes, limit } => {
            format!("refuses a snapshot of {bytes} bytes, has {limit}")
        }
        Trace::SnapshotBegun { member } => format!("sends {} a snapshot", member.node),
        Trace::Installed { start, end } => format!("installs a snapshot {start}..{end}"),
        Trace::Throttled { member: Some(member) } => format!("holds publishers back for {}", member.node),
        Trace::Throttled { member: None } => "holds publishers back no more".to_owned(),
        Trace::Wiped { lineage } => format!("begins lineage {lineage}"),
        Trace::Registered { .. } => "registered".to_owned(),
        Trace::Routed { epoch, primary, .. } => format!("route e{epoch} {}", endpoint(primary.as_ref())),
        Trace::SessionOpened { incarnation, .. } => format!("session {incarnation} opened"),
        Trace::GroupCreated { history } => format!("creates the group, lineage {}", history.lineage),
        Trace::StreamOpened { from, .. } => format!("stream opened from @{from}"),
        Trace::Detached { cause, .. } => format!("detached: {cause:?}"),
        Trace::StaleProcess { node, .. } => format!("ignores another process of {node}"),
        other => format!("{other}"),
    }
}

fn departure_text(departure: &Departure) -> String {
    match departure {
        Departure::HandedOver { successor } => format!("{successor} has taken over"),
        other => format!("{other:?}"),
    }
}

pub(crate) fn fault_text(world: &World<Actor>, fault: Fault) -> String {
    let name = |process| world.name(process);
    match fault {
        Fault::Crash(_) => "# crashes".to_owned(),
        Fault::Exit(_) => "# ends".to_owned(),
        Fault::PowerLoss(_) => "# loses power".to_owned(),
        Fault::Restart(_) => "# restarts".to_owned(),
        Fault::Pause(_) => "# is paused".to_owned(),
        Fault::Resume(_) => "# is resumed".to_owned(),
        Fault::Slow(_, cost) => format!("# takes {cost:?} for each input"),
        Fault::ClockRate(_, drift) => format!("# its clock runs {drift} millionths too fast"),
        Fault::ClockJump(_, by) => format!("# its clock jumps {by:?} ahead"),
        Fault::LimitMemory(_, limit) => format!("# may need {limit} bytes"),
        Fault::Cut(_, to) => format!("# cut to {}", name(to)),
        Fault::Heal(_, to) => format!("# healed to {}", name(to)),
        Fault::Reset(_, to) => format!("# connections to {} reset", name(to)),
        Fault::HalfOpen(_, to) => format!("# loses its ends of connections to {}", name(to)),
        Fault::Vanish(_, to) => format!("# connections to {} are forgotten", name(to)),
        Fault::Delay(_, to, by) => format!("# what is under way to {} takes {by:?} longer", name(to)),
        Fault::Lag(_, to, by) => format!("# packets to {} take {by:?} longer", name(to)),
        Fault::Damage(_, to, permille) => format!("# {permille} in 1,000 frames to {} are damaged", name(to)),
        Fault::StopReading(_) => "# stops reading".to_owned(),
        Fault::ReadAgain(_) => "# reads again".to_owned(),
        Fault::StopStoring(_) => "# its storage completes nothing".to_owned(),
        Fault::StoreAgain(_) => "# its storage goes on".to_owned(),
        Fault::CutToCoordination(_) => "# cut to coordination".to_owned(),
        Fault::CutFromCoordination(_) => "# cut from coordination".to_owned(),
        Fault::HealCoordination(_) => "# healed to coordination".to_owned(),
        Fault::DropCoordination(_) => "# connection to coordination breaks".to_owned(),
        Fault::NewLeader => "# coordination elects another leader".to_owned(),
        Fault::StopCoordination => "# coordination stops".to_owned(),
        Fault::StartCoordination => "# coordination starts".to_owned(),
        Fault::CutFollower => "# coordination's follower is cut off".to_owned(),
        Fault::HealFollower => "# coordination's follower is back".to_owned(),
    }
}

fn summary(log: &LogSummary) -> String {
    let epochs: Vec<_> = log.epochs.iter().map(|last| format!("e{}<{}", last.epoch, last.end)).collect();
    format!("end {} [{}]", log.end, epochs.join(" "))
}

fn start(start: &Start) -> String {
    match start {
        Start::At(place) => format!("l{} e{} @{}", place.lineage, place.epoch, place.offset),
        other => format!("{other:?}"),
    }
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
            EntryKind::SessionExpire { incarnation, .. } => format!("SessionExpire({incarnation})"),
            EntryKind::Trim { to } => format!("Trim({to})"),
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
        Refusal::LineageChanged { history } => format!("LineageChanged({})", history.lineage),
        other => format!("{other:?}"),
    }
}

/// Kind and content. `None`: it says nothing but that its sender is there.
pub(crate) fn message_text(message: &Message) -> Option<(&'static str, String)> {
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
        Message::TakeOver(take_over) => ("TakeOver", format!(" e{}", take_over.epoch)),
        Message::Drain => ("Drain", String::new()),
        Message::Drained(departure) => ("Drained", format!(" {}", departure_text(departure))),
        Message::SnapshotRecords(records) if !records.entries.is_empty() => {
            let (part, entries) = (&records.part, entries(&records.entries));
            ("SnapshotRecords", format!(" {}/{} from {}:{entries}", part.snapshot, part.part, records.from))
        }
        Message::SnapshotFold(fold) => {
            let (part, range) = (&fold.part, format!("{}..{}", fold.log_start, fold.cut));
            let (sessions, topics) = (fold.sessions.len(), fold.topics.len());
            let rows = format!("{sessions} sessions, {topics} topics");
            ("SnapshotFold", format!(" {}/{} {range}: {rows}", part.snapshot, part.part))
        }
        Message::SnapshotAck(SnapshotAck(part)) => {
            ("SnapshotAck", format!(" {}/{}", part.snapshot, part.part))
        }
        Message::OpenSession(open) => ("OpenSession", format!(" {}", open.incarnation)),
        Message::SessionOpened(opened) => {
            ("SessionOpened", format!(" {} last {}", opened.incarnation, opened.last_sequence))
        }
        Message::Publish(publish) => {
            let batches: Vec<_> = publish.batches.iter().map(batch).collect();
            ("Publish", format!(" {}", batches.join(" ")))
        }
        Message::PublishAck(ack) => ("PublishAck", format!(" e{} {}", ack.epoch, ack.last_sequence)),
        Message::OpenStream(open) => ("OpenStream", format!(" {}", start(&open.start))),
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
