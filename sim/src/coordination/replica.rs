//! A server's copy of the tree, which may be behind what the ensemble has agreed on.

use std::collections::VecDeque;
use steadfast_core::coordination::tree::{Fired, Limits, Tree, WatchBook};
use steadfast_core::coordination::{Error, Operation, Reply, SessionId, Zxid};
use steadfast_core::rng::Rng;

#[derive(Clone, Debug)]
pub(super) enum Write {
    Open(SessionId),
    Close(SessionId),
    Apply(SessionId, Operation),
}

/// The tree of one server.
#[derive(Debug)]
pub(super) struct Replica {
    tree: Tree,
    /// What it has not applied yet, and when it will.
    backlog: VecDeque<(u64, Write)>,
}

impl Replica {
    pub(super) fn new() -> Self {
        Self { tree: Tree::new(Limits::default()), backlog: VecDeque::new() }
    }

    /// A write is agreed on. It is applied at `due`, or later: after those before it.
    pub(super) fn learn(&mut self, due: u64, write: Write) {
        let due = self.backlog.back().map_or(0, |&(due, _)| due).max(due);
        self.backlog.push_back((due, write));
    }

    /// When the next write is to be applied.
    pub(super) fn due(&self) -> Option<u64> {
        self.backlog.front().map(|&(due, _)| due)
    }

    /// Applies what is due.
    pub(super) fn catch_up(&mut self, now: u64, rng: &mut Rng) {
        while let Some((_, write)) = self.backlog.pop_front_if(|(due, _)| *due <= now) {
            match write {
                Write::Open(session) => assert!(self.tree.open_session(session), "as was agreed"),
                Write::Close(session) => self.tree.close_session(session, rng),
                Write::Apply(session, operation) => {
                    let result = self.tree.apply(session, &operation);
                    assert!(result.is_ok(), "a server does what was agreed: {result:?}");
                }
            }
        }
    }

    /// Carries out what takes no agreement.
    pub(super) fn read(&mut self, session: SessionId, operation: &Operation) -> Result<Reply, Error> {
        self.tree.apply(session, operation)
    }

    /// Whether it is behind a client that comes with this session and has seen this transaction.
    pub(super) fn is_behind(&self, session: SessionId, seen: Zxid) -> bool {
        let opens = |(_, write): &(u64, Write)| matches!(write, Write::Open(new) if *new == session);
        self.zxid() < seen || self.backlog.iter().any(opens)
    }

    pub(super) fn detach(&mut self, session: SessionId) {
        self.tree.detach(session);
    }

    pub(super) fn rewatch(&mut self, session: SessionId, since: Zxid, book: &WatchBook) {
        self.tree.rewatch(session, since, book);
    }

    pub(super) fn next_fired(&mut self) -> Option<Fired> {
        self.tree.next_fired()
    }

    /// The last transaction applied.
    pub(super) const fn zxid(&self) -> Zxid {
        self.tree.zxid()
    }
}
