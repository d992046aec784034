//! Whether two sides tell the same story. Transaction and session numbers differ, but they must
//! correspond: the same ones everywhere, in the same order.

use crate::play::{Manner, Record, is_answer};
use std::collections::{BTreeMap, BTreeSet};
use steadfast_core::coordination::{
    Error, Event, MultiError, Reply, SessionId, SessionState, Stat, WatchKind, Zxid,
};

/// Which numbers of one side are which of the other.
#[derive(Debug, Default)]
struct Ties {
    zxids: BTreeMap<Zxid, Zxid>,
    owners: BTreeMap<SessionId, SessionId>,
}

/// What a session was told, with replies and states as ends of segments.
#[derive(Debug, Default)]
struct Segment<'a> {
    watches: Vec<(&'a str, WatchKind)>,
    end: Option<&'a Event>,
}

/// Where two sides differ first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Records that agree before it.
    pub after: usize,
    pub what: String,
}

/// Compares what was told here and there.
///
/// # Errors
/// With the first difference.
pub fn compare(real: &[Record], model: &[Record]) -> Result<(), Difference> {
    let mut ties = Ties::default();
    assert_eq!(real.len(), model.len(), "the same script");
    for (after, (real, model)) in real.iter().zip(model).enumerate() {
        assert_eq!((real.step, real.session, real.manner), (model.step, model.session, model.manner));
        let place = |what: String| {
            let what = format!("step {}, session {}: {what}\n{:?}", real.step, real.session, real.calls);
            Difference { after, what }
        };
        match real.manner {
            Manner::Ordered => ordered(&real.events, &model.events, &mut ties, true),
            Manner::Shuffled => ordered(&real.events, &model.events, &mut ties, false),
            Manner::Disturbed => disturbed(&real.events, &model.events, &mut ties),
        }
        .map_err(place)?;
    }
    ties.check().map_err(|what| Difference { after: real.len(), what })
}

