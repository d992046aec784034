//! Election of discovery's leader, on plain operations.
//!
//! A candidate is an ephemeral, sequential node whose name begins with its owner's random number. The
//! lowest sequence number leads; each of the others watches the one before its own. The names tell
//! one's own nodes after a create whose outcome was lost, and a node counts only if the *current*
//! session owns it: that of an earlier session is about to go, and a second one of the same session
//! would hold up everybody behind it, so both are removed.
//!
//! Being lowest is no fence: a leader that was paused may still believe in it. A leader therefore
//! raises the epoch in a node of its own by a conditional write before it acts, and every change it
//! makes to the tree checks that node's version in the same transaction ([`Election::fence`]).
//!
//! Sequence numbers are 32 bits wide: the order holds for 2³¹ candidates, 68 years at one a second.

use super::registry::create_all;
use super::{
    CallId, Context, Create, CreateMode, Delete, Error, Event, MultiOperation, Operation, Paths, Reply,
    SessionId, SessionState, Set,
};
use crate::limits::Timing;
use crate::rng::Backoff;
use crate::status::Standing;
use crate::time::{Instant, is_due};
use crate::trace::{Rejection, Trace};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bytes::Bytes;

/// One replica's part in the election.
#[derive(Clone, Debug)]
pub struct Election {
    paths: Paths,
    /// Begins the names of all own candidates, of every session of this process.
    prefix: String,
    session: Option<SessionId>,
    prepared: bool,
    step: Option<(CallId, Step)>,
    /// Something has happened during the evaluation under way: another one follows it.
    again: bool,
    leadership: Option<Leadership>,
    /// Another replica was seen to stand before this one.
    follows: bool,
    backoff: Backoff,
    retry_at: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Leadership {
    candidate: String,
    epoch: i64,
    /// Version of the epoch's node after the own write.
    version: i32,
}

/// Which call of an evaluation is in flight.
#[derive(Clone, Debug)]
enum Step {
    Sync,
    List,
    Enter,
    /// Whose is the lowest own candidate?
    Own(Rank),
    Discard,
    Predecessor,
    ReadEpoch {
        candidate: String,
    },
    WriteEpoch {
        candidate: String,
        epoch: i64,
    },
}

/// What a list of the candidates says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rank {
    own: String,
    /// A further candidate of ours.
    surplus: Option<String>,
    predecessor: Option<String>,
}

impl Election {
    /// A candidate-to-be. `replica` is random and new with every process.
    pub fn new(paths: Paths, replica: u128, timing: &Timing) -> Self {
        Self {
            paths,
            prefix: format!("{replica:032x}-n_"),
            session: None,
            prepared: false,
            step: None,
            again: false,
            leadership: None,
            follows: false,
            backoff: Backoff::new(timing.backoff, timing.backoff_cap),
            retry_at: None,
        }
    }

    /// The epoch in which this replica leads, as far as it knows.
    pub fn leads(&self) -> Option<i64> {
        self.leadership.as_ref().map(|leadership| leadership.epoch)
    }

    /// Where this replica stands, as far as it knows.
    pub fn standing(&self) -> Standing {
        match self.leads() {
            Some(epoch) => Standing::Leads(epoch),
            None if self.follows => Standing::Follows,
            None => Standing::Undecided,
        }
    }

    /// First operation of every transaction of the leader: fails once another replica has led.
    pub fn fence(&self) -> Option<MultiOperation> {
        self.leadership.as_ref().map(|leadership| {
            let version = Some(leadership.version);
            MultiOperation::Check(Delete { path: self.paths.discovery_epoch(), version })
        })
    }

    /// A transaction has failed on its [`Election::fence`].
    pub fn fenced<E>(&mut self, cx: &mut Context<'_, E>) {
        self.resign(cx);
        self.evaluate(cx);
    }

    /// When [`Election::handle_timeout`] is due.
    pub const fn deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Tries again what failed. A no-op before the deadline.
    pub fn handle_timeout<E>(&mut self, cx: &mut Context<'_, E>) {
        if is_due(self.retry_at, cx.now) {
            self.retry_at = None;
            self.evaluate(cx);
        }
    }

    /// Takes what the coordination service says. Replies to others' calls are ignored.
    pub fn handle_event<E>(&mut self, event: &Event, cx: &mut Context<'_, E>) {
        match event {
            Event::Session(state) => self.on_session(*state, cx),
            Event::Watch { path, .. } => {
                let below = path.strip_prefix(&self.paths.election());
                if below.is_some_and(|below| below.starts_with('/')) {
                    self.evaluate(cx);
                }
            }
            Event::Reply { call, result } => {
                if let Some((_, step)) = self.step.take_if(|(waiting, _)| waiting == call) {
                    self.on_reply(step, result, cx);
                }
            }
        }
    }

