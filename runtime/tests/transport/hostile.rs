//! Strangers on raw TCP connections, against the native transport: each is closed at its limit, and nobody
//! else notices.

use super::end::{End, PATIENCE, frame, while_polling, within};
use crate::{Transport, block_on};
use async_io::Timer;
use bytes::Bytes;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};
use steadfast_core::limits::{MAX_FRAME_ENTRIES, MAX_FRAME_LEN};
use steadfast_core::link::{Frame, LinkId, LinkStatus};
use steadfast_core::zmtp::Limits;
use steadfast_runtime::address::{host_and_port, parse};
use steadfast_runtime::transport::Kind;

/// A stranger's end of a connection, which does what it wants.
struct Stranger(TcpStream);

impl Stranger {
    fn comes(server: &End) -> Self {
        let stream = TcpStream::connect(host_and_port(&server.address()).unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self(stream)
    }

    /// One that has done the handshake of a DEALER.
    fn introduced(server: &End) -> Self {
        let mut stranger = Self::comes(server);
        stranger.say(&[&greeting()[..], &ready(b"DEALER")].concat());
        stranger
    }

    /// Says it all, or as much as is taken.
    fn say(&mut self, bytes: &[u8]) -> usize {
        match self.0.write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => 0,
            Err(error) => panic!("{error}"),
        }
    }

    /// Everything that it hears until its connection is closed.
    async fn closed(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        while self.hears(&mut heard) {
            Timer::after(Duration::from_millis(1)).await;
        }
        heard
    }

    /// Adds what has come. Whether more may come.
    fn hears(&mut self, heard: &mut Vec<u8>) -> bool {
        let mut some = [0; 4_096];
        loop {
            match self.0.read(&mut some) {
                Ok(0) => return false,
                Ok(count) => heard.extend_from_slice(&some[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
        }
    }
}

fn greeting() -> [u8; 64] {
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10], greeting[11]) = (0xff, 0x7f, 3, 1);
    greeting[12..16].copy_from_slice(b"NULL");
    greeting
}

fn ready(socket: &[u8]) -> Vec<u8> {
    command(&[&b"\x05READY\x0bSocket-Type\0\0\0"[..], &[socket.len() as u8], socket].concat())
}

fn command(body: &[u8]) -> Vec<u8> {
    [&[4, body.len() as u8], body].concat()
}

/// A header that promises so many bytes.
fn promise(flags: u8, bytes: u64) -> Vec<u8> {
    [&[flags | 2], &bytes.to_be_bytes()[..]].concat()
}

/// A native server with a client that it serves meanwhile.
struct Served {
    server: End,
    client: End,
    link: LinkId,
}

impl Served {
    async fn start() -> Self {
        let (mut server, mut client) = (End::listening(Kind::Native).await, End::dialling(Kind::Native));
        let address = server.address();
        let link = while_polling(&mut server, client.connect(1, &address)).await;
        Self { server, client, link }
    }

    /// The client is served as ever, and the server knows of nobody else.
    async fn is_well(&mut self) {
        self.client.transport.transmit(self.link, frame(&[b"still here"]));
        let (from, got) = while_polling(&mut self.client, self.server.received()).await;
        assert_eq!(got, frame(&[b"still here"]));
        self.server.transport.transmit(from, frame(&[b"so am I"]));
        let got = while_polling(&mut self.server, self.client.received()).await;
        assert_eq!(got, (self.link, frame(&[b"so am I"])));
    }

    /// What a stranger hears until it is closed.
    async fn closes(&mut self, stranger: &mut Stranger) -> Vec<u8> {
        let closed = within(PATIENCE, while_polling(&mut self.server, stranger.closed())).await;
        closed.expect("the stranger is closed")
    }
}

#[test]
fn a_length_that_nobody_has_closes_the_connection_and_nothing_else() {
    block_on(async {
        let mut served = Served::start().await;
        for length in [1 << 40, 1 << 62, u64::MAX] {
            for flags in [0, 1, 4] {
                let mut early = Stranger::comes(&served.server);
                early.say(&[&greeting()[..], &promise(flags, length)].concat());
                served.closes(&mut early).await;
                let mut late = Stranger::introduced(&served.server);
                late.say(&promise(flags, length));
                served.closes(&mut late).await;
            }
        }
        served.is_well().await;
    });
}

#[test]
fn a_server_that_promises_too_much_is_lost() {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = parse(&listener.local_addr().unwrap().to_string()).unwrap();
        for length in [1 << 40, 1 << 62] {
            let mut client = End::dialling(Kind::Native);
            let link = client.dial(1, &address);
            client.poll().await;
            let mut server = listener.accept().unwrap().0;
            server.write_all(&[&greeting()[..], &ready(b"ROUTER"), &promise(0, length)].concat()).unwrap();
            assert_eq!(client.status().await, (link, LinkStatus::Up));
            assert_eq!(client.status().await, (link, LinkStatus::Lost));
        }
    });
}