fn ordered<'a>(
    real: &'a [Event],
    model: &'a [Event],
    ties: &mut Ties,
    watches_too: bool,
) -> Result<(), String> {
    let local = |events: &[Event]| {
        let all: Vec<_> =
            events.iter().filter(|event| is_local(event)).map(|event| format!("{event:?}")).collect();
        BTreeSet::from_iter(all)
    };
    if local(real) != local(model) {
        return Err(format!("the client says {:?}\nmodel: {:?}", local(real), local(model)));
    }
    let (real, model) = (segments(real), segments(model));
    if real.len() != model.len() {
        return Err(format!("other replies: {real:?}\nmodel: {model:?}"));
    }
    for (real, model) in real.iter().zip(&model) {
        let same = match (real.end, model.end) {
            (Some(real), Some(model)) => ties.event(real, model),
            (real, model) => real.is_none() && model.is_none(),
        };
        if !same {
            return Err(format!("{:?}\nmodel: {:?}", real.end, model.end));
        }
    }
    in_time(&real, &model)?;
    let all =
        |segments: &[Segment<'a>]| segments.iter().flat_map(|one| one.watches.clone()).collect::<Vec<_>>();
    let (real, model) = (all(&real), all(&model));
    let same = count(&real) == count(&model)
        && (!watches_too
            || in_order(&model).all(|(key, kinds)| {
                let here = real.iter().filter(|one| watch_key(one) == key).map(|one| one.1);
                here.eq(kinds)
            }));
    if same { Ok(()) } else { Err(format!("watches {real:?}\nmodel: {model:?}")) }
}

/// An event comes before every reply that shows what it tells of, and thus as early as in the model or
/// earlier.
fn in_time(real: &[Segment<'_>], model: &[Segment<'_>]) -> Result<(), String> {
    let mut ahead: BTreeMap<(&str, String), isize> = BTreeMap::new();
    for (real, model) in real.iter().zip(model) {
        for (key, n) in count(&real.watches) {
            *ahead.entry(key).or_default() += n;
        }
        for (key, n) in count(&model.watches) {
            *ahead.entry(key).or_default() -= n;
        }
        if let Some((late, _)) = ahead.iter().find(|(_, n)| **n < 0) {
            return Err(format!("{late:?} comes after {:?}", real.end));
        }
    }
    Ok(())
}

/// After a broken connection nothing is known of the order, but the states, what became of each call
/// and which watches have fired are to be found.
fn disturbed(real: &[Event], model: &[Event], ties: &mut Ties) -> Result<(), String> {
    let watches =
        |events| set(&segments(events).iter().flat_map(|one| one.watches.clone()).collect::<Vec<_>>());
    if watches(real) != watches(model) {
        return Err(format!("watches {:?}\nmodel: {:?}", watches(real), watches(model)));
    }
    let (real_states, model_states) = (states(real), states(model));
    let same = real_states.len() == model_states.len()
        && real_states.iter().zip(&model_states).all(|(&real, &model)| ties.state(real, model));
    if !same {
        return Err(format!("states {real_states:?}\nmodel: {model_states:?}"));
    }
    let (real, model) = (replies(real), replies(model));
    if real.len() != model.len() {
        return Err(format!("{} replies\nmodel: {}", real.len(), model.len()));
    }
    for (real, model) in real.values().zip(model.values()) {
        let same = match (is_answer(real), is_answer(model)) {
            (true, true) => ties.result(real, model),
            (real, model) => real == model,
        };
        if !same {
            return Err(format!("{real:?}\nmodel: {model:?}"));
        }
    }
    Ok(())
}

/// Whether the client has answered this call without asking the server, and thus at once.
fn is_local(event: &Event) -> bool {
    match event {
        Event::Reply { result: Ok(Reply::Multi(replies)), .. } => replies.is_empty(),
        Event::Reply { result: Err(error), .. } => {
            matches!(error, Error::Invalid | Error::Multi { error: MultiError::Other, .. })
        }
        _ => false,
    }
}

fn segments(events: &[Event]) -> Vec<Segment<'_>> {
    let mut segments = vec![Segment::default()];
    for event in events.iter().filter(|event| !is_local(event)) {
        let last = segments.last_mut().expect("one at least");
        if let Event::Watch { path, kind } = event {
            last.watches.push((path, *kind));
        } else {
            last.end = Some(event);
            segments.push(Segment::default());
        }
    }
    segments
}

/// What orders watch events: the watches of a node's children are others than those of the node.
fn watch_key<'a>(&(path, kind): &(&'a str, WatchKind)) -> (&'a str, bool) {
    (path, kind == WatchKind::ChildrenChanged)
}

/// The events whose order is promised: those of one watch. Where several watches see the same node,
/// each tells its own story.
fn in_order<'a>(watches: &[(&'a str, WatchKind)]) -> impl Iterator<Item = ((&'a str, bool), Vec<WatchKind>)> {
    let mut by_key: BTreeMap<_, Vec<WatchKind>> = BTreeMap::new();
    for watch in watches {
        by_key.entry(watch_key(watch)).or_default().push(watch.1);
    }
    by_key.into_iter().filter(|(_, kinds)| kinds.is_sorted_by(|a, b| a != b))
}

fn count<'a>(watches: &[(&'a str, WatchKind)]) -> BTreeMap<(&'a str, String), isize> {
    let mut counts = BTreeMap::new();
    for (path, kind) in watches {
        *counts.entry((*path, format!("{kind:?}"))).or_default() += 1;
    }
    counts
}

fn set<'a>(watches: &[(&'a str, WatchKind)]) -> BTreeSet<(&'a str, String)> {
    watches.iter().map(|(path, kind)| (*path, format!("{kind:?}"))).collect()
}

