//! A subscriber's application: what it wants, where it begins, how soon it consumes, and what it keeps
//! of its positions for its next life.

use crate::actor::Event;
use crate::check::{Checks, Fact, Violation};
use crate::world::{Cause, Step};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use steadfast_core::filter::{Filter, Topic};
use steadfast_core::message;
use steadfast_core::node::Output;
use steadfast_core::subscriber::{self, Bookmark, Start};

/// Positions that an application keeps.
const KEPT: usize = 64;

/// What of its positions it keeps.
#[derive(Debug)]
pub struct Notes {
    /// Where the first life begins.
    first: Start,
    /// The last positions, the latest at the end.
    kept: VecDeque<Bookmark>,
    /// How old a position the next life begins with; `None`: it begins as the first one.
    behind: Option<u32>,
}

impl Notes {
    /// Where the next life begins.
    pub fn start(&self) -> Start {
        let latest = self.kept.len().checked_sub(1).zip(self.behind);
        let place = latest.and_then(|(last, behind)| self.kept.get(last.saturating_sub(behind as usize)));
        place.map_or(self.first, |place| Start::At(*place))
    }

    fn keep(&mut self, place: Bookmark) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(place);
    }
}

/// The position after half of a delivery's records: an application handles one after the other, and may
/// have come that far when it dies.
fn within(delivery: &subscriber::Delivery) -> Bookmark {
    let records = delivery.next.position.offset - delivery.offset;
    let (epoch, offset) = (delivery.epoch, delivery.offset + records.div_ceil(2));
    let position = message::Position { epoch, offset, ..delivery.next.position };
    Bookmark { position, ..delivery.next }
}

/// One subscriber's application.
#[derive(Debug)]
pub struct Reader {
    filters: Vec<Filter>,
    /// How late it consumes what is delivered; `None`: not for now.
    late: Option<Duration>,
    /// Bytes that it was given in this life and has not promised to consume.
    owed: u64,
    notes: Rc<RefCell<Notes>>,
}

impl Reader {
    /// It wants what matches any of these from the earliest record on, and consumes at once. A later
    /// life goes on after the last delivery.
    pub fn of(filters: Vec<Filter>) -> Self {
        Self::starting(filters, Start::Earliest, Some(0))
    }

    /// The same with another beginning. A later life begins with a position so many deliveries old;
    /// `None`: as the first one.
    pub fn starting(filters: Vec<Filter>, first: Start, behind: Option<u32>) -> Self {
        let notes = Notes { first, kept: VecDeque::new(), behind };
        Self { filters, late: Some(Duration::ZERO), owed: 0, notes: Rc::new(RefCell::new(notes)) }
    }

    /// What it wants.
    pub fn filters(&self) -> &[Filter] {
        &self.filters
    }

    /// Whether it wants records of a topic.
    pub fn wants(&self, topic: &Topic) -> bool {
        self.filters.iter().any(|filter| filter.matches(topic))
    }

    /// Its positions.
    pub fn notes(&self) -> Rc<RefCell<Notes>> {
        Rc::clone(&self.notes)
    }

    /// From now on it consumes so late. Returns what it consumes at last, and how late.
    pub fn pace(&mut self, late: Option<Duration>) -> Option<(Duration, u64)> {
        self.late = late;
        let owed = late.map(|late| (late, std::mem::take(&mut self.owed)));
        owed.filter(|(_, bytes)| *bytes > 0)
    }

    /// Sees a step of its process. Returns what it consumes, and how late.
    pub fn see(&mut self, step: &Step<Event>) -> Vec<(Duration, u64)> {
        if step.cause == Cause::Started {
            self.owed = 0;
        }
        let mut consumed = Vec::new();
        for output in &step.outputs {
            match output {
                Output::Event(Event::Subscriber(subscriber::Event::Delivered(delivery))) => {
                    self.notes.borrow_mut().keep(within(delivery));
                    match self.late {
                        Some(late) => consumed.push((late, delivery.bytes)),
                        None => self.owed += delivery.bytes,
                    }
                }
                Output::Event(Event::Subscriber(subscriber::Event::Connected { at, .. })) => {
                    let mut notes = self.notes.borrow_mut();
                    if notes.kept.is_empty() {
                        notes.keep(*at);
                    }
                }
                _ => {}
            }
        }
        consumed
    }

    /// Tells the checkers where a life begins.
    ///
    /// # Errors
    /// The property that it violates.
    pub fn tell(&self, step: &Step<Event>, checks: &mut Checks) -> Result<Option<Bookmark>, Violation> {
        if step.cause != Cause::Started {
            return Ok(None);
        }
        let (subscriber, filters) = (step.process.0, self.filters.as_slice());
        let first = self.notes.borrow().start();
        let start = match first {
            Start::Earliest => message::Start::Earliest,
            Start::Latest => message::Start::Latest,
            Start::At(place) => message::Start::At(place.position),
        };
        checks.observe(&Fact::Subscribed { subscriber, filters, start })?;
        let Start::At(place) = first else { return Ok(None) };
        let (history, epoch, at) = (place.history(), place.position.epoch, place.position.offset);
        checks.observe(&Fact::Began { subscriber, history, epoch, at })?;
        Ok(Some(place))
    }
}