#[test]
fn a_message_without_end_is_closed_at_its_limit() {
    block_on(async {
        let mut served = Served::start().await;
        let mut by_parts = Stranger::introduced(&served.server);
        by_parts.say(&[1, 0].repeat(2 + MAX_FRAME_ENTRIES));
        served.closes(&mut by_parts).await;

        let mut by_bytes = Stranger::introduced(&served.server);
        let part = [&promise(1, 1 << 20)[..], &vec![0; 1 << 20]].concat();
        let endless = async {
            let (mut said, mut heard) = (0, Vec::new());
            while by_bytes.hears(&mut heard) {
                said += by_bytes.say(&part[said % part.len()..]);
                Timer::after(Duration::from_micros(100)).await;
            }
            said
        };
        let said = while_polling(&mut served.server, endless).await;
        // Beside its limit the system's buffers hold some.
        assert!(said > MAX_FRAME_LEN && said < 8 * MAX_FRAME_LEN, "{said}");
        served.is_well().await;
    });
}

#[test]
fn handshakes_that_nobody_finishes_are_closed_in_time() {
    block_on(async {
        let mut served = Served::start().await;
        let start = Instant::now();
        let beginnings: [&[u8]; 4] = [b"", b"\xff", &greeting()[..40], &greeting()];
        let mut strangers = Vec::new();
        for beginning in beginnings.iter().cycle().take(400) {
            let mut stranger = Stranger::comes(&served.server);
            stranger.say(beginning);
            strangers.push(stranger);
            // The system holds only so many that nobody has accepted yet.
            while_polling(&mut served.server, Timer::after(Duration::from_millis(1))).await;
        }
        served.is_well().await;
        for stranger in &mut strangers {
            served.closes(stranger).await;
        }
        assert!(start.elapsed() >= Limits::default().handshake);
        served.is_well().await;
    });
}

#[test]
fn a_peer_that_never_reads_is_closed_at_its_byte_limit() {
    block_on(async {
        let mut served = Served::start().await;
        let mut stuck = Stranger::introduced(&served.server);
        stuck.say(b"\0\x0cI never read");
        let (link, _) = served.server.received().await;
        let body = Bytes::from(vec![1; MAX_FRAME_LEN / 8]);
        let mut queued = 0;
        while !served.server.is_waiting() {
            served.server.transport.transmit(link, Frame { parts: vec![body.clone()] });
            queued += body.len();
            served.server.poll().await;
            assert!(queued <= 4 * Limits::default().queued_bytes, "it is still there");
        }
        assert_eq!(served.server.status().await, (link, LinkStatus::Lost));
        assert!(queued > Limits::default().queued_bytes);
        served.is_well().await;
        served.closes(&mut stuck).await;
    });
}

#[test]
fn a_peer_that_asks_for_signs_of_life_gets_them_and_is_held_to_its_own_word() {
    block_on(async {
        let mut served = Served::start().await;
        let mut asks = Stranger::introduced(&served.server);
        // Three tenths of a second.
        asks.say(&command(b"\x04PING\0\x03context"));
        let start = Instant::now();
        let heard = served.closes(&mut asks).await;
        assert!(heard.ends_with(&command(b"\x04PONGcontext")), "{heard:?}");
        assert!(start.elapsed() >= Duration::from_millis(300));
        served.is_well().await;
    });
}

#[test]
fn a_connection_that_is_reset_is_lost_after_what_came_on_it() {
    block_on(async {
        let mut served = Served::start().await;
        let mut stranger = Stranger::introduced(&served.server);
        stranger.say(b"\x01\x03one\0\x03two");
        let (link, got) = served.server.received().await;
        assert_eq!(got, frame(&[b"one", b"two"]));
        stranger.say(b"\0\x05whole\0\x09cut of");
        // What it has not read makes the system reset the connection.
        drop(stranger);
        assert_eq!(served.server.received().await, (link, frame(&[b"whole"])));
        assert_eq!(served.server.status().await, (link, LinkStatus::Lost));
        served.is_well().await;
    });
}

#[test]
fn two_peers_with_one_identity_are_two_peers() {
    block_on(async {
        let mut served = Served::start().await;
        let name = b"\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\x04twin";
        let mut twins = [(); 2].map(|()| {
            let mut twin = Stranger::comes(&served.server);
            twin.say(&[&greeting()[..], &command(name)].concat());
            twin
        });
        let mut links = Vec::new();
        for twin in &mut twins {
            twin.say(b"\0\x02hi");
            links.push(served.server.received().await.0);
        }
        assert_ne!(links[0], links[1]);
        for (link, twin) in links.iter().zip(&mut twins) {
            served.server.transport.transmit(*link, frame(&[b"you"]));
            let mut heard = Vec::new();
            while !heard.ends_with(b"\0\x03you") {
                served.server.poll().await;
                assert!(twin.hears(&mut heard), "it is not closed");
            }
        }
        let [first, mut second] = twins;
        drop(first);
        assert_eq!(served.server.status().await, (links[0], LinkStatus::Lost));
        second.say(b"\0\x05still");
        assert_eq!(served.server.received().await, (links[1], frame(&[b"still"])));
        served.is_well().await;
    });
}

#[test]
fn a_listener_of_another_kind_is_lost() {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = parse(&listener.local_addr().unwrap().to_string()).unwrap();
        let mut client = End::with(Transport::dial_only(Kind::Native));
        for (n, said) in [&ready(b"PUB")[..], &command(b"\x05ERROR\x02no"), b"\0\0"].iter().enumerate() {
            let link = client.dial(n as u64, &address);
            client.poll().await;
            let mut server = listener.accept().unwrap().0;
            server.write_all(&[&greeting()[..], said].concat()).unwrap();
            assert_eq!(client.status().await, (link, LinkStatus::Lost));
        }
    });
}
