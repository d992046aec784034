//! What a frame goes through on its way between two processes, without the sockets: the transport's codec at either
//! end, and one copy of its bytes in the place of the system's two. One connection stands for all of them.

use steadfast_core::link::Frame;
use steadfast_core::time::Instant;
use steadfast_core::zmtp::{Connection, Event, Limits, SocketType, Spares};

/// Both ends of a connection, used one way.
pub struct Wire {
    from: Connection,
    to: Connection,
    spares: Spares,
}

impl Wire {
    /// Both are open.
    ///
    /// # Panics
    /// When the handshake does not come about.
    pub fn new(now: Instant) -> Self {
        let mut from = Connection::new(now, SocketType::Dealer, Limits::default());
        let mut to = Connection::new(now, SocketType::Router, Limits::default());
        let mut spares = Spares::default();
        while !(from.is_open() && to.is_open()) {
            let opened =
                [carry(&mut from, &mut to, &mut spares, now), carry(&mut to, &mut from, &mut spares, now)];
            assert!(opened.iter().all(|event| !matches!(event, Some(Event::Message(_)))), "nothing was sent");
        }
        Self { from, to, spares }
    }

    /// A frame as it arrives.
    ///
    /// # Panics
    /// When it does not.
    pub fn pass(&mut self, now: Instant, frame: Frame) -> Frame {
        assert!(self.from.send(frame), "there is room: nothing else is under way");
        while !self.from.is_flushed() {
            if let Some(Event::Message(frame)) = carry(&mut self.from, &mut self.to, &mut self.spares, now) {
                return frame;
            }
        }
        unreachable!("all of it has been carried")
    }
}

/// Writes what one read has room for. What that comes to.
fn carry(from: &mut Connection, to: &mut Connection, spares: &mut Spares, now: Instant) -> Option<Event> {
    let buffer = to.buffer(spares);
    let mut len = 0;
    for piece in from.outgoing() {
        let room = buffer.capacity() - buffer.len();
        let piece = &piece[..piece.len().min(room)];
        buffer.extend_from_slice(piece);
        len += piece.len();
    }
    from.written(len);
    to.received(now);
    let event = to.poll_event().expect("this side says nothing wrong");
    to.give_back(spares);
    event
}
