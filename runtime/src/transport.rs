//! Which transport a process uses. Both speak ZMTP, so processes with either understand each other.

use rustix::net::sockopt::set_socket_linger;
use rustix::net::{getpeername, getsockname};
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::str::FromStr;
use std::time::Duration;

/// Most links that a node may have dialled at a time. One more is reported lost at once.
pub const MAX_DIALLED: usize = 64;
/// How long a dial may take: to the connection, and then to the end of the handshake.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long after each turn a thread stays awake by default: a few times as long as a processor takes to wake up.
pub const BUSY_POLL: Duration = Duration::from_micros(100);

/// A transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// The project's own: [`crate::native`].
    #[default]
    Native,
    /// The crate `zeromq`.
    ZeroMq,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Native, Self::ZeroMq];

    /// As people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::ZeroMq => "zeromq",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a text names no transport.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write native or zeromq")]
pub struct UnknownTransport;

impl FromStr for Kind {
    type Err = UnknownTransport;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(UnknownTransport)
    }
}

/// Refuses a connection with the same address at both ends. The system draws the port of a dial from a
/// range; when it is the one that is dialled, on this machine, and nobody listens there, the dial meets
/// itself (TCP's simultaneous open). It would then hold the port of a node that is about to come back.
///
/// # Errors
/// As if the system had refused.
pub fn refuse_itself<S: AsFd>(stream: S) -> io::Result<S> {
    if getpeername(&stream)? != Some(getsockname(&stream)?) {
        return Ok(stream);
    }
    // Closed in the usual way it would hold the port for another minute.
    set_socket_linger(&stream, Some(Duration::ZERO))?;
    Err(ErrorKind::ConnectionRefused.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    use std::net::{SocketAddr, TcpListener, TcpStream};

    #[test]
    fn a_socket_that_has_met_itself_is_refused_and_lets_go_of_its_port() {
        let fd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&fd, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        connect(&fd, &getsockname(&fd).unwrap()).unwrap();
        let itself = TcpStream::from(fd);
        let address = itself.local_addr().unwrap();
        let refused = refuse_itself(itself).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let listener = TcpListener::bind(address).expect("its port is free");
        let other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(refuse_itself(other).is_ok());
    }
}
