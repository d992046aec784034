//! The other end of a [`service`](super::service): gives a node its coordination port over one link,
//! and behaves as a ZooKeeper client does. Commands are the node's requests, events are for the node.
//!
//! With `T` for the session's timeout as granted: it pings when it has sent nothing for 0.15 T, is
//! suspended when it has received nothing for 0.4 T or has lost its link, and dials again with full
//! jitter, until the session is attached again, the service says that it is over, or 1.4 T have passed
//! since it was last heard.
//! Whoever wakes up after a long pause gets one more attempt (of 0.4 T) before it gives the session up
//! by itself: as a rule, a paused process learns of its expiry from the service.
//!
//! Calls are sent in order. Those made while there is no link wait for one; when too many wait, a new
//! one is answered with [`Error::Unknown`]. Those that were under way when the link was lost are
//! answered with [`Error::Unknown`], and may still be carried out. Without a session, calls are
//! answered with [`Error::SessionExpired`].
//!
//! After the session was attached again, persistent watches hold again, and what they would have seen
//! is lost. One-shot watches all fire, whether or not there was a change: what they saw may have been
//! lost with the link.

use crate::coordination::tree::{WatchBook, check};
use crate::coordination::{CallId, Error, Event, Operation, Reply, Request, SessionState};
use crate::id::Address;
use crate::limits::{MAX_ENVELOPE_LEN, Timing};
use crate::link::{Dialler, Frame, LinkCommand, LinkId, LinkStatus};
use crate::message::{Message, SessionCredentials};
use crate::node::{Input, Node, Outbox, Output};
use crate::rng::{Backoff, Rng};
use crate::time::{Duration, Instant, earliest, is_due};
use crate::trace::{Rejection, Trace};
use crate::wire;
use alloc::collections::VecDeque;

/// Most calls that wait to be sent.
const MAX_WAITING_CALLS: usize = 1_024;
/// Most bytes in calls that wait to be sent.
const MAX_WAITING_LEN: usize = 4 << 20;
/// Most calls that wait for their reply. A link's queue never fills with calls.
const MAX_CALLS_UNDER_WAY: usize = 256;
/// No timeout is taken for shorter, whatever is asked for or granted.
const MIN_TIMEOUT: Duration = Duration::from_millis(10);
/// Nor for longer: this is what the wire can carry.
const MAX_TIMEOUT: Duration = Duration::from_millis(u32::MAX as u64);

/// Everything that a client starts from.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Of its random numbers.
    pub seed: u64,
    /// Where the service listens.
    pub address: Address,
    /// The session timeout to ask for. The service may grant another.
    pub timeout: Duration,
    /// Delays between attempts to connect.
    pub timing: Timing,
}

/// The session, as far as the client knows.
#[derive(Debug)]
enum Session {
    /// Nobody has asked for one.
    None,
    /// Asked for, not granted yet.
    Wanted,
    /// Granted. Without a link it is given up at this time.
    Held { credentials: SessionCredentials, until: Instant },
}

#[derive(Debug)]
enum Connection {
    /// None is wanted.
    Idle,
    /// Waits before it tries again.
    Down { retry: Instant },
    /// Waits for the link.
    Dialling { link: LinkId, until: Instant },
    /// Has asked for the session.
    Greeting { link: LinkId, until: Instant },
    /// The session has this link.
    Attached { link: LinkId, heard: Instant, next_ping: Instant },
}

impl Connection {
    const fn link(&self) -> Option<LinkId> {
        match self {
            Self::Idle | Self::Down { .. } => None,
            Self::Dialling { link, .. } | Self::Greeting { link, .. } | Self::Attached { link, .. } => {
                Some(*link)
            }
        }
    }
}

/// A call, from when it was made to its reply.
#[derive(Debug)]
struct Call {
    id: CallId,
    /// The operation, if it may leave a watch.
    watch: Option<Operation>,
    frame: Frame,
}

