//! The client of the embedded coordination service, against a peer that the test plays.

use bytes::Bytes;
use steadfast_core::coordination::client::{Boot, Client};
use steadfast_core::coordination::{Event, Operation, Reply, Request};
use steadfast_core::id::{Address, Nonce};
use steadfast_core::limits::Timing;
use steadfast_core::link::{Frame, LinkCommand, LinkId, LinkStatus};
use steadfast_core::message::{Message, SessionCredentials};
use steadfast_core::node::{Input, Node, Output};
use steadfast_core::time::{Duration, Instant};
use steadfast_core::wire;

const T: Duration = Duration::from_millis(1_000);
const SESSION: SessionCredentials = SessionCredentials { id: 9, password: Nonce(5) };

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn opened(session: SessionCredentials) -> Message {
    Message::CoordinationOpened { session: Some((session, T)) }
}

const NO_SESSION: Message = Message::CoordinationOpened { session: None };

struct Play {
    client: Client,
    now: Instant,
    link: LinkId,
}

impl Play {
    /// A client that has been asked for a session and waits for its link.
    fn dialling() -> Self {
        let address = Address::new("tcp://127.0.0.1:1").unwrap();
        let boot = Boot { seed: 1, address, timeout: T, timing: Timing::default() };
        let client = Client::new(at(0), boot);
        let mut play = Self { client, now: at(0), link: LinkId::dialled(0) };
        assert_eq!(play.give(Input::Command(Request::OpenSession)), ["dial"]);
        play
    }

    /// A client with a session.
    fn attached() -> Self {
        let mut play = Self::dialling();
        assert_eq!(play.status(LinkStatus::Up), ["CoordinationOpen"]);
        assert_eq!(play.hear(&opened(SESSION)), ["Session(Connected(9))"]);
        play
    }

    /// What the client does: names of messages, events and traces. Remembers the last link dialled.
    fn give(&mut self, input: Input<Request>) -> Vec<String> {
        self.client.handle_input(self.now, input);
        let mut done = Vec::new();
        while let Some(output) = self.client.poll_output() {
            done.push(match output {
                Output::Transmit { frame, .. } => {
                    let name = format!("{:?}", wire::decode(frame).expect("a client's frame"));
                    name.split([' ', '(']).next().unwrap_or_default().into()
                }
                Output::Link(LinkCommand::Dial { link, .. }) => {
                    self.link = link;
                    "dial".into()
                }
                Output::Link(LinkCommand::Close { .. }) => "close".into(),
                Output::Event(Event::Session(state)) => format!("Session({state:?})"),
                Output::Event(event) => format!("{event:?}"),
                // Each change of the session is an event and a trace.
                Output::Trace(trace) if format!("{trace}").starts_with("Session(") => continue,
                Output::Trace(trace) => format!("{trace}"),
                other => panic!("the client asks for {other:?}"),
            });
        }
        done
    }

    fn status(&mut self, status: LinkStatus) -> Vec<String> {
        self.give(Input::Link { link: self.link, status })
    }

    fn hear(&mut self, message: &Message) -> Vec<String> {
        self.give(Input::Received { link: self.link, frame: wire::encode(message) })
    }

    fn call(&mut self, call: u64) -> Vec<String> {
        let operation = Operation::Sync { path: "/".into() };
        self.give(Input::Command(Request::Call { call, operation }))
    }

    /// Lets time pass up to the client's next deadline.
    fn wait(&mut self) -> Vec<String> {
        self.now = self.client.poll_timeout().expect("the client waits for something");
        self.give(Input::Timeout)
    }
}

#[test]
fn a_reply_out_of_order_ends_the_link_not_the_session() {
    let mut play = Play::attached();
    assert_eq!(play.call(1), ["CoordinationCall"]);
    assert_eq!(play.call(2), ["CoordinationCall"]);
    let result = Ok(Reply::Done);
    assert_eq!(
        play.hear(&Message::CoordinationReply { call: 2, result }),
        [
            "Rejected { link: >1, reason: Unexpected }",
            "close",
            "Session(Suspended)",
            "Reply { call: 1, result: Err(Unknown) }",
            "Reply { call: 2, result: Err(Unknown) }"
        ]
    );
    assert_eq!(play.wait(), ["dial"]);
    assert_eq!(play.status(LinkStatus::Up), ["CoordinationOpen"]);
    assert_eq!(play.hear(&opened(SESSION)), ["Session(Connected(9))"]);
}

