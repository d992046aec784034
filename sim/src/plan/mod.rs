//! A plan is data: who takes part, how everything behaves, and what happens when. Its text has one item
//! a line, so that a plan can be read, kept, changed and cut down; see [`text`] for the form.
//!
//! A plan that lacks any of its lines is a plan, too, and every draw of its run is the same as before:
//! settings have defaults that fit together, what concerns somebody who does not take part does
//! nothing, and all randomness is keyed by purpose, process and count, never by what happened before.
//!
//! - [`generate`] makes a plan from a seed: by chance, by schedules that aim at what chance seldom hits
//!   (`targeted.rs`, `reigns.rs`, `clients.rs`, `provoked.rs`), and cell by cell of the matrix of who is struck by what
//!   (`aim.rs`).
//! - [`idle`] names the items that can have no effect.
//! - [`run`] carries a plan out and judges it.
//! - [`minimise`] cuts a plan down to what it takes to violate a property.

mod aim;
mod clients;
mod epilogue;
pub mod generate;
pub mod idle;
pub mod kinds;
pub mod knobs;
pub mod minimise;
pub mod panics;
mod provoked;
mod reigns;
pub mod run;
mod targeted;
pub mod text;
pub mod value;
mod verdict;

use kinds::{Amount, Kind};
pub use knobs::Knobs;
use std::time::Duration;
use steadfast_core::filter::{Filter, Topic};

/// A plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Settings.
    pub knobs: Knobs,
    /// Who publishes.
    pub publishers: Vec<Publisher>,
    /// Who subscribes.
    pub subscribers: Vec<Subscriber>,
    /// What happens. Of what happens at the same time, what stands first comes first.
    pub events: Vec<Event>,
}

impl Plan {
    /// Its publishers and subscribers, but for processes that begin with a copy of an outbox.
    fn clients(&self) -> Vec<Target> {
        let publishers = self.publishers.iter().map(|publisher| Target::Publisher(publisher.number));
        let subscribers = self.subscribers.iter().map(|subscriber| Target::Subscriber(subscriber.number));
        publishers.chain(subscribers).collect()
    }

    /// Processes that begin with a copy of a publisher's outbox: whose, and their numbers, in the order of those.
    pub fn copies(&self) -> Vec<(u32, u32)> {
        let has_outbox = |number: u32| self.publishers.iter().any(|it| it.number == number && it.outbox);
        let mut copies: Vec<_> = self
            .events
            .iter()
            .filter_map(|event| match event.action {
                Action::CopyOutbox { publisher, to } if has_outbox(publisher) => Some((publisher, to)),
                _ => None,
            })
            .filter(|(_, to)| self.publishers.iter().all(|publisher| publisher.number < *to))
            .collect();
        copies.sort_by_key(|(_, to)| *to);
        copies.dedup_by_key(|(_, to)| *to);
        copies
    }

    /// Records that are published, if their publishers live.
    pub fn records(&self) -> u64 {
        let count = |event: &Event| match event.action {
            Action::Publish { count, .. } => count,
            _ => 0,
        };
        self.events.iter().map(count).sum()
    }
}

/// A publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publisher {
    /// Its number, from 1.
    pub number: u32,
    /// Whether it has an outbox on a disk. Without one each of its lives has another identity.
    pub outbox: bool,
}

/// A subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Its number, from 1.
    pub number: u32,
    /// What it wants: at least one filter.
    pub filters: Vec<Filter>,
    /// Whether it begins with the next record that is committed, instead of the earliest that is kept.
    pub latest: bool,
    /// When it starts.
    pub joins: Duration,
    /// Where it begins when it starts again.
    pub again: Again,
}

/// Where a subscriber that starts again begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// As the first time: it has kept nothing.
    Anew,
    /// So many deliveries before the last one: its notes are that old.
    Behind(u32),
}

/// Somebody, as a plan names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// This broker.
    Broker(u32),
    /// This discovery replica.
    Discovery(u32),
    /// This publisher.
    Publisher(u32),
    /// This subscriber.
    Subscriber(u32),
    /// Whoever is primary, according to the tree.
    Primary,
    /// The first broker in sync that is not primary.
    Backup,
    /// The discovery replica that leads.
    Leader,
    /// The first discovery replica that runs and does not lead.
    Follower,
    /// Whom the event waited for.
    It,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Not before this time.
    pub at: Duration,
    /// When from then on somebody comes to this; `None`: at that time.
    pub on: Option<Cue>,
    /// What.
    pub action: Action,
}

/// What an event waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cue {
    /// A mark that a node's trace leaves, as [`crate::coverage::mark`] has it; its first word is enough.
    pub mark: String,
    /// So long after it.
    pub after: Duration,
}

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Something goes wrong, or is put right.
    Trouble {
        /// What.
        kind: &'static Kind,
        /// With whom: as many as it takes.
        with: Vec<Target>,
        /// How much of it.
        amount: Amount,
        /// For how long; `None`: until everything is put right, or it is over at once anyway.
        lasts: Option<Duration>,
    },
    /// A broker or a discovery replica is asked to leave.
    Shutdown {
        /// Who.
        who: Target,
        /// How long after its end it starts again; `None`: when everything is put right.
        back: Option<Duration>,
    },
    /// An operator asks a broker to leave, by a frame that may not arrive.
    Drain {
        /// Who.
        who: Target,
        /// How long after its end it starts again; `None`: when everything is put right.
        back: Option<Duration>,
    },
    /// All brokers and discovery replicas are asked to leave, one after the other.
    RollingRestart {
        /// How long after its end each starts again.
        back: Duration,
        /// Between two of them.
        every: Duration,
    },
    /// All brokers crash at once. Nobody is spared.
    TotalLoss {
        /// When they start again.
        lasts: Option<Duration>,
    },
    /// Somebody starts a second process of a broker's node, beside the first.
    SecondProcess {
        /// The broker's number.
        broker: u32,
        /// How long it lives.
        lasts: Duration,
    },
    /// A publisher publishes, if it is alive.
    Publish {
        /// Its number.
        publisher: u32,
        /// On which topic.
        topic: Topic,
        /// How many records.
        count: u64,
        /// Between two of them.
        every: Duration,
    },
    /// A subscriber reads the group's head.
    ReadHeads {
        /// Its number.
        subscriber: u32,
        /// How often.
        count: u64,
        /// Between two reads.
        every: Duration,
    },
    /// Another process begins, with a copy of a publisher's outbox as it stands on the disk: both live from then
    /// on. Nothing happens where the publisher has none, or somebody has that name.
    CopyOutbox {
        /// Whose outbox, by its number.
        publisher: u32,
        /// The number of the other process: higher than that of every publisher that the plan describes.
        to: u32,
    },
    /// A client's application tells it to close. It is closed until its process starts again.
    Close {
        /// Who: a publisher or a subscriber.
        who: Target,
    },
    /// From now on a subscriber's application consumes what is delivered so late.
    Pace {
        /// Its number.
        subscriber: u32,
        /// How late; `None`: not until everything is put right.
        late: Option<Duration>,
    },
}