/// The node at the client's end.
#[derive(Debug)]
pub struct Client {
    address: Address,
    asked: Duration,
    /// As granted; as asked for until then.
    timeout: Duration,
    rng: Rng,
    backoff: Backoff,
    dialler: Dialler,
    session: Session,
    connection: Connection,
    waiting: VecDeque<Call>,
    waiting_len: usize,
    under_way: VecDeque<Call>,
    watches: WatchBook,
    /// The link of a session that was closed, until the service has confirmed it, and no longer than
    /// this.
    closing: Option<(LinkId, Instant)>,
    pings: u64,
    out: Outbox<Event>,
}

impl Client {
    /// A client without a session: it waits for [`Request::OpenSession`].
    pub fn new(_now: Instant, boot: Boot) -> Self {
        let Boot { seed, address, timeout, timing } = boot;
        let timeout = timeout.clamp(MIN_TIMEOUT, MAX_TIMEOUT);
        Self {
            address,
            asked: timeout,
            timeout,
            rng: Rng::new(seed),
            backoff: Backoff::new(timing.backoff, timing.backoff_cap),
            dialler: Dialler::default(),
            session: Session::None,
            connection: Connection::Idle,
            waiting: VecDeque::new(),
            waiting_len: 0,
            under_way: VecDeque::new(),
            watches: WatchBook::default(),
            closing: None,
            pings: 0,
            out: Outbox::default(),
        }
    }

    fn handle_request(&mut self, now: Instant, request: Request) {
        match (request, &self.session) {
            (Request::OpenSession, Session::None) => {
                self.session = Session::Wanted;
                self.timeout = self.asked;
                self.dial(now);
            }
            // There is one, or will be: nothing to do.
            (Request::OpenSession, _) => {}
            (Request::CloseSession, _) => self.close_session(now),
            (Request::Call { call, .. }, Session::None) => self.answer(call, Err(Error::SessionExpired)),
            (Request::Call { call, operation }, _) => self.call(now, call, operation),
        }
    }

    fn call(&mut self, now: Instant, id: CallId, operation: Operation) {
        if let Err(error) = check(&operation) {
            return self.answer(id, Err(error));
        }
        let watch = may_leave_watch(&operation).then(|| operation.clone());
        let frame = wire::encode(&Message::CoordinationCall { call: id, operation });
        if frame.len() > MAX_ENVELOPE_LEN {
            return self.answer(id, Err(Error::Invalid));
        }
        if self.waiting.len() >= MAX_WAITING_CALLS || self.waiting_len + frame.len() > MAX_WAITING_LEN {
            return self.answer(id, Err(Error::Unknown));
        }
        self.waiting_len += frame.len();
        self.waiting.push_back(Call { id, watch, frame });
        self.send_waiting(now);
    }

    fn send_waiting(&mut self, now: Instant) {
        let pause = self.ping_pause();
        let Connection::Attached { link, next_ping, .. } = &mut self.connection else { return };
        while self.under_way.len() < MAX_CALLS_UNDER_WAY
            && let Some(mut call) = self.waiting.pop_front()
        {
            self.waiting_len -= call.frame.len();
            self.out.transmit(*link, core::mem::take(&mut call.frame));
            self.under_way.push_back(call);
            *next_ping = now + pause;
        }
    }

    fn dial(&mut self, now: Instant) {
        let link = self.dialler.next_link();
        self.connection = Connection::Dialling { link, until: now + self.silence() };
        self.out.link(LinkCommand::Dial { link, address: self.address.clone() });
    }

    fn receive(&mut self, now: Instant, link: LinkId, frame: Frame) {
        let message = match wire::decode(frame) {
            Ok(message) => message,
            Err(reason) => return self.reject(link, reason),
        };
        if self.closing.is_some_and(|(closing, _)| closing == link) {
            // Replies and events may come before the confirmation; nobody waits for them.
            if message == (Message::CoordinationOpened { session: None }) {
                self.finish_closing();
            }
            return;
        }
        if self.connection.link() != Some(link) {
            return self.reject(link, Rejection::Unexpected);
        }
        match (&mut self.connection, message) {
            (Connection::Greeting { .. }, Message::CoordinationOpened { session }) => match session {
                Some((credentials, timeout)) => self.attached(now, link, credentials, timeout),
                None => self.refused(now, link),
            },
            (Connection::Attached { heard, .. }, message) => {
                *heard = now;
                self.handle_message(now, link, message);
            }
            _ => self.reject(link, Rejection::Unexpected),
        }
    }

