//! The table of accepted links: which ZMTP identity is which link. Peers set no identity, so the
//! `zeromq` crate gives every connection a random one, and a new connection is a new link.

use crate::outbound::Outbound;
use bytes::Bytes;
use std::collections::HashMap;
use steadfast_core::link::LinkId;

/// Most accepted links. When one more comes, the one that was silent for longest is given up.
pub const MAX_PEERS: usize = 4_096;

/// One accepted link.
#[derive(Debug)]
struct Peer {
    link: LinkId,
    last_heard: u64,
    outbound: Outbound,
}

/// What a frame of an identity means.
#[derive(Debug, PartialEq, Eq)]
pub struct Heard {
    /// The link.
    pub link: LinkId,
    /// A link, with its identity, that had to make room.
    pub evicted: Option<(LinkId, Bytes)>,
}

/// All accepted links.
#[derive(Debug, Default)]
pub struct Peers {
    by_identity: HashMap<Bytes, Peer>,
    by_link: HashMap<LinkId, Bytes>,
    accepted: u64,
    heard: u64,
}

impl Peers {
    /// A frame of this identity has come: its link, new or known.
    pub fn heard(&mut self, identity: &Bytes) -> Heard {
        self.heard += 1;
        if let Some(peer) = self.by_identity.get_mut(identity) {
            peer.last_heard = self.heard;
            return Heard { link: peer.link, evicted: None };
        }
        let evicted = if self.by_identity.len() < MAX_PEERS { None } else { self.evict() };
        self.accepted += 1;
        let link = LinkId::accepted(self.accepted);
        // A copy: the identity may share a large receive buffer.
        let identity = Bytes::copy_from_slice(identity);
        self.by_link.insert(link, identity.clone());
        let peer = Peer { link, last_heard: self.heard, outbound: Outbound::default() };
        self.by_identity.insert(identity, peer);
        Heard { link, evicted }
    }

    /// The identity and queue of a link.
    pub fn get(&self, link: LinkId) -> Option<(&Bytes, &Outbound)> {
        let identity = self.by_link.get(&link)?;
        self.by_identity.get(identity).map(|peer| (identity, &peer.outbound))
    }

    /// The connection with this identity is gone: the link that it was.
    pub fn disconnected(&mut self, identity: &[u8]) -> Option<LinkId> {
        let peer = self.by_identity.remove(identity)?;
        self.by_link.remove(&peer.link);
        Some(peer.link)
    }

    /// The link is given up: the identity that it had.
    pub fn remove(&mut self, link: LinkId) -> Option<Bytes> {
        let identity = self.by_link.remove(&link)?;
        self.by_identity.remove(&identity);
        Some(identity)
    }

    /// Whether nothing waits to be sent.
    pub fn is_flushed(&self) -> bool {
        self.by_identity.values().all(|peer| peer.outbound.is_empty())
    }

    fn evict(&mut self) -> Option<(LinkId, Bytes)> {
        let silent = self.by_identity.values().min_by_key(|peer| peer.last_heard)?.link;
        self.remove(silent).map(|identity| (silent, identity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_links_until_they_disconnect() {
        let mut peers = Peers::default();
        let (a, b) = (Bytes::from_static(b"a"), Bytes::from_static(b"b"));
        let first = peers.heard(&a).link;
        let second = peers.heard(&b).link;
        assert_ne!(first, second);
        assert_eq!(peers.heard(&a).link, first);
        assert_eq!(peers.get(first).map(|(identity, _)| identity), Some(&a));
        assert_eq!(peers.disconnected(&a), Some(first));
        assert_eq!(peers.disconnected(&a), None);
        assert!(peers.get(first).is_none());
        assert_ne!(peers.heard(&a).link, first, "a number is never used again");
        assert_eq!(peers.remove(second), Some(b.clone()));
        assert_eq!(peers.disconnected(&b), None);
    }

    #[test]
    fn a_full_table_gives_up_the_most_silent_link() {
        let mut peers = Peers::default();
        let identity = |n: usize| Bytes::from(n.to_string());
        for n in 0..MAX_PEERS {
            assert_eq!(peers.heard(&identity(n)).evicted, None);
        }
        peers.heard(&identity(0));
        let evicted = peers.heard(&identity(MAX_PEERS)).evicted;
        assert_eq!(evicted.map(|(_, identity)| identity), Some(identity(1)));
        assert_eq!(peers.by_identity.len(), MAX_PEERS);
        assert_eq!(peers.by_link.len(), MAX_PEERS);
    }
}
