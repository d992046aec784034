//! The engine on streams that do what a test says.

use super::*;
use futures::task::noop_waker;
use steadfast_core::node::Input;

/// What the next dial or accept comes to.
enum Coming {
    Stream(Puppet),
    Error(ErrorKind),
}

/// A stream with what is read from it: bytes, and then nothing or the end. Writing to it may fail.
#[derive(Default)]
struct Puppet {
    read: VecDeque<Vec<u8>>,
    ends: bool,
    is_broken: bool,
}

impl Stream for Puppet {
    fn poll_read(&mut self, _: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        match self.read.pop_front() {
            Some(bytes) => {
                buffer.extend_from_slice(&bytes);
                Poll::Ready(Ok(bytes.len()))
            }
            None if self.ends => Poll::Ready(Ok(0)),
            None => Poll::Pending,
        }
    }

    fn poll_write(&mut self, _: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.is_broken {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()))
    }
}

/// Whoever comes stands in a queue.
struct Puppets;

impl Network for Puppets {
    type Stream = Puppet;
    type Listener = VecDeque<Coming>;

    fn poll_accept(queue: &mut VecDeque<Coming>, _: &mut Context<'_>) -> Poll<io::Result<Puppet>> {
        match queue.pop_front() {
            Some(Coming::Stream(stream)) => Poll::Ready(Ok(stream)),
            Some(Coming::Error(kind)) => Poll::Ready(Err(kind.into())),
            None => Poll::Pending,
        }
    }

    fn connect(_: Address) -> BoxFuture<'static, io::Result<Puppet>> {
        Box::pin(std::future::pending())
    }
}

fn listening(coming: impl IntoIterator<Item = Coming>) -> Links<Puppets> {
    let address = Address::new("tcp://puppets:1").expect("an address");
    Links::listening(address, coming.into_iter().collect())
}

/// One turn at this time.
fn turn(links: &mut Links<Puppets>, now: Instant) -> Vec<(LinkId, Option<LinkStatus>)> {
    let mut batch = Batch::<()>::default();
    let waker = noop_waker();
    links.poll(&mut Context::from_waker(&waker), now, &mut batch);
    let inputs = batch.drain().map(|input| match input {
        Input::Received { link, .. } => (link, None),
        Input::Link { link, status } => (link, Some(status)),
        other => panic!("{other:?}"),
    });
    inputs.collect()
}

fn at(time: Duration) -> Instant {
    Instant::default() + time
}

/// What a client says that introduces itself and sends a word.
fn introduction() -> Vec<u8> {
    let mut said = vec![0; 64];
    (said[0], said[9], said[10], said[11]) = (0xff, 0x7f, 3, 1);
    said[12..16].copy_from_slice(b"NULL");
    said.extend(b"\x04\x1c\x05READY\x0bSocket-Type\0\0\0\x06DEALER");
    said.extend(b"\0\x04word");
    said
}

#[test]
fn connections_are_limited_and_those_that_say_nothing_make_room() {
    let count = MAX_ACCEPTED + 1_000;
    let mut links = listening((0..count).map(|_| Coming::Stream(Puppet::default())));
    for _ in 0..=count / ACCEPTS {
        assert_eq!(turn(&mut links, at(Duration::ZERO)), []);
    }
    assert_eq!(links.wires.len(), MAX_ACCEPTED);
    let limit = Limits::default().handshake;
    assert_eq!(links.deadline(), Some(at(limit)));
    turn(&mut links, at(limit));
    assert_eq!((links.wires.len(), links.timers.len(), links.deadline()), (0, 0, None));
}

#[test]
fn accepting_goes_on_after_a_while_when_the_system_has_refused() {
    let word = || Coming::Stream(Puppet { read: [introduction()].into(), ..Puppet::default() });
    let gone = Coming::Error(ErrorKind::ConnectionAborted);
    let refused = Coming::Error(ErrorKind::OutOfMemory);
    let mut links = listening([gone, word(), refused, word()]);
    assert_eq!(turn(&mut links, at(Duration::ZERO)), [(LinkId::accepted(1), None)]);
    let wait = at(ACCEPT_PAUSE);
    assert_eq!(links.deadline(), Some(wait));
    assert_eq!(turn(&mut links, at(ACCEPT_PAUSE / 2)), []);
    assert_eq!(turn(&mut links, wait), [(LinkId::accepted(2), None)]);
}

#[test]
fn last_words_are_heard_from_a_peer_that_takes_nothing_more() {
    let last = [introduction(), b"\0\x04last".to_vec()];
    let peer = Puppet { read: last.into(), ends: true, is_broken: true };
    let mut links = listening([Coming::Stream(peer)]);
    let link = LinkId::accepted(1);
    let heard = turn(&mut links, at(Duration::ZERO));
    assert_eq!(heard, [(link, None), (link, None), (link, Some(LinkStatus::Lost))]);
}

#[test]
fn a_silent_peer_costs_one_timer() {
    let peer = Puppet { read: [introduction()].into(), ..Puppet::default() };
    let mut links = listening([Coming::Stream(peer)]);
    turn(&mut links, at(Duration::ZERO));
    let (limits, link) = (Limits::default(), LinkId::accepted(1));
    for time in [limits.handshake, limits.ping] {
        assert_eq!(turn(&mut links, at(time)), []);
        assert_eq!(links.timers.len(), 1);
    }
    assert_eq!(links.deadline(), Some(at(limits.silence)));
    assert_eq!(turn(&mut links, at(limits.silence)), [(link, Some(LinkStatus::Lost))]);
    assert_eq!(links.deadline(), None);
}
