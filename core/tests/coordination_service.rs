//! The embedded coordination service, spoken to frame by frame.

use bytes::Bytes;
use proptest::prelude::*;
use steadfast_core::coordination::service::{Boot, Config, Service};
use steadfast_core::coordination::tree::Limits;
use steadfast_core::coordination::{Create, CreateMode, Delete, Error, Operation, Reply};
use steadfast_core::id::Nonce;
use steadfast_core::link::{Frame, LinkCommand, LinkId, LinkStatus};
use steadfast_core::message::{Message, SessionCredentials};
use steadfast_core::node::{Input, Node, Output};
use steadfast_core::time::{Duration, Instant};
use steadfast_core::wire;

const ONE: LinkId = LinkId::accepted(1);
const TWO: LinkId = LinkId::accepted(2);
const T: Duration = Duration::from_millis(1_000);
const OPEN: Message = Message::CoordinationOpen { session: None, timeout: T };

fn at(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn service(limits: Limits) -> Service {
    Service::new(at(0), Boot { seed: 3, config: Config { limits, ..Config::default() } })
}

/// What the service does with a message: frames as messages, the rest as it prints.
fn tell(service: &mut Service, now: Instant, link: LinkId, message: &Message) -> Vec<String> {
    give(service, now, Input::Received { link, frame: wire::encode(message) })
}

fn give(
    service: &mut Service,
    now: Instant,
    input: Input<steadfast_core::coordination::service::Command>,
) -> Vec<String> {
    service.handle_input(now, input);
    std::iter::from_fn(|| service.poll_output()).map(|output| describe(output).0).collect()
}

fn describe(output: Output<steadfast_core::coordination::service::Event>) -> (String, Option<Message>) {
    match output {
        Output::Transmit { link, frame } => {
            let message = wire::decode(frame).expect("the service sends what its peer can read");
            let name = format!("{message:?}");
            let name = name.split([' ', '(']).next().unwrap_or_default();
            (format!("{link} {name}"), Some(message))
        }
        Output::Link(LinkCommand::Close { link }) => (format!("{link} closed"), None),
        Output::Trace(trace) => (format!("{trace}"), None),
        other => panic!("the service asks for {other:?}"),
    }
}

/// Opens or re-attaches a session: what it was granted.
fn open(
    service: &mut Service,
    now: Instant,
    link: LinkId,
    message: &Message,
) -> Option<(SessionCredentials, Duration)> {
    service.handle_input(now, Input::Received { link, frame: wire::encode(message) });
    let mut granted = None;
    while let Some(output) = service.poll_output() {
        if let (_, Some(Message::CoordinationOpened { session })) = describe(output) {
            granted = session;
        }
    }
    granted
}

fn reattach(session: SessionCredentials) -> Message {
    Message::CoordinationOpen { session: Some(session), timeout: T }
}

fn create(path: &str) -> Message {
    let create = Create { path: path.into(), data: Bytes::new(), mode: CreateMode::Ephemeral };
    Message::CoordinationCall { call: 1, operation: Operation::Create(create) }
}

#[test]
fn timeouts_are_granted_within_bounds() {
    let config = Config::default();
    let cases =
        [(Duration::ZERO, config.min_timeout), (T, T), (Duration::from_secs(1_000_000), config.max_timeout)];
    for (asked, granted) in cases {
        let mut service = service(Limits::default());
        let message = Message::CoordinationOpen { session: None, timeout: asked };
        let (session, timeout) = open(&mut service, at(0), ONE, &message).expect("a session");
        assert_eq!(timeout, granted, "{asked:?}");
        let again = Message::CoordinationOpen { session: Some(session), timeout: asked };
        assert_eq!(open(&mut service, at(0), TWO, &again), Some((session, granted)));
    }
}

#[test]
fn any_frame_keeps_a_session_alive_and_it_dies_at_a_tick() {
    let useless = Message::Pong { token: 1 };
    let signs = [Message::Ping { token: 7 }, create("/e"), OPEN, useless];
    for sign in signs {
        let mut service = service(Limits::default());
        open(&mut service, at(30), ONE, &OPEN);
        assert_eq!(service.poll_timeout(), Some(at(1_100)), "30 ms + T, at the next tick");
        tell(&mut service, at(555), ONE, &sign);
        assert_eq!(service.poll_timeout(), Some(at(1_600)), "{sign:?}");
        assert_eq!(
            give(&mut service, at(1_599), Input::Timeout),
            [""; 0],
            "before the deadline nothing happens"
        );
        assert_eq!(give(&mut service, at(1_600), Input::Timeout), ["<1 closed"], "{sign:?}");
        assert_eq!(service.poll_timeout(), None);
        assert_eq!(service.tree().paths().count(), 1, "no ephemeral is left");
    }
}

#[test]
fn statement_12_after_a_session_has_moved_its_old_link_can_do_nothing_more() {
    let mut service = service(Limits::default());
    let (session, _) = open(&mut service, at(0), ONE, &OPEN).expect("a session");
    assert_eq!(tell(&mut service, at(1), TWO, &reattach(session)), ["<1 closed", "<2 CoordinationOpened"]);
    let late = tell(&mut service, at(2), ONE, &create("/late"));
    assert_eq!(late, ["Rejected { link: <1, reason: Unexpected }"]);
    assert_eq!(give(&mut service, at(3), Input::Link { link: ONE, status: LinkStatus::Lost }), [""; 0]);
    assert_eq!(tell(&mut service, at(4), TWO, &create("/e")), ["<2 CoordinationReply"]);
    assert_eq!(service.tree().paths().collect::<Vec<_>>(), ["/", "/e"]);
    assert_eq!(service.tree().node("/e").map(|(_, stat)| stat.ephemeral_owner), Some(session.id));
}

#[test]
fn a_session_is_given_only_to_whoever_knows_its_password_while_it_lives() {
    let mut service = service(Limits::default());
    let (session, _) = open(&mut service, at(0), ONE, &OPEN).expect("a session");
    let guesses = [
        SessionCredentials { password: Nonce(session.password.0 ^ 1), ..session },
        SessionCredentials { id: session.id ^ 1, ..session },
    ];
    for guess in guesses {
        assert_eq!(open(&mut service, at(1), TWO, &reattach(guess)), None, "{guess:?}");
    }
    assert_eq!(tell(&mut service, at(2), ONE, &Message::Ping { token: 1 }), ["<1 Pong"], "it is undisturbed");
    give(&mut service, at(3), Input::Link { link: ONE, status: LinkStatus::Lost });
    assert_eq!(open(&mut service, at(4), TWO, &reattach(session)).map(|(session, _)| session), Some(session));
    assert_eq!(tell(&mut service, at(5), TWO, &Message::CoordinationClose), ["<2 CoordinationOpened"]);
    assert_eq!(open(&mut service, at(6), TWO, &reattach(session)), None);
    let other = open(&mut service, at(7), TWO, &OPEN).expect("the link is free for another").0;
    assert_ne!(other.id, session.id);
}

#[test]
fn a_link_without_a_session_is_not_answered() {
    let mut service = service(Limits::default());
    let messages =
        [Message::Ping { token: 1 }, create("/e"), Message::CoordinationClose, Message::Pong { token: 1 }];
    for message in messages {
        let done = tell(&mut service, at(0), ONE, &message);
        assert_eq!(done, ["Rejected { link: <1, reason: Unexpected }"], "{message:?}");
    }
    let frames = [Frame::default(), Frame { parts: vec![Bytes::from_static(b"\xff\xff")] }];
    for frame in frames {
        let done = give(&mut service, at(0), Input::Received { link: ONE, frame });
        assert_eq!(done, ["Rejected { link: <1, reason: Malformed }"]);
    }
    assert_eq!(service.tree().paths().count(), 1);
}

#[test]
fn too_many_sessions_are_refused_until_one_ends() {
    let mut service = service(Limits { sessions: 1, ..Limits::default() });
    open(&mut service, at(0), ONE, &OPEN).expect("a session");
    let done = tell(&mut service, at(1), TWO, &OPEN);
    assert_eq!(done, ["Busy { limit: Sessions }", "<2 CoordinationOpened"]);
    tell(&mut service, at(2), ONE, &Message::CoordinationClose);
    assert!(open(&mut service, at(3), TWO, &OPEN).is_some());
}

#[test]
fn a_watch_of_a_session_without_a_link_fires_into_the_void() {
    let mut service = service(Limits::default());
    let (watcher, _) = open(&mut service, at(0), ONE, &OPEN).expect("a session");
    let watch = Operation::Watch { path: "/".into(), recursive: true };
    let exists = Operation::Exists { path: "/b".into(), watch: true };
    for operation in [watch, exists] {
        let call = Message::CoordinationCall { call: 1, operation };
        assert_eq!(tell(&mut service, at(0), ONE, &call), ["<1 CoordinationReply"]);
    }
    give(&mut service, at(0), Input::Link { link: ONE, status: LinkStatus::Lost });
    open(&mut service, at(1), TWO, &OPEN);
    assert_eq!(tell(&mut service, at(1), TWO, &create("/a")), ["<2 CoordinationReply"]);
    let three = LinkId::accepted(3);
    assert_eq!(tell(&mut service, at(2), three, &reattach(watcher)), ["<3 CoordinationOpened"]);
    let done = tell(&mut service, at(3), TWO, &create("/b"));
    assert_eq!(done, ["<3 CoordinationWatch", "<2 CoordinationReply"], "from here on it is told, once");
}

#[test]
fn a_session_cannot_collect_persistent_watches_without_end() {
    let mut service = service(Limits { watches: 4, ..Limits::default() });
    open(&mut service, at(0), ONE, &OPEN);
    let mut call = |operation| {
        let frame = wire::encode(&Message::CoordinationCall { call: 1, operation });
        service.handle_input(at(0), Input::Received { link: ONE, frame });
        std::iter::from_fn(|| service.poll_output()).filter_map(|output| describe(output).1).last()
    };
    let mut answers = Vec::new();
    for n in 0..6 {
        let path = format!("/{n}");
        // One-shot watches that fire end the persistent one in the tree, which makes room there.
        for operation in [
            Operation::Watch { path: path.clone(), recursive: false },
            Operation::Exists { path: path.clone(), watch: true },
            Operation::Create(Create {
                path: path.clone(),
                data: Bytes::new(),
                mode: CreateMode::Persistent,
            }),
            Operation::Children { path: path.clone(), watch: true },
            Operation::Delete(Delete { path, version: None }),
        ] {
            let watches = matches!(operation, Operation::Watch { .. });
            if let Some(Message::CoordinationReply { result, .. }) = call(operation)
                && watches
            {
                answers.push(result);
            }
        }
    }
    let (taken, refused) = (Ok(Reply::Done), Err(Error::Invalid));
    assert_eq!(answers, [&taken, &taken, &taken, &taken, &refused, &refused].map(Clone::clone));
}

#[test]
fn the_largest_replies_fit_in_a_frame() {
    let mut service = service(Limits::default());
    open(&mut service, at(0), ONE, &OPEN);
    let mut call = |operation| {
        let frame = wire::encode(&Message::CoordinationCall { call: 1, operation });
        service.handle_input(at(0), Input::Received { link: ONE, frame });
        match service.poll_output().map(describe) {
            Some((_, Some(Message::CoordinationReply { result, .. }))) => result,
            other => panic!("a reply, not {other:?}"),
        }
    };
    let path = format!("/{}", "n".repeat(800));
    let mode = CreateMode::PersistentSequential;
    let create = Operation::Create(Create { path, data: Bytes::new(), mode });
    let made = (0..1_000).take_while(|_| call(create.clone()).is_ok()).count();
    assert!((200..300).contains(&made), "{made}");
    let children = Operation::Children { path: "/".into(), watch: false };
    let Ok(Reply::Children(names)) = call(children) else { panic!("a list") };
    assert_eq!(names.len(), made);
}

fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        Just(OPEN),
        Just(create("/e")),
        Just(Message::CoordinationClose),
        Just(Message::Ping { token: 1 }),
        Just(Message::CoordinationOpened { session: None }),
        (1..4_u64, any::<u128>())
            .prop_map(|(id, password)| { reattach(SessionCredentials { id, password: Nonce(password) }) }),
    ]
}