/// The session's states; to lose a connection several times in a row is to lose it.
fn states(events: &[Event]) -> Vec<SessionState> {
    let mut states: Vec<SessionState> = Vec::new();
    for event in events {
        let Event::Session(state) = event else { continue };
        match states[..] {
            [.., before, SessionState::Suspended] if before == *state => {
                states.pop();
            }
            _ => states.push(*state),
        }
    }
    states
}

fn replies(events: &[Event]) -> BTreeMap<u64, &Result<Reply, Error>> {
    let reply = |event| match event {
        &Event::Reply { call, ref result } => Some((call, result)),
        _ => None,
    };
    events.iter().filter_map(reply).collect()
}

impl Ties {
    fn event(&mut self, real: &Event, model: &Event) -> bool {
        match (real, model) {
            (Event::Session(real), Event::Session(model)) => self.state(*real, *model),
            (Event::Reply { call, result }, Event::Reply { call: other, result: model }) => {
                call == other && self.result(result, model)
            }
            _ => false,
        }
    }

    fn state(&mut self, real: SessionState, model: SessionState) -> bool {
        match (real, model) {
            (SessionState::Connected(real), SessionState::Connected(model)) => self.owner(real, model),
            _ => real == model,
        }
    }

    fn result(&mut self, real: &Result<Reply, Error>, model: &Result<Reply, Error>) -> bool {
        match (real, model) {
            (Ok(real), Ok(model)) => self.reply(real, model),
            _ => real == model,
        }
    }

    fn reply(&mut self, real: &Reply, model: &Reply) -> bool {
        match (real, model) {
            (Reply::Created { path, stat }, Reply::Created { path: other, stat: model }) => {
                path == other && self.perhaps(stat.as_ref(), model.as_ref())
            }
            (Reply::Data { data, stat }, Reply::Data { data: other, stat: model }) => {
                data == other && self.stat(stat, model)
            }
            (Reply::Stat(real), Reply::Stat(model)) => self.perhaps(real.as_ref(), model.as_ref()),
            (Reply::Children(real), Reply::Children(model)) => {
                let sorted = |names: &[String]| {
                    let mut names = names.to_vec();
                    names.sort();
                    names
                };
                sorted(real) == sorted(model)
            }
            (Reply::Set(real), Reply::Set(model)) => self.stat(real, model),
            (Reply::Multi(real), Reply::Multi(model)) => {
                real.len() == model.len()
                    && real.iter().zip(model).all(|(real, model)| self.reply(real, model))
            }
            _ => real == model,
        }
    }

    fn perhaps(&mut self, real: Option<&Stat>, model: Option<&Stat>) -> bool {
        match (real, model) {
            (Some(real), Some(model)) => self.stat(real, model),
            _ => real.is_none() && model.is_none(),
        }
    }

    fn stat(&mut self, real: &Stat, model: &Stat) -> bool {
        let numbers = [(real.czxid, model.czxid), (real.mzxid, model.mzxid), (real.pzxid, model.pzxid)];
        let tied = numbers.iter().all(|&(real, model)| *self.zxids.entry(real).or_insert(model) == model);
        let plain = |stat: &Stat| Stat { czxid: 0, mzxid: 0, pzxid: 0, ephemeral_owner: 0, ..*stat };
        tied && self.owner(real.ephemeral_owner, model.ephemeral_owner) && plain(real) == plain(model)
    }

    fn owner(&mut self, real: SessionId, model: SessionId) -> bool {
        (real == 0) == (model == 0) && *self.owners.entry(real).or_insert(model) == model
    }

    /// What is later on one side is later on the other.
    fn check(&self) -> Result<(), String> {
        let ordered = self.zxids.values().is_sorted_by(|a, b| a < b);
        let owners: BTreeSet<_> = self.owners.values().collect();
        match (ordered, owners.len() == self.owners.len()) {
            (false, _) => Err(format!("transactions in another order: {:?}", self.zxids)),
            (_, false) => Err(format!("two sessions are one in the model: {:?}", self.owners)),
            _ => Ok(()),
        }
    }
}
