//! Scripts of links, and what has to hold of what their ends are told.

use crate::links::part;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use steadfast_core::link::{Frame, LinkStatus};

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Server,
    Client(usize),
}

/// One step. When it is over, everything that was sent has come or is lost.
#[derive(Clone, Debug)]
pub enum Step {
    /// A client dials, whether or not the server runs. From now on this is its link.
    Dial { client: usize },
    /// Frames of these part lengths on a client's link. A slow reader starts to read when all were
    /// sent.
    Send { client: usize, by_server: bool, frames: Vec<Vec<usize>>, slow: bool, then: Then },
    /// An end closes a client's link.
    Close { client: usize, by_server: bool },
    /// The server's process ends.
    EndServer,
    /// It is started again, at the same address.
    StartServer,
    /// A client's process ends, and another takes its place.
    EndClient { client: usize },
}

/// What the sender of frames does with them under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It goes on.
    Stay,
    /// It closes the link.
    Close,
    /// Its process ends; another takes its place.
    End,
}

/// One thing that an end was told of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Status(LinkStatus),
    /// The how manieth frame of its sender on this link it is, and the lengths of its parts.
    Frame(u32, Vec<usize>),
    /// A frame that nobody sent like this.
    Damaged(Frame),
}

/// What each end was told: client, number of the client's link, whether at the server.
pub type Logs = BTreeMap<(usize, u64, bool), Vec<Entry>>;

/// Real or simulated ends.
pub trait Driver {
    fn dial(&mut self, client: usize, n: u64);
    fn transmit(&mut self, from: Side, client: usize, n: u64, frame: Frame);
    fn close(&mut self, by: Side, client: usize, n: u64);
    async fn end(&mut self, side: Side);
    async fn start(&mut self, side: Side);
    async fn slow(&mut self, reader: Side, slow: bool);
    /// Waits until everything has come, as in the model; of some ends it is not known how much that is.
    async fn settle(&mut self, model: Option<&Logs>, lossy: &dyn Fn(&(usize, u64, bool)) -> bool) -> Logs;
}

/// How a script went.
#[derive(Debug, Default)]
pub struct Outcome {
    pub logs: Logs,
    /// The logs after each step.
    pub snapshots: Vec<Logs>,
    sent: BTreeMap<(usize, u64, bool), Vec<Entry>>,
    /// Ends that may miss the last frames: their peer has closed the link with frames under way.
    lossy: BTreeSet<(usize, u64, bool)>,
    /// Ends that have closed their link, with the most that they may have been told.
    closed: BTreeMap<(usize, u64, bool), usize>,
}

/// A few frames: small, of several parts, empty ones among them, or large.
fn any_frames() -> impl Strategy<Value = Vec<Vec<usize>>> {
    let len = prop_oneof![6 => 0..300_usize, 1 => 0..300_000_usize];
    prop::collection::vec(prop::collection::vec(len, 0..4), 1..30)
}

fn any_then() -> impl Strategy<Value = Then> {
    prop_oneof![6 => Just(Then::Stay), 1 => Just(Then::Close), 1 => Just(Then::End)]
}

/// Scripts for so many clients.
pub fn steps(clients: usize) -> impl Strategy<Value = Vec<Step>> {
    let flags = (prop::bool::weighted(0.4), prop::bool::weighted(0.25), any_then());
    let step = prop_oneof![
        5 => (0..clients).prop_map(|client| Step::Dial { client }),
        10 => (0..clients, any_frames(), flags).prop_map(|(client, frames, (by_server, slow, then))| {
            Step::Send { client, by_server, frames, slow, then }
        }),
        1 => (0..clients, any::<bool>()).prop_map(|(client, by_server)| Step::Close { client, by_server }),
        1 => Just(Step::EndServer),
        2 => Just(Step::StartServer),
        1 => (0..clients).prop_map(|client| Step::EndClient { client }),
    ];
    prop::collection::vec(step, 6..24)
}

struct Link {
    n: u64,
    /// Whether the server has been sent a frame on it.
    heard: bool,
}