proptest! {
    /// Whatever comes, in whatever order, on whatever link, and however it is garbled: sessions end in
    /// the end, and leave nothing.
    #[test]
    fn no_peer_disturbs_the_service(
        inputs in prop::collection::vec((0..4_u64, 0..200_u64, any_message(), any::<(u8, u8, u8)>()), 0..60),
    ) {
        let mut service = service(Limits { sessions: 3, ..Limits::default() });
        let mut now = 0;
        for (link, pause, message, (choice, place, value)) in inputs {
            now += pause;
            let link = LinkId::accepted(link);
            let mut frame = wire::encode(&message);
            if choice < 40 {
                let mut garbled = frame.parts[0].to_vec();
                let place = usize::from(place) % garbled.len();
                garbled[place] = value;
                frame.parts[0] = garbled.into();
            }
            let input = match choice {
                200..220 => Input::Link { link, status: LinkStatus::Lost },
                220.. => Input::Timeout,
                _ => Input::Received { link, frame },
            };
            give(&mut service, at(now), input);
        }
        while let Some(deadline) = service.poll_timeout() {
            give(&mut service, deadline, Input::Timeout);
        }
        for path in service.tree().paths() {
            // A garbled create may ask for a node that stays.
            prop_assert_eq!(service.tree().node(path).map(|(_, stat)| stat.ephemeral_owner), Some(0));
        }
        prop_assert!(open(&mut service, at(10_000_000), ONE, &OPEN).is_some());
    }
}
