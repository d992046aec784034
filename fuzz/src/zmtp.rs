//! What a stranger sends on a ZMTP connection, at either end, in pieces of any length.

use bytes::Bytes;
use steadfast_core::link::Frame;
use steadfast_core::time::Instant;
use steadfast_core::zmtp::{Connection, Event, Fault, Limits, SocketType, Spares};

/// Lengths of pieces stand before the stream.
const CUTS: usize = 6;
const BEGIN: Instant = Instant::from_nanos(1_000_000_000);

/// Which end (an even number dials), the lengths of the pieces, repeated (0 means 65,536), and the stream.
pub fn run(bytes: &[u8]) {
    let Some((&role, rest)) = bytes.split_first() else { return };
    let Some((cuts, stream)) = rest.split_first_chunk::<CUTS>() else { return };
    let (own, other) = match role % 2 {
        0 => (SocketType::Dealer, SocketType::Router),
        _ => (SocketType::Router, SocketType::Dealer),
    };
    let cut = cuts.iter().map(|&cut| if cut == 0 { 1 << 16 } else { usize::from(cut) });
    let pieces = talk(own, other, stream, &mut cut.cycle());
    let whole = talk(own, other, stream, &mut std::iter::repeat(stream.len().max(1)));
    assert_eq!(pieces, whole, "how a stream is cut makes no difference");
}

/// Feeds the stream; sends every message back, and reads what is written as its peer would. Returns what
/// came, and why the connection ended.
fn talk(
    own: SocketType,
    other: SocketType,
    mut stream: &[u8],
    cuts: &mut impl Iterator<Item = usize>,
) -> (Vec<Event>, Option<Fault>) {
    let mut victim = Connection::new(BEGIN, own, Limits::default());
    let mut peer = Peer::new(other);
    let mut spares = Spares::default();
    let (mut events, mut echoed) = (Vec::new(), Vec::new());
    peer.read(&mut victim);
    while let Some(cut) = cuts.next().filter(|_| !stream.is_empty()) {
        let (piece, rest) = stream.split_at(cut.min(stream.len()));
        stream = rest;
        victim.buffer(&mut spares).extend_from_slice(piece);
        victim.received(BEGIN);
        loop {
            match victim.poll_event() {
                Ok(None) => break,
                Ok(Some(event)) => {
                    if let Event::Message(frame) = &event {
                        assert!(victim.send(frame.clone()), "a peer that reads has room");
                        echoed.push(frame.clone());
                    }
                    events.push(event);
                    // Before the next one: a message that is sent back goes ahead of no PONG.
                    peer.read(&mut victim);
                }
                Err(fault) => return (events, Some(fault)),
            }
        }
        victim.give_back(&mut spares);
        peer.read(&mut victim);
    }
    assert!(!peer.is_open || peer.messages == echoed, "what is sent arrives");
    let at = victim.poll_timeout().expect("there is always something to wait for");
    let _ = victim.handle_timeout(at);
    peer.read(&mut victim);
    (events, None)
}

/// Whoever reads what the victim writes, and has sent what opens a connection: all of it must be right.
struct Peer {
    connection: Connection,
    is_open: bool,
    messages: Vec<Frame>,
}

impl Peer {
    fn new(socket: SocketType) -> Self {
        Self {
            connection: Connection::new(BEGIN, socket, Limits::default()),
            is_open: false,
            messages: Vec::new(),
        }
    }

    fn read(&mut self, victim: &mut Connection) {
        let bytes: Vec<u8> = victim.outgoing().flatten().copied().collect();
        victim.written(bytes.len());
        self.connection.buffer(&mut Spares::default()).extend_from_slice(&bytes);
        self.connection.received(BEGIN);
        while let Some(event) = self.connection.poll_event().expect("what is written is good ZMTP") {
            match event {
                Event::Open => self.is_open = true,
                Event::Message(frame) => self.messages.push(frame),
            }
        }
    }
}

/// What good peers of both kinds send: handshake, messages short and long, PING.
pub fn seeds() -> Vec<Vec<u8>> {
    let cuts: [[u8; CUTS]; 3] = [[0; CUTS], [1; CUTS], [64, 1, 9, 2, 200, 3]];
    let ends = [(0, SocketType::Router), (1, SocketType::Dealer)];
    let streams = ends.map(|(role, socket)| (role, stream(socket)));
    let seed = |role: u8, cuts: [u8; CUTS], stream: &[u8]| [&[role], &cuts[..], stream].concat();
    let seeds = |(role, stream): &(u8, Vec<u8>)| cuts.map(|cuts| seed(*role, cuts, stream));
    streams.iter().flat_map(seeds).collect()
}

/// Everything that this end writes in a conversation with its own kind.
fn stream(socket: SocketType) -> Vec<u8> {
    let mut writer = Connection::new(BEGIN, socket, Limits::default());
    let mut reader = Connection::new(BEGIN, SocketType::Dealer, Limits::default());
    let mut bytes = Vec::new();
    for _ in 0..2 {
        pass(&mut reader, &mut writer);
        bytes.extend(pass(&mut writer, &mut reader));
    }
    let long = Bytes::from(vec![7; 300]);
    for parts in [vec![Bytes::from_static(b"hi")], vec![Bytes::from_static(b"head"), long, Bytes::new()]] {
        assert!(writer.send(Frame { parts }), "the connection is open");
    }
    let at = writer.poll_timeout().expect("silence is noticed");
    writer.handle_timeout(at).expect("it asks first");
    bytes.extend(pass(&mut writer, &mut reader));
    bytes
}

fn pass(from: &mut Connection, to: &mut Connection) -> Vec<u8> {
    let bytes: Vec<u8> = from.outgoing().flatten().copied().collect();
    from.written(bytes.len());
    to.buffer(&mut Spares::default()).extend_from_slice(&bytes);
    to.received(BEGIN);
    while to.poll_event().expect("a good peer").is_some() {}
    bytes
}