/// Runs the steps that make sense where they stand.
pub async fn run(steps: &[Step], driver: &mut impl Driver, model: &[Logs]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut links: BTreeMap<usize, Link> = BTreeMap::new();
    let (mut dialled, mut serves) = (0, true);
    for step in steps {
        match step {
            Step::Dial { client } => {
                dialled += 1;
                driver.dial(*client, dialled);
                links.remove(client);
                if serves {
                    links.insert(*client, Link { n: dialled, heard: false });
                }
            }
            Step::Send { client, by_server, frames, slow, then } => {
                let Some(link) = links.get_mut(client).filter(|link| link.heard || !by_server) else {
                    continue;
                };
                link.heard = true;
                let (from, to) = ends(*client, *by_server);
                if *slow {
                    driver.slow(to, true).await;
                }
                for lens in frames {
                    let frame = outcome.frame((*client, link.n, to == Side::Server), lens);
                    driver.transmit(from, *client, link.n, frame);
                }
                match then {
                    Then::Stay => {}
                    Then::Close => {
                        outcome.close(*client, link.n, *by_server, true);
                        driver.close(from, *client, link.n);
                        links.remove(client);
                    }
                    Then::End => {
                        outcome.close(*client, link.n, *by_server, true);
                        end(from, &mut outcome, driver, &mut links).await;
                        driver.start(from).await;
                    }
                }
                if *slow {
                    driver.slow(to, false).await;
                }
            }
            Step::Close { client, by_server } => {
                let Some(link) = links.get(client).filter(|link| link.heard || !by_server) else { continue };
                outcome.close(*client, link.n, *by_server, false);
                driver.close(ends(*client, *by_server).0, *client, link.n);
                links.remove(client);
            }
            Step::EndServer if serves => {
                end(Side::Server, &mut outcome, driver, &mut links).await;
                serves = false;
            }
            Step::StartServer if !serves => {
                driver.start(Side::Server).await;
                serves = true;
            }
            Step::EndClient { client } => {
                end(Side::Client(*client), &mut outcome, driver, &mut links).await;
                driver.start(Side::Client(*client)).await;
            }
            Step::EndServer | Step::StartServer => continue,
        }
        let before = model.get(outcome.snapshots.len());
        outcome.logs = driver.settle(before, &|key| outcome.lossy.contains(key)).await;
        outcome.snapshots.push(outcome.logs.clone());
    }
    outcome
}

async fn end(side: Side, outcome: &mut Outcome, driver: &mut impl Driver, links: &mut BTreeMap<usize, Link>) {
    outcome.ended(side);
    driver.end(side).await;
    match side {
        Side::Server => links.clear(),
        Side::Client(client) => drop(links.remove(&client)),
    }
}

const fn ends(client: usize, by_server: bool) -> (Side, Side) {
    match by_server {
        true => (Side::Server, Side::Client(client)),
        false => (Side::Client(client), Side::Server),
    }
}

impl Outcome {
    /// The next frame towards an end.
    fn frame(&mut self, to: (usize, u64, bool), lens: &[usize]) -> Frame {
        let sent = self.sent.entry(to).or_default();
        let seq = u32::try_from(sent.len()).expect("few frames");
        sent.push(Entry::Frame(seq, lens.to_vec()));
        let (client, n) = (u32::try_from(to.0).expect("few clients"), to.1);
        let head = [&client.to_be_bytes()[..], &n.to_be_bytes(), &seq.to_be_bytes()].concat();
        let parts = lens.iter().map(|&len| part(len));
        Frame { parts: std::iter::once(Bytes::from(head)).chain(parts).collect() }
    }

    fn close(&mut self, client: usize, n: u64, by_server: bool, with_frames_under_way: bool) {
        let own = (client, n, by_server);
        self.closed.insert(own, self.logs.get(&own).map_or(0, Vec::len));
        if with_frames_under_way {
            self.lossy.insert((client, n, !by_server));
        }
    }

    /// A process has ended: what it was told of its links stops anywhere.
    fn ended(&mut self, side: Side) {
        let of_side = |key: &&(usize, u64, bool)| match side {
            Side::Server => key.2,
            Side::Client(client) => key.0 == client && !key.2,
        };
        for &key in self.sent.keys().filter(of_side) {
            self.closed.entry(key).or_insert(usize::MAX);
        }
    }