    /// A message on the session's link.
    fn handle_message(&mut self, now: Instant, link: LinkId, message: Message) {
        match message {
            Message::CoordinationReply { call, result } => {
                let Some(first) = self.under_way.pop_front_if(|first| first.id == call) else {
                    // Replies come in order: one was lost, and with it the trust in this link.
                    self.reject(link, Rejection::Unexpected);
                    return self.hang_up(now);
                };
                if let (Some(operation), Ok(reply)) = (&first.watch, &result) {
                    self.watches.note(operation, reply);
                }
                self.answer(call, result);
                self.send_waiting(now);
            }
            Message::CoordinationWatch { path, kind } => {
                self.watches.strike(&path, kind);
                self.out.event(Event::Watch { path, kind });
            }
            Message::Pong { .. } => {}
            _ => self.reject(link, Rejection::Unexpected),
        }
    }

    /// The session has this link now.
    fn attached(&mut self, now: Instant, link: LinkId, granted: SessionCredentials, timeout: Duration) {
        if let Session::Held { credentials, .. } = &self.session
            && *credentials != granted
        {
            self.reject(link, Rejection::Unexpected);
            return self.hang_up(now);
        }
        self.timeout = timeout.clamp(MIN_TIMEOUT, MAX_TIMEOUT);
        self.session = Session::Held { credentials: granted, until: now + self.lifetime() };
        self.connection = Connection::Attached { link, heard: now, next_ping: now + self.ping_pause() };
        self.backoff.reset();
        self.tell(SessionState::Connected(granted.id));
        for (path, kind) in self.watches.take_one_shots() {
            self.out.event(Event::Watch { path, kind });
        }
        self.send_waiting(now);
    }

    /// The service has no session for us.
    fn refused(&mut self, now: Instant, link: LinkId) {
        match self.session {
            Session::Held { .. } => self.expire(),
            // No room for a new one: there may be, later.
            Session::None | Session::Wanted => {
                self.out.link(LinkCommand::Close { link });
                self.wait(now);
            }
        }
    }

    /// The session is over.
    fn expire(&mut self) {
        if let Some(link) = self.connection.link() {
            self.out.link(LinkCommand::Close { link });
        }
        self.session = Session::None;
        self.connection = Connection::Idle;
        self.watches = WatchBook::default();
        self.waiting_len = 0;
        self.tell(SessionState::Expired);
        for call in core::mem::take(&mut self.waiting) {
            self.answer(call.id, Err(Error::SessionExpired));
        }
    }

    fn close_session(&mut self, now: Instant) {
        self.finish_closing();
        match self.connection {
            Connection::Attached { link, .. } => {
                // A link that is closed may lose what is queued: it waits for the confirmation.
                self.out.transmit(link, wire::encode(&Message::CoordinationClose));
                self.closing = Some((link, now + self.silence()));
            }
            Connection::Dialling { link, .. } | Connection::Greeting { link, .. } => {
                self.out.link(LinkCommand::Close { link });
            }
            Connection::Idle | Connection::Down { .. } => {}
        }
        self.session = Session::None;
        self.connection = Connection::Idle;
        self.watches = WatchBook::default();
        self.waiting.clear();
        self.waiting_len = 0;
        self.under_way.clear();
    }

    fn finish_closing(&mut self) {
        if let Some((link, _)) = self.closing.take() {
            self.out.link(LinkCommand::Close { link });
        }
    }

    fn handle_status(&mut self, now: Instant, link: LinkId, status: LinkStatus) {
        if self.connection.link() == Some(link) {
            match (status, &self.connection) {
                (LinkStatus::Up, Connection::Dialling { until, .. }) => {
                    self.connection = Connection::Greeting { link, until: *until };
                    self.greet(link);
                }
                (LinkStatus::Up, _) => {}
                (LinkStatus::Refused | LinkStatus::Lost, _) => self.disconnected(now),
            }
        } else if self.closing.is_some_and(|(closing, _)| closing == link) && status != LinkStatus::Up {
            self.closing = None;
        }
    }

    fn greet(&mut self, link: LinkId) {
        let session = match &self.session {
            Session::Held { credentials, .. } => Some(*credentials),
            Session::None | Session::Wanted => None,
        };
        let open = Message::CoordinationOpen { session, timeout: self.asked };
        self.out.transmit(link, wire::encode(&open));
    }