    fn on_session<E>(&mut self, state: SessionState, cx: &mut Context<'_, E>) {
        // A leader that cannot reach the tree cannot act; it stands again when it is back.
        if !sabotage!(LeadsUnconnected) {
            self.resign(cx);
        }
        self.step = None;
        self.again = false;
        self.retry_at = None;
        self.follows = false;
        self.session = None;
        if let SessionState::Connected(session) = state {
            self.session = Some(session);
            self.evaluate(cx);
        }
    }

    /// Looks where this replica stands, now or after the evaluation under way.
    fn evaluate<E>(&mut self, cx: &mut Context<'_, E>) {
        if self.session.is_none() || self.retry_at.is_some() {
            return;
        }
        if self.step.is_some() {
            self.again = true;
            return;
        }
        if !self.prepared {
            // Nothing waits for these: what they should have made is missed where it is needed.
            create_all(&self.paths.election(), cx);
            create_all(&self.paths.discovery_epoch(), cx);
            self.prepared = true;
        }
        self.again = false;
        self.call(Operation::Sync { path: self.paths.election() }, Step::Sync, cx);
    }

    fn on_reply<E>(&mut self, step: Step, result: &Result<Reply, Error>, cx: &mut Context<'_, E>) {
        match (step, result) {
            (Step::Sync, Ok(_)) => {
                let operation = Operation::Children { path: self.paths.election(), watch: false };
                self.call(operation, Step::List, cx);
            }
            (Step::List, Ok(Reply::Children(names))) => self.on_list(names, cx),
            (Step::Enter | Step::Discard, Ok(_)) | (Step::Discard, Err(Error::NoNode)) => {
                self.evaluate(cx);
            }
            (Step::Own(rank), Ok(Reply::Stat(stat))) => {
                self.on_own(rank, stat.map(|stat| stat.ephemeral_owner), cx);
            }
            (Step::Predecessor, Ok(Reply::Stat(None))) => self.evaluate(cx),
            (Step::Predecessor, Ok(Reply::Stat(Some(_)))) => {
                self.follows = true;
                self.settle(cx);
            }
            (Step::ReadEpoch { candidate }, Ok(Reply::Data { data, stat })) => {
                self.on_epoch(candidate, data, stat.version, cx);
            }
            (Step::WriteEpoch { candidate, epoch }, Ok(Reply::Set(stat))) => {
                self.leadership = Some(Leadership { candidate, epoch, version: stat.version });
                cx.out.trace(Trace::DiscoveryLeads { epoch });
                self.settle(cx);
            }
            _ => self.fail(cx),
        }
    }

    fn on_list<E>(&mut self, names: &[String], cx: &mut Context<'_, E>) {
        match rank(names, &self.prefix) {
            Some(rank) => {
                // The watch tells when somebody removes the own candidate.
                let path = self.path(&rank.own);
                self.call(Operation::Exists { path, watch: true }, Step::Own(rank), cx);
            }
            None => {
                self.resign(cx);
                let create = Create {
                    path: self.path(&self.prefix),
                    data: Bytes::new(),
                    mode: CreateMode::EphemeralSequential,
                };
                self.call(Operation::Create(create), Step::Enter, cx);
            }
        }
    }

    fn on_own<E>(&mut self, rank: Rank, owner: Option<SessionId>, cx: &mut Context<'_, E>) {
        self.follows = false;
        let Rank { own, surplus, predecessor } = rank;
        let still_leads = |leadership: &Leadership| leadership.candidate == own;
        if owner.is_none() {
            self.resign(cx);
            self.evaluate(cx);
        } else if owner != self.session && !sabotage!(AnyOwnerStands) {
            self.resign(cx);
            self.discard(&own, cx);
        } else if let Some(surplus) = surplus {
            self.discard(&surplus, cx);
        } else if let Some(predecessor) = predecessor.filter(|_| !sabotage!(AllCandidatesLead)) {
            self.resign(cx);
            let path = self.path(&predecessor);
            let watch = !sabotage!(PredecessorUnwatched);
            self.call(Operation::Exists { path, watch }, Step::Predecessor, cx);
        } else if self.leadership.as_ref().is_some_and(still_leads) {
            self.settle(cx);
        } else {
            let operation = Operation::Get { path: self.paths.discovery_epoch(), watch: false };
            self.call(operation, Step::ReadEpoch { candidate: own }, cx);
        }
    }

