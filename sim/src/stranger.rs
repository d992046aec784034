//! A replica of discovery of another cluster, at an address that clients have, too: their settings are wrong, or the
//! address has changed hands. It has lost its coordination service, and tells everybody what it read before: a group of
//! another identity, which never had a primary. Nothing that it says is proved by a read (R26).

use std::collections::VecDeque;
use steadfast_core::id::GroupId;
use steadfast_core::link::{Frame, LinkId};
use steadfast_core::message::{History, Message, Route};
use steadfast_core::time::Duration;
use steadfast_core::wire;

/// What its clients are to be told to wait before they ask again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The replica. It says the same to everybody.
#[derive(Clone, Debug, Default)]
pub struct Stranger {
    said: VecDeque<(LinkId, Frame)>,
}

impl Stranger {
    /// Answers a frame.
    pub fn hear(&mut self, link: LinkId, frame: Frame) {
        let answer = match wire::decode(frame) {
            Ok(Message::Lookup(lookup)) => Message::Route(Route {
                group: lookup.group,
                groups: 1,
                history: Some(History { group_id: GroupId(u128::MAX), lineage: 1 }),
                epoch: 0,
                config: 0,
                primary: None,
                retry_after: RETRY_AFTER,
                age: RETRY_AFTER,
                fresh: false,
            }),
            Ok(Message::Ping { token }) => Message::Pong { token },
            _ => return,
        };
        self.said.push_back((link, wire::encode(&answer)));
    }

    /// What it says next.
    pub fn say(&mut self) -> Option<(LinkId, Frame)> {
        self.said.pop_front()
    }
}