#[test]
fn frames_that_make_no_sense_are_dropped() {
    let mut play = Play::attached();
    for message in [Message::CoordinationClose, NO_SESSION, opened(SESSION), Message::Ping { token: 1 }] {
        assert_eq!(play.hear(&message), ["Rejected { link: >1, reason: Unexpected }"], "{message:?}");
    }
    let frame = Frame { parts: vec![Bytes::from_static(b"\xff")] };
    let garbage = Input::Received { link: play.link, frame };
    assert_eq!(play.give(garbage), ["Rejected { link: >1, reason: Malformed }"]);
    let frame = wire::encode(&opened(SESSION));
    let stray = Input::Received { link: LinkId::dialled(77), frame };
    assert_eq!(play.give(stray), ["Rejected { link: >77, reason: Unexpected }"]);
    let mut play = Play::dialling();
    assert_eq!(play.hear(&opened(SESSION)), ["Rejected { link: >1, reason: Unexpected }"]);
    assert_eq!(play.status(LinkStatus::Up), ["CoordinationOpen"]);
    assert_eq!(play.hear(&Message::Pong { token: 1 }), ["Rejected { link: >1, reason: Unexpected }"]);
    assert_eq!(play.hear(&opened(SESSION)), ["Session(Connected(9))"]);
}

#[test]
fn without_room_for_its_session_the_client_tries_again() {
    let mut play = Play::dialling();
    play.status(LinkStatus::Up);
    assert_eq!(play.hear(&NO_SESSION), ["close"]);
    assert_eq!(play.wait(), ["dial"]);
    play.status(LinkStatus::Up);
    assert_eq!(play.hear(&opened(SESSION)), ["Session(Connected(9))"]);
}

#[test]
fn another_session_than_its_own_is_not_taken() {
    let mut play = Play::attached();
    assert_eq!(play.status(LinkStatus::Lost), ["Session(Suspended)"]);
    play.wait();
    play.status(LinkStatus::Up);
    let other = SessionCredentials { id: 8, ..SESSION };
    assert_eq!(play.hear(&opened(other)), ["Rejected { link: >2, reason: Unexpected }", "close"]);
    assert_eq!(play.wait(), ["dial"]);
}

#[test]
fn a_link_that_never_comes_up_or_never_answers_is_given_up_after_a_while() {
    let mut play = Play::dialling();
    assert_eq!(play.wait(), ["close"]);
    assert_eq!(play.now, at(400));
    assert_eq!(play.wait(), ["dial"]);
    play.status(LinkStatus::Up);
    let begun = play.now;
    assert_eq!(play.wait(), ["close"]);
    assert_eq!(play.now, begun + T * 2 / 5);
}

#[test]
fn a_silent_peer_is_pinged_and_left() {
    let mut play = Play::attached();
    assert_eq!(play.wait(), ["Ping"]);
    assert_eq!(play.wait(), ["Ping"]);
    assert_eq!(play.now, at(300));
    assert_eq!(play.wait(), ["close", "Session(Suspended)"]);
    assert_eq!(play.now, at(400));
    let mut last = Vec::new();
    while play.client.poll_timeout().is_some() {
        last = play.wait();
        play.status(LinkStatus::Refused);
    }
    assert_eq!(last, ["Session(Expired)"]);
    assert_eq!(play.now, at(1_400));
    assert_eq!(play.call(1), ["Reply { call: 1, result: Err(SessionExpired) }"]);
}

#[test]
fn a_close_waits_for_its_confirmation_but_not_for_long() {
    for confirmed in [true, false] {
        let mut play = Play::attached();
        assert_eq!(play.call(1), ["CoordinationCall"]);
        let closed = play.give(Input::Command(Request::CloseSession));
        assert_eq!(closed, ["CoordinationClose"]);
        let reply = Message::CoordinationReply { call: 1, result: Ok(Reply::Done) };
        assert_eq!(play.hear(&reply), [""; 0], "nothing more is answered");
        let done = if confirmed { play.hear(&NO_SESSION) } else { play.wait() };
        assert_eq!(done, ["close"]);
        assert_eq!(play.now, if confirmed { at(0) } else { at(400) });
        assert_eq!(play.client.poll_timeout(), None);
    }
}

#[test]
fn a_new_session_does_not_wait_for_the_end_of_the_old_one() {
    let mut play = Play::attached();
    let old = play.link;
    play.give(Input::Command(Request::CloseSession));
    assert_eq!(play.give(Input::Command(Request::OpenSession)), ["dial"]);
    assert_eq!(play.give(Input::Command(Request::OpenSession)), [""; 0], "it is on its way");
    play.status(LinkStatus::Up);
    let frame = wire::encode(&NO_SESSION);
    assert_eq!(play.give(Input::Received { link: old, frame }), ["close"]);
    let fresh = SessionCredentials { id: 10, ..SESSION };
    assert_eq!(play.hear(&opened(fresh)), ["Session(Connected(10))"]);
}

#[test]
fn no_more_calls_are_under_way_than_a_link_can_take() {
    let mut play = Play::attached();
    for call in 1..=256 {
        assert_eq!(play.call(call), ["CoordinationCall"]);
    }
    assert_eq!(play.call(257), [""; 0]);
    let reply = Message::CoordinationReply { call: 1, result: Ok(Reply::Done) };
    assert_eq!(play.hear(&reply), ["Reply { call: 1, result: Ok(Done) }", "CoordinationCall"]);
}
