//! Commands: frames that are no part of a message ("Framing", "Commands").

use super::{Fault, SocketType};
use crate::time::Duration;
use alloc::vec::Vec;
use bytes::Bytes;

/// Longest command that is looked at. READY with every property that peers send takes far less.
pub(super) const MAX_COMMAND_LEN: usize = 1_024;
/// Longest context of a PING ("Connection Heartbeating").
const MAX_CONTEXT_LEN: usize = 16;

/// A command from the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// The handshake's end; the kind of the peer's socket.
    Ready { socket_type: Bytes },
    /// The peer ends the handshake and the connection.
    Error,
    /// A sign of life is wanted; the peer gives up after so long a silence, unless it is zero.
    Ping { ttl: Duration, context: Bytes },
    /// A sign of life.
    Pong,
    /// One that means nothing to these sockets.
    Other,
}

/// A command's frame, whose length fits one byte.
pub(super) fn encode(name: &[u8], data: &[&[u8]]) -> Vec<u8> {
    let length = 1 + name.len() + data.iter().map(|piece| piece.len()).sum::<usize>();
    let length = u8::try_from(length).expect("what is sent here is short");
    let mut frame = alloc::vec![super::inbound::COMMAND, length, name.len() as u8];
    frame.extend_from_slice(name);
    data.iter().for_each(|piece| frame.extend_from_slice(piece));
    frame
}

/// The end of our side of the handshake.
pub(super) fn ready(socket: SocketType) -> Vec<u8> {
    let (property, value) = (b"Socket-Type", socket.name());
    encode(b"READY", &[&[property.len() as u8], property, &(value.len() as u32).to_be_bytes(), value])
}

/// The peer shall give this connection up after so long a silence of ours.
pub(super) fn ping(ttl: Duration) -> Vec<u8> {
    let tenths = u16::try_from(ttl.as_millis() / 100).unwrap_or(u16::MAX);
    encode(b"PING", &[&tenths.to_be_bytes()])
}

/// What a command's body says.
pub(super) fn decode(mut body: Bytes) -> Result<Command, Fault> {
    let name = take(&mut body, 1).ok_or(Fault::Malformed("a command has no name"))?;
    match &name[..] {
        b"READY" => {
            let mut socket_type = None;
            while !body.is_empty() {
                let property = take(&mut body, 1).filter(|name| !name.is_empty());
                let (Some(property), Some(value)) = (property, take(&mut body, 4)) else {
                    return Err(Fault::Malformed("a property is cut off"));
                };
                // Names are compared without regard to case.
                if property.eq_ignore_ascii_case(b"Socket-Type") {
                    socket_type = Some(value);
                }
            }
            let socket_type = socket_type.ok_or(Fault::Malformed("READY does not name a type of socket"))?;
            Ok(Command::Ready { socket_type })
        }
        b"ERROR" => Ok(Command::Error),
        b"PING" if body.len() >= 2 && body.len() <= 2 + MAX_CONTEXT_LEN => {
            let tenths = u16::from_be_bytes([body[0], body[1]]);
            Ok(Command::Ping {
                ttl: Duration::from_millis(100 * u64::from(tenths)),
                context: body.slice(2..),
            })
        }
        b"PING" => Err(Fault::Malformed("a PING has no time or too long a context")),
        b"PONG" => Ok(Command::Pong),
        _ => Ok(Command::Other),
    }
}

/// A piece that stands behind its length of so many bytes.
fn take(body: &mut Bytes, width: usize) -> Option<Bytes> {
    let length = body.get(..width)?.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
    let end = width.checked_add(length).filter(|end| *end <= body.len())?;
    Some(body.split_to(end).slice(width..))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(frame: Vec<u8>) -> Bytes {
        assert_eq!(usize::from(frame[1]), frame.len() - 2);
        Bytes::from(frame).slice(2..)
    }

    #[test]
    fn commands_are_read_as_they_are_written() {
        let socket_type = Bytes::from_static(b"ROUTER");
        assert_eq!(decode(body(ready(SocketType::Router))), Ok(Command::Ready { socket_type }));
        let ttl = Duration::from_millis(1_500);
        assert_eq!(decode(body(ping(ttl))), Ok(Command::Ping { ttl, context: Bytes::new() }));
        assert_eq!(decode(body(encode(b"PONG", &[b"who"]))), Ok(Command::Pong));
        assert_eq!(decode(body(encode(b"ERROR", &[b"\x02no"]))), Ok(Command::Error));
        assert_eq!(decode(body(encode(b"SUBSCRIBE", &[b"a"]))), Ok(Command::Other));
    }

    #[test]
    fn names_of_properties_have_no_case_and_others_are_passed_over() {
        let properties: [&[u8]; 2] = [b"\x08Identity\0\0\0\x02me", b"\x0bsocket-type\0\0\0\x03REQ"];
        let socket_type = Bytes::from_static(b"REQ");
        assert_eq!(decode(body(encode(b"READY", &properties))), Ok(Command::Ready { socket_type }));
    }

    #[test]
    fn a_command_that_is_cut_or_lacks_something_is_refused() {
        let ready = body(ready(SocketType::Dealer));
        for length in 0..ready.len() {
            let cut = decode(ready.slice(..length));
            assert!(matches!(cut, Err(Fault::Malformed(_)) | Ok(Command::Other)), "{length}: {cut:?}");
        }
        let endless: &[u8] = b"\x0bSocket-Type\xff\xff\xff\xff";
        for data in [endless, b"\0\0\0\0\0", b"\x04Name\0\0\0\0"] {
            assert!(matches!(decode(body(encode(b"READY", &[data]))), Err(Fault::Malformed(_))));
        }
        assert!(matches!(decode(body(encode(b"PING", &[b"\0"]))), Err(Fault::Malformed(_))));
        assert!(matches!(decode(body(encode(b"PING", &[&[0; 19]]))), Err(Fault::Malformed(_))));
    }
}
