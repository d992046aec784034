//! A process's client of the ensemble.

use super::outage::Outage;
use super::{Connection, ConnectionId, Down, Effects, Ensemble, Happening, Up};
use crate::network::ProcessId;
use crate::pipe::Pipe;
use crate::random::{Purpose, Span};
use std::collections::VecDeque;
use std::time::Duration;
use steadfast_core::coordination::tree::{WatchBook, check};
use steadfast_core::coordination::{CallId, Error, Event, Operation, Reply, SessionId, SessionState, Zxid};

/// What a client knows, and the ways between it and the ensemble.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// Whether its process runs.
    pub running: bool,
    /// Nothing from it arrives.
    pub cut_to: bool,
    /// Nothing arrives at it.
    pub cut_from: bool,
    /// Whether its process wants a session.
    pub wanted: bool,
    /// The session that it believes in.
    pub session: Option<SessionId>,
    /// The connection that it uses or tries.
    pub connection: Option<ConnectionId>,
    /// Whether that connection carries a session.
    pub connected: bool,
    /// Number of the latest attempt to connect: an older one's timer means nothing.
    pub attempt: u64,
    /// Number of the latest silence: an older one's timers mean nothing.
    pub quiet: u64,
    /// An attempt to connect came due while the process was paused.
    pub postponed: bool,
    /// Its server went while the process was paused.
    pub abandoned: bool,
    /// When it was paused last.
    pub paused_at: u64,
    /// Calls made while there was no connection.
    pub waiting: VecDeque<(CallId, Operation)>,
    /// Calls sent and not answered.
    pub unanswered: VecDeque<(CallId, Operation)>,
    /// The watches that it has left.
    pub book: WatchBook,
    /// The last transaction that it knows of.
    pub seen: Zxid,
}

impl Client {
    /// The client of the next process: only what lies outside of the process remains.
    pub fn without_session(self) -> Self {
        Self {
            cut_to: self.cut_to,
            cut_from: self.cut_from,
            attempt: self.attempt + 1,
            quiet: self.quiet + 1,
            ..Self::default()
        }
    }
}

impl Ensemble {
    pub(super) fn call(
        &mut self,
        now: u64,
        process: ProcessId,
        call: CallId,
        operation: Operation,
        effects: &mut Effects,
    ) {
        let client = self.clients.entry(process).or_default();
        if !client.wanted {
            let result = Err(Error::SessionExpired);
            effects.events.push((process, Event::Reply { call, result }));
        } else if let Err(error) = check(&operation) {
            // The client sends nothing that the server would not look at.
            effects.events.push((process, Event::Reply { call, result: Err(error) }));
        } else if let Some(id) = client.connection.filter(|_| client.connected) {
            client.unanswered.push_back((call, operation.clone()));
            self.up(now, id, Up::Call(call, operation), effects);
        } else {
            client.waiting.push_back((call, operation));
        }
    }

    /// Tries to connect, and will try again unless the attempt succeeds.
    pub(super) fn connect(&mut self, now: u64, process: ProcessId, attempt: u64, effects: &mut Effects) {
        let Some(client) = self.clients.get_mut(&process) else { return };
        if client.attempt != attempt || !client.wanted || client.connected {
            return;
        }
        if !client.running {
            client.postponed = true;
            return;
        }
        self.break_connection(now, process, effects);
        let connected = self.connected.entry(process).or_default();
        *connected += 1;
        let id = process.entity() << 32 | *connected;
        // Refused connections come back at once, a server that is silent takes its time.
        let again = match self.outage {
            Outage::None => self.config.timeout() / 3,
            _ => self.draw(Purpose::Reconnect, process, self.config.reconnect),
        };
        let client = self.clients.entry(process).or_default();
        client.connection = Some(id);
        client.attempt += 1;
        let attempt = client.attempt;
        let greeting = match client.session {
            Some(session) => Up::Reattach(session, client.seen, client.book.clone()),
            None => Up::Open,
        };
        let (up, down) = (Pipe::default(), Pipe::default());
        let connection =
            Connection { process, session: None, up, down, dropped: false, stuck: false, gone: false };
        self.connections.insert(id, connection);
        self.up(now, id, greeting, effects);
        effects.later.push((now + again, Happening::Connect(process, attempt)));
    }