    fn on_epoch<E>(&mut self, candidate: String, data: &Bytes, version: i32, cx: &mut Context<'_, E>) {
        let path = self.paths.discovery_epoch();
        let before = decode_epoch(data).unwrap_or_else(|reason| {
            cx.out.trace(Trace::BadNode { path: path.clone(), reason });
            0
        });
        let epoch = before.saturating_add(1);
        let data = Bytes::from(epoch.to_string());
        let set = Set { path, data, version: (!sabotage!(EpochUnguarded)).then_some(version) };
        self.call(Operation::Set(set), Step::WriteEpoch { candidate, epoch }, cx);
    }

    fn discard<E>(&mut self, name: &str, cx: &mut Context<'_, E>) {
        let path = self.path(name);
        self.call(Operation::Delete(Delete { path, version: None }), Step::Discard, cx);
    }

    /// The evaluation has come to its end.
    fn settle<E>(&mut self, cx: &mut Context<'_, E>) {
        self.backoff.reset();
        if self.again {
            self.evaluate(cx);
        }
    }

    /// Starts over after a while, from the parents on: what is there is found.
    fn fail<E>(&mut self, cx: &mut Context<'_, E>) {
        self.prepared = false;
        self.retry_at = Some(cx.now + self.backoff.next(cx.rng));
    }

    fn resign<E>(&mut self, cx: &mut Context<'_, E>) {
        if self.leadership.take().is_some() {
            cx.out.trace(Trace::DiscoveryFollows);
        }
    }

    fn call<E>(&mut self, operation: Operation, step: Step, cx: &mut Context<'_, E>) {
        self.step = Some((cx.call(operation), step));
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.paths.election())
    }
}

/// Where the owner of `prefix` stands; `None` when it is no candidate. Other names are ignored.
fn rank(names: &[String], prefix: &str) -> Option<Rank> {
    let mut candidates: Vec<(i32, &str)> = names
        .iter()
        .filter_map(|name| Some((name.rsplit_once("-n_")?.1.parse().ok()?, name.as_str())))
        .collect();
    candidates.sort_unstable();
    let is_own = |&(_, name): &(i32, &str)| name.starts_with(prefix);
    let at = candidates.iter().position(is_own)?;
    Some(Rank {
        own: candidates[at].1.to_string(),
        surplus: candidates[at + 1..].iter().copied().find(is_own).map(|(_, name)| name.to_string()),
        predecessor: at.checked_sub(1).map(|before| candidates[before].1.to_string()),
    })
}

/// The epoch as decimal text; a node that was only just made holds nothing.
fn decode_epoch(data: &[u8]) -> Result<i64, Rejection> {
    if data.is_empty() {
        return Ok(0);
    }
    let text = core::str::from_utf8(data).map_err(|_| Rejection::Malformed)?;
    text.parse().map_err(|_| Rejection::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_string()).collect()
    }

    #[test]
    fn the_sequence_number_orders_candidates_not_the_name() {
        let list = names(&["aa-n_0000000007", "ff-n_0000000002", "cc-n_0000000005", "lost+found"]);
        let found = rank(&list, "aa-n_").expect("aa is a candidate");
        assert_eq!(found.own, "aa-n_0000000007");
        assert_eq!(found.predecessor.as_deref(), Some("cc-n_0000000005"));
        assert_eq!(found.surplus, None);
        assert_eq!(rank(&list, "ff-n_").expect("ff is a candidate").predecessor, None);
        assert_eq!(rank(&list, "bb-n_"), None);
    }

    #[test]
    fn a_second_candidate_of_one_owner_is_surplus() {
        let list = names(&["aa-n_0000000009", "bb-n_0000000008", "aa-n_0000000003"]);
        let found = rank(&list, "aa-n_").expect("aa is a candidate");
        assert_eq!(found.own, "aa-n_0000000003");
        assert_eq!(found.surplus.as_deref(), Some("aa-n_0000000009"));
    }

    #[test]
    fn an_epoch_that_makes_no_sense_is_rejected() {
        assert_eq!(decode_epoch(b""), Ok(0));
        assert_eq!(decode_epoch(b"41"), Ok(41));
        assert_eq!(decode_epoch(b"forty-one"), Err(Rejection::Malformed));
        assert_eq!(decode_epoch(&[0xff]), Err(Rejection::Malformed));
    }
}