    /// What holds of every end everywhere: its frames are the first that were sent to it, undamaged and
    /// in order; none is missing unless the link has ended; nothing comes after the end.
    pub fn check(&self) -> Result<(), String> {
        for (key, log) in &self.logs {
            let fault = |what: &str| Err(format!("{what} at {key:?}"));
            let frames: Vec<_> = log.iter().filter(|entry| !matches!(entry, Entry::Status(_))).collect();
            let sent = self.sent.get(key).map_or(&[][..], Vec::as_slice);
            if !sent.iter().take(frames.len()).eq(frames.iter().copied()) {
                return fault(&format!("frames that were not sent so ({frames:?} of {sent:?})"));
            }
            let end = |entry: &Entry| matches!(entry, Entry::Status(LinkStatus::Lost | LinkStatus::Refused));
            let ended = log.last().is_some_and(end);
            if log.iter().rev().skip(1).any(end) {
                return fault("something after the end");
            }
            if frames.len() < sent.len() && !ended && !self.closed.contains_key(key) {
                return fault("frames are missing on a link that lives");
            }
            if self.closed.get(key).is_some_and(|told| log.len() > *told) {
                return fault("something after the own close");
            }
            let up = log.iter().position(|entry| *entry == Entry::Status(LinkStatus::Up));
            if up != (!key.2 && *log != [Entry::Status(LinkStatus::Refused)]).then_some(0) {
                return fault("a link that is not up first");
            }
        }
        Ok(())
    }

    /// Every end was told the same; where frames were under way when the link was closed, how many of
    /// them came is left to chance, and a server that got none does not know the link.
    pub fn compare(&self, model: &Self) -> Result<(), String> {
        assert_eq!(self.lossy, model.lossy, "the same script");
        for key in self.logs.keys().chain(model.logs.keys()) {
            let (real, predicted) = (self.logs.get(key), model.logs.get(key));
            let same = match (self.lossy.contains(key), real, predicted) {
                (false, real, predicted) => real == predicted,
                (true, _, _) if self.closed.contains_key(key) => true,
                (true, Some(real), Some(predicted)) => statuses(real).eq(statuses(predicted)),
                (true, _, _) => key.2,
            };
            if !same {
                return Err(format!("other news at {key:?}: {real:?}\nmodel: {predicted:?}"));
            }
        }
        Ok(())
    }

    /// How often what occurred.
    pub fn tally(&self) -> BTreeMap<&'static str, usize> {
        let mut tally = BTreeMap::from([("lossy ends", self.lossy.len())]);
        for entry in self.logs.values().flatten() {
            let label = match entry {
                Entry::Status(LinkStatus::Up) => "Up",
                Entry::Status(LinkStatus::Refused) => "Refused",
                Entry::Status(LinkStatus::Lost) => "Lost",
                Entry::Frame(..) | Entry::Damaged(_) => "frames",
            };
            *tally.entry(label).or_default() += 1;
        }
        let sent: usize = self.sent.values().map(Vec::len).sum();
        tally.insert("frames not delivered", sent - tally.get("frames").copied().unwrap_or(0));
        tally
    }
}

fn statuses(log: &[Entry]) -> impl Iterator<Item = &Entry> {
    log.iter().filter(|entry| matches!(entry, Entry::Status(_)))
}

impl Entry {
    /// What a frame says, and which client's link it was sent on.
    pub fn read(frame: &Frame) -> (Self, Option<(usize, u64)>) {
        let damaged = || (Self::Damaged(frame.clone()), None);
        let Some((head, parts)) = frame.parts.split_first() else { return damaged() };
        let (Some(client), Some(n), Some(seq)) = (head.get(..4), head.get(4..12), head.get(12..16)) else {
            return damaged();
        };
        let client = u32::from_be_bytes(client.try_into().expect("four bytes")) as usize;
        let n = u64::from_be_bytes(n.try_into().expect("eight bytes"));
        let seq = u32::from_be_bytes(seq.try_into().expect("four bytes"));
        if parts.iter().any(|bytes| *bytes != part(bytes.len())) {
            return damaged();
        }
        (Self::Frame(seq, parts.iter().map(Bytes::len).collect()), Some((client, n)))
    }
}