    /// A packet arrives at the client's machine.
    pub(super) fn arrive_down(&mut self, now: u64, id: ConnectionId, effects: &mut Effects) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let process = connection.process;
        let Some(client) = self.clients.get_mut(&process) else { return };
        if client.cut_from || !client.running {
            connection.down.hold();
            return;
        }
        let Some(packet) = connection.down.take() else { return };
        if client.connection != Some(id) {
            return;
        }
        match packet {
            Down::Opened(Some(session)) => self.attached(now, process, session, effects),
            Down::Opened(None) => self.end_session(now, process, effects),
            Down::Reply(call, result, seen) => self.replied(process, call, result, seen, effects),
            Down::Watch(path, kind) => {
                // The real client serves each watch by itself: one event of the server comes as often
                // as watches see it.
                let copies = client.book.watching(&path, kind);
                client.book.strike(&path, kind);
                let event = (process, Event::Watch { path, kind });
                effects.events.extend(std::iter::repeat_n(event, copies));
            }
            Down::Closed => self.disconnect(now, process, now, effects),
        }
    }

    fn replied(
        &mut self,
        process: ProcessId,
        call: CallId,
        result: Result<Reply, Error>,
        seen: Zxid,
        effects: &mut Effects,
    ) {
        let client = self.clients.entry(process).or_default();
        client.seen = seen;
        if let Some(index) = client.unanswered.iter().position(|(other, _)| *other == call) {
            let asked = client.unanswered.remove(index);
            if let (Some((_, operation)), Ok(reply)) = (asked, &result) {
                client.book.note(&operation, reply);
            }
        }
        effects.events.push((process, Event::Reply { call, result }));
    }

    fn attached(&mut self, now: u64, process: ProcessId, session: SessionId, effects: &mut Effects) {
        let client = self.clients.entry(process).or_default();
        client.session = Some(session);
        client.connected = true;
        client.attempt += 1;
        client.quiet += 1;
        effects.events.push((process, Event::Session(SessionState::Connected(session))));
        let waiting = std::mem::take(&mut client.waiting);
        for (call, operation) in waiting {
            self.call(now, process, call, operation, effects);
        }
    }

    /// The client takes its connection for broken.
    pub(super) fn silence(&mut self, now: u64, process: ProcessId, quiet: u64, effects: &mut Effects) {
        let Some(client) = self.clients.get(&process) else { return };
        if client.quiet == quiet && client.running && client.connected {
            self.disconnect(now, process, now - self.config.silence(), effects);
        }
    }

    /// The connection is gone: what was not answered is unknown, and the client tries again. It has
    /// `heard` of its server then.
    pub(super) fn disconnect(&mut self, now: u64, process: ProcessId, heard: u64, effects: &mut Effects) {
        let was_connected = self.clients.get(&process).is_some_and(|client| client.connected);
        self.break_connection(now, process, effects);
        let delay = self.draw(Purpose::Reconnect, process, self.config.reconnect);
        let client = self.clients.entry(process).or_default();
        if was_connected {
            effects.events.push((process, Event::Session(SessionState::Suspended)));
        }
        for (call, _) in client.unanswered.drain(..) {
            effects.events.push((process, Event::Reply { call, result: Err(Error::Unknown) }));
        }
        client.attempt += 1;
        client.quiet += 1;
        effects.later.push((now + delay, Happening::Connect(process, client.attempt)));
        let give_up = heard + self.config.give_up();
        effects.later.push((give_up, Happening::GiveUp(process, client.quiet)));
    }

    /// The client has been disconnected for so long that its session must be over.
    pub(super) fn give_up(&mut self, now: u64, process: ProcessId, quiet: u64, effects: &mut Effects) {
        let Some(client) = self.clients.get(&process) else { return };
        if client.quiet == quiet && !client.connected && client.session.is_some() && client.running {
            self.end_session(now, process, effects);
        }
    }

    fn end_session(&mut self, now: u64, process: ProcessId, effects: &mut Effects) {
        let Some(client) = self.clients.get_mut(&process) else { return };
        client.session = None;
        client.book = WatchBook::default();
        client.wanted = false;
        client.connected = false;
        client.attempt += 1;
        client.quiet += 1;
        if let Some(id) = client.connection.take() {
            self.leave(now, id, effects);
        }
        effects.events.push((process, Event::Session(SessionState::Expired)));
        let client = self.clients.entry(process).or_default();
        let calls = client.unanswered.drain(..).map(|(call, _)| (call, Error::Unknown));
        let waiting = client.waiting.drain(..).map(|(call, _)| (call, Error::SessionExpired));
        for (call, error) in calls.chain(waiting) {
            effects.events.push((process, Event::Reply { call, result: Err(error) }));
        }
    }

    /// Drops the client's connection. Each request under way is lost with everything behind it, or
    /// arrives as if nothing had happened, or arrives late.
    pub(super) fn break_connection(&mut self, now: u64, process: ProcessId, effects: &mut Effects) {
        let Some(client) = self.clients.get_mut(&process) else { return };
        client.connected = false;
        let Some(id) = client.connection.take() else { return };
        let fate = self.draws.below(Purpose::LostRequest, process.entity(), id << 1, 3);
        let Some(under_way) = self.connections.get(&id).map(|connection| connection.up.len()) else { return };
        let keep =
            self.draws.below(Purpose::LostRequest, process.entity(), id << 1 | 1, under_way as u64 + 1);
        let late = Span::new(Duration::ZERO, self.config.session_timeout / 2);
        let delay = self.draw(Purpose::LostRequest, process, late);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match fate {
            0 => connection.up.lose_after(keep as usize),
            1 => {
                connection.stuck = true;
                effects.later.push((now + delay, Happening::Unstick(id)));
            }
            _ => {}
        }
        self.leave(now, id, effects);
    }
}
