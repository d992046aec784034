//! How a process stands with the ensemble.

use super::Ensemble;
use super::client::Client;
use crate::network::ProcessId;

/// How a process stands with the ensemble, as far as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It has a session, and a connection that carries it.
    Connected,
    /// It has a session, and is disconnected or cut off.
    Suspended,
    /// It has no session.
    None,
}

impl Standing {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Connected, Self::Suspended, Self::None];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Suspended => "suspended",
            Self::None => "none",
        }
    }
}

impl Ensemble {
    /// How a process stands with the ensemble.
    pub fn standing(&self, process: ProcessId) -> Standing {
        match self.clients.get(&process) {
            None | Some(Client { session: None, .. }) => Standing::None,
            Some(client) if client.connected && !self.is_cut(process) => Standing::Connected,
            Some(_) => Standing::Suspended,
        }
    }
}