    /// Closes the link and tries another.
    fn hang_up(&mut self, now: Instant) {
        if let Some(link) = self.connection.link() {
            self.out.link(LinkCommand::Close { link });
        }
        self.disconnected(now);
    }

    /// The link is gone.
    fn disconnected(&mut self, now: Instant) {
        let (silence, lifetime) = (self.silence(), self.lifetime());
        if let (Connection::Attached { heard, .. }, Session::Held { until, .. }) =
            (&self.connection, &mut self.session)
        {
            *until = (*heard + lifetime).max(now + silence);
            self.tell(SessionState::Suspended);
        }
        self.wait(now);
        for call in core::mem::take(&mut self.under_way) {
            self.answer(call.id, Err(Error::Unknown));
        }
    }

    fn wait(&mut self, now: Instant) {
        self.connection = Connection::Down { retry: now + self.backoff.next(&mut self.rng) };
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.closing.is_some_and(|(_, until)| until <= now) {
            self.finish_closing();
        }
        if is_due(self.given_up(), now) {
            return self.expire();
        }
        let silence = self.silence();
        let pause = self.ping_pause();
        match &mut self.connection {
            Connection::Down { retry } if *retry <= now => self.dial(now),
            Connection::Dialling { until, .. } | Connection::Greeting { until, .. } if *until <= now => {
                self.hang_up(now);
            }
            Connection::Attached { heard, .. } if *heard + silence <= now => self.hang_up(now),
            Connection::Attached { link, next_ping, .. } if *next_ping <= now => {
                *next_ping = now + pause;
                self.pings += 1;
                self.out.transmit(*link, wire::encode(&Message::Ping { token: self.pings }));
            }
            _ => {}
        }
    }

    /// When the session is given up, if it has no link.
    const fn given_up(&self) -> Option<Instant> {
        match (&self.session, &self.connection) {
            (_, Connection::Attached { .. }) => None,
            (Session::Held { until, .. }, _) => Some(*until),
            (Session::None | Session::Wanted, _) => None,
        }
    }

    /// 0.15 T: two pings may go unanswered before the silence is too long.
    fn ping_pause(&self) -> Duration {
        self.timeout * 3 / 20
    }

    /// 0.4 T: after so much silence the link is given up. An attempt to get one takes no longer.
    fn silence(&self) -> Duration {
        self.timeout * 2 / 5
    }

    /// 1.4 T: after so much silence the session is given up.
    fn lifetime(&self) -> Duration {
        self.timeout * 7 / 5
    }

    fn answer(&mut self, call: CallId, result: Result<Reply, Error>) {
        self.out.event(Event::Reply { call, result });
    }

    fn tell(&mut self, state: SessionState) {
        self.out.trace(Trace::Session(state));
        self.out.event(Event::Session(state));
    }

    fn reject(&mut self, link: LinkId, reason: Rejection) {
        self.out.trace(Trace::Rejected { link, reason });
    }
}

impl Node for Client {
    type Command = Request;
    type Event = Event;

    fn handle_input(&mut self, now: Instant, input: Input<Request>) {
        match input {
            Input::Command(request) => self.handle_request(now, request),
            Input::Received { link, frame } => self.receive(now, link, frame),
            Input::Link { link, status } => self.handle_status(now, link, status),
            Input::Timeout => self.handle_timeout(now),
            // It asks nobody.
            Input::Coordination(_) | Input::Storage(_) => {}
        }
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        self.out.pop()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let connection = match &self.connection {
            Connection::Idle => None,
            Connection::Down { retry } => Some(*retry),
            Connection::Dialling { until, .. } | Connection::Greeting { until, .. } => Some(*until),
            Connection::Attached { heard, next_ping, .. } => Some((*heard + self.silence()).min(*next_ping)),
        };
        let closing = self.closing.map(|(_, until)| until);
        earliest(earliest(connection, closing), self.given_up())
    }
}

const fn may_leave_watch(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Get { watch: true, .. }
            | Operation::Exists { watch: true, .. }
            | Operation::Children { watch: true, .. }
    )
}
