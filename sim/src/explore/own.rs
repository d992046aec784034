//! What a client's process begins with, and what of it is left when it ends: a publisher's outbox, the position of
//! what a subscriber has delivered last.

use super::tree::Tree;
use crate::actor::Event;
use crate::check::Violation;
use crate::outbox::Disk;
use std::rc::Rc;
use steadfast_core::node::Output;
use steadfast_core::storage::{Request, Ticket};
use steadfast_core::subscriber::{self, Bookmark};

/// What is a client's, whichever process it runs.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Which process it is, from 1.
    pub life: u8,
    /// The replica of discovery that this process asks has heard of nothing since the tree was this.
    pub astray: Option<Rc<Tree>>,
    /// What another process may go on with.
    pub kept: Kept,
}

/// What outlives a process.
#[derive(Clone, Debug, Default)]
pub enum Kept {
    /// Nothing.
    #[default]
    Nothing,
    /// A publisher's outbox.
    Outbox(Box<Disk>),
    /// Where a subscriber goes on.
    Position(Bookmark),
}

impl Own {
    /// The first process' own.
    pub fn first(kept: Kept) -> Self {
        Self { life: 1, astray: None, kept }
    }

    /// What the process after this one begins with.
    pub fn next(&self, astray: Option<Rc<Tree>>) -> Self {
        let mut kept = self.kept.clone();
        if let Kept::Outbox(disk) = &mut kept {
            disk.drop_pending();
        }
        Self { life: self.life + 1, astray, kept }
    }

    /// A change of the outbox is asked for. Whether there is an outbox.
    pub fn request(&mut self, request: &Request) -> bool {
        let Kept::Outbox(disk) = &mut self.kept else { return false };
        disk.request(request);
        true
    }

    /// Whether a change of the outbox is under way.
    pub fn stores(&self) -> bool {
        matches!(&self.kept, Kept::Outbox(disk) if disk.next().is_some())
    }

    /// The next change of the outbox is made.
    pub fn complete(&mut self) -> (Option<Ticket>, Result<(), Violation>) {
        let Kept::Outbox(disk) = &mut self.kept else { return (None, Ok(())) };
        let next = disk.next();
        let made = disk.complete(|ticket| Some(ticket) <= next);
        (next, made)
    }

    /// The process puts something out.
    pub fn see(&mut self, output: &Output<Event>) -> Result<(), Violation> {
        match (output, &mut self.kept) {
            (Output::Event(Event::Publisher(event)), Kept::Outbox(disk)) => disk.hear(event)?,
            (Output::Event(Event::Subscriber(subscriber::Event::Delivered(delivery))), kept) => {
                *kept = Kept::Position(delivery.next);
            }
            _ => {}
        }
        Ok(())
    }
}
