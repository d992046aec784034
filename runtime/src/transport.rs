//! Which transport a process uses. Both speak ZMTP, so processes with either understand each other.

use std::fmt;
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
